"""The pictures of a page: kept as PNG files beside it, and written into it as text so that it needs no other file."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, features

from vaekit.files import write_atomically
from vaekit.report.charts import DARK, LIGHT, Theme
from vaekit.report.pictures import to_png

_LARGE = 300_000
"""Bytes above which a picture is written into the page as WebP; its PNG file keeps every pixel."""


@dataclass(frozen=True)
class Picture:
    """A picture on the page: data URIs, its size in CSS pixels, and what it shows in words."""

    name: str
    alt: str
    uri: str
    dark_uri: str | None
    width: int
    height: int
    crisp: bool = False


@dataclass
class Album:
    """Pictures as they are made, by name; `write` puts them into a folder."""

    files: dict[str, bytes] = field(default_factory=dict)

    def chart(self, name: str, alt: str, draw: Callable[[Theme], bytes]) -> Picture:
        """A chart, drawn for a light and for a dark page; the file is the light one."""
        light, dark = draw(LIGHT), draw(DARK)
        self.files[name] = light
        width, height = Image.open(io.BytesIO(light)).size
        return Picture(name, alt, _uri(light), _uri(dark), width // 2, height // 2)

    def image(self, name: str, alt: str, image: Image.Image, *, crisp: bool) -> Picture:
        """A picture that is the same on any page."""
        png = to_png(image)
        self.files[name] = png
        # pixels that are seen one by one stay whole; photographs may be a little larger than they are
        zoom = 1.0 if crisp else max(1.0, min(1.5, 860 / image.width))
        return Picture(name, alt, _uri(png, image), None, round(zoom * image.width), round(zoom * image.height), crisp)

    def write(self, folder: Path) -> None:
        """Write every picture as `folder`/name.png."""
        for name, png in self.files.items():
            write_atomically(folder / f"{name}.png", lambda file, png=png: file.write(png))  # type: ignore[misc]


def _uri(png: bytes, image: Image.Image | None = None) -> str:
    if image is not None and len(png) > _LARGE and features.check("webp"):
        out = io.BytesIO()
        image.save(out, "WEBP", quality=90, method=4)
        return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
