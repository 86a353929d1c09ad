"""Sections of a model that is told something: each class drawn, one style across all of them, numbers on the move."""

from __future__ import annotations

from typing import Any

import numpy as np

from vaekit.report.album import Album
from vaekit.report.contents import Contents
from vaekit.report.galleries import Label, Sheet
from vaekit.report.pictures import Look, gap, grid, look_of
from vaekit.report.words import number


def classes(contents: Contents, album: Album) -> dict[str, Any] | None:
    """A grid of classes by samples, and test examples whose code is decoded as every class in turn; None without both."""
    look = look_of(contents)
    if look is None:
        return None
    sheets = {"drawn": _drawn(contents, album, look), "styles": _styles(contents, album, look)}
    return sheets if any(sheets.values()) else None


def _drawn(contents: Contents, album: Album, look: Look) -> Sheet | None:
    drawn = contents.arrays.get("class_samples")
    if drawn is None or drawn.ndim < 3:
        return None
    names, across = [contents.class_name(i) for i in range(len(drawn))], drawn.shape[1]
    alt = f"{len(names)} rows of {across} samples, one row for each class asked for: {', '.join(names)}."
    picture = album.image("class_samples", alt, grid(look.tiles(drawn, across), gap(across)), crisp=look.crisp)
    return Sheet(picture, left=[Label(name) for name in names])


def _styles(contents: Contents, album: Album, look: Look) -> Sheet | None:
    styles, originals = contents.arrays.get("class_styles"), contents.arrays.get("style_originals")
    if styles is None or originals is None or styles.ndim < 3 or len(styles) != len(originals):
        return None
    names = [contents.class_name(i) for i in range(styles.shape[1])]
    beside = np.concatenate([originals[:, None], styles], 1)
    alt = (
        f"{len(originals)} test {contents.examples}s at the left, and beside each its code decoded as every one of "
        f"{len(names)} classes."
    )
    tiles = look.tiles(beside, len(names) + 1)
    return Sheet(
        album.image("class_styles", alt, grid(tiles, gap(len(names) + 1)), crisp=look.crisp), over=["test", *names]
    )


def conditions(contents: Contents, album: Album) -> dict[str, Any] | None:
    """One code with one condition after the other going from its low to its high values."""
    images, values = contents.arrays.get("condition_images"), contents.arrays.get("condition_values")
    look, names = look_of(contents), contents.schema.get("conditions") or ()
    if look is None or images is None or values is None or images.ndim < 3 or images.shape[:2] != values.shape:
        return None
    rows, steps = values.shape
    if len(names) < rows:
        return None
    ends = [f"{number(float(v[0]), 3)} to {number(float(v[-1]), 3)}" for v in values]
    told = ", ".join(f"{name} from {end}" for name, end in zip(names, ends, strict=False))
    alt = (
        f"{rows} rows of {steps} decoded {contents.examples}s, the same code with one condition moved in each: {told}."
    )
    picture = album.image("conditions", alt, grid(look.tiles(images, steps), gap(steps)), crisp=look.crisp)
    left = [Label(str(name), small=end) for name, end in zip(names, ends, strict=False)]
    return {"sheet": Sheet(picture, left=left)}
