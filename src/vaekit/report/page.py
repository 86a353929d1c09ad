"""The page itself: sections in their order, the template, and the files that are written."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

import vaekit
from vaekit.files import write_text
from vaekit.report import adversarial, classes, codebook, codes, curves, galleries, layers, text
from vaekit.report.album import Album
from vaekit.report.contents import Contents, read_contents
from vaekit.report.grouped import grouped
from vaekit.report.record import record
from vaekit.report.table import gap_sentence, number_rows, tiles
from vaekit.report.verdict import verdict

_SECTIONS: tuple[tuple[str, str, Callable[[Contents, Album], dict[str, Any] | None]], ...] = (
    ("numbers", "Numbers", lambda contents, _: _numbers(contents)),
    ("training", "Training", curves.training),
    ("reconstructions", "Reconstructions", galleries.reconstructions),
    ("samples", "Samples", galleries.samples),
    ("quality", "Samples beside data", lambda contents, _: grouped(contents, "quality")),
    ("rebuilt", "Reconstructions", text.rebuilt),
    ("written", "Samples", text.written),
    ("lengths", "Lengths", text.lengths),
    ("paths", "Interpolations", text.paths),
    ("classes", "Classes", classes.classes),
    ("conditions", "Conditions", classes.conditions),
    ("codes", "Codes", codes.codes),
    ("codebook", "Codebook", codebook.codebook),
    ("layers", "Layers", layers.layers),
    ("information", "What the code carries", lambda contents, _: grouped(contents, "information")),
    ("kl", "KL by dimension", curves.kl),
    ("factors", "Disentanglement", lambda contents, _: grouped(contents, "factors")),
    ("tightness", "How tight the bound is", lambda contents, _: grouped(contents, "tightness")),
    ("traversals", "Traversals", galleries.traversals),
    ("interpolations", "Interpolations", galleries.interpolations),
    ("walks", "Ways through the prior", adversarial.walks),
    ("plane", "The decoded plane", galleries.plane),
)


def write_report(folder: str | Path, *, final: str | Path | None = None) -> Path:
    """Write `report.html` into a run folder, and its pictures into `figures/`, from the folder's files alone.

    Args:
        folder: the run.
        final: where the folder is going to be, if it is moved later: the page names its configuration there.

    Returns:
        The path of the page. A run that came to no end is reported as far as it came.

    Raises:
        RunError: no run folder, or a file in it is damaged.
        StorageError: the page cannot be written.
    """
    folder = Path(folder)
    contents, album = read_contents(folder), Album()
    page = render(contents, album, folder if final is None else Path(final))
    album.write(folder / "figures")
    write_text(folder / "report.html", page)
    return folder / "report.html"


def render(contents: Contents, album: Album, place: Path | None = None) -> str:
    """The page as HTML; its pictures are left in `album`. `place` is the folder that the page names as its own."""
    made = [(key, title, build(contents, album)) for key, title, build in _SECTIONS]
    made.append(("record", "How to repeat it", record(contents, place or contents.folder)))
    script = asset("turning.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return template_of(asset("template.html.j2")).render(
        contents=contents,
        title=f"{contents.name} · {contents.model}",
        findings=verdict(contents),
        tiles=tiles(contents),
        toc=[(key, title) for key, title, section in made if section is not None],
        style=asset("style.css"),
        script=script,
        script_digest=digest,
        version=vaekit.__version__,
        **{key: section for key, _, section in made},
    )


def _numbers(contents: Contents) -> dict[str, Any] | None:
    rows = number_rows(contents)
    return {"rows": rows, "gap": gap_sentence(contents)} if rows else None


def asset(name: str, package: str = "vaekit.report") -> str:
    """A file that comes with a package: a template, a style, a script."""
    return (files(package) / name).read_text("utf-8")


def template_of(text: str) -> jinja2.Template:
    """A template that may import the pages' macros."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.from_string(text)
