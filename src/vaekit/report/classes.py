"""The section of a model that is told the class: each class drawn, and one style across all of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from vaekit.report.album import Album
from vaekit.report.contents import Contents
from vaekit.report.galleries import Label, Sheet
from vaekit.report.pictures import gap, grid, look_of


def classes(contents: Contents, album: Album) -> dict[str, Any] | None:
    """A grid of classes by samples, and test examples whose code is decoded as every class in turn."""
    arrays, look = contents.arrays, look_of(contents)
    if look is None or not {"class_samples", "class_styles", "style_originals"} <= set(arrays):
        return None
    drawn, styles, originals = (arrays[key] for key in ("class_samples", "class_styles", "style_originals"))
    if drawn.ndim < 3 or styles.shape[:2] != (len(originals), len(drawn)):
        return None
    names = [contents.class_name(i) for i in range(len(drawn))]
    across = drawn.shape[1]
    alt = f"{len(names)} rows of {across} samples, one row for each class asked for: {', '.join(names)}."
    picture = album.image("class_samples", alt, grid(look.tiles(drawn, across), gap(across)), crisp=look.crisp)
    beside = np.concatenate([originals[:, None], styles], 1)
    alt = (
        f"{len(originals)} test {contents.examples}s at the left, and beside each its code decoded as every one of "
        f"{len(names)} classes."
    )
    tiles = look.tiles(beside, len(names) + 1)
    styled = album.image("class_styles", alt, grid(tiles, gap(len(names) + 1)), crisp=look.crisp)
    return {
        "drawn": Sheet(picture, left=[Label(name) for name in names]),
        "styles": Sheet(styled, over=["test", *names]),
    }
