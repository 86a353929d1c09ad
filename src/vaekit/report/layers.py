"""The section of a code in layers: the KL of each, and what is left of an example when only its upper layers are known."""

from __future__ import annotations

from typing import Any

import numpy as np

from vaekit.report import charts
from vaekit.report.album import Album
from vaekit.report.contents import Contents
from vaekit.report.galleries import Label, Sheet
from vaekit.report.pictures import gap, grid, look_of
from vaekit.report.words import count, finite, number


def layers(contents: Contents, album: Album) -> dict[str, Any] | None:
    """A bar for each layer, the bottom layer first, and pictures where the run has them."""
    entries = contents.evaluation.get("kl_per_layer")
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        return None
    values = np.array([finite(entry.get("value")) or 0.0 for entry in entries])
    errors = np.array([finite(entry.get("standard_error")) or 0.0 for entry in entries])
    numbers = list(range(1, len(values) + 1))
    everything, name = np.ones(len(values), bool), "layer, the bottom first"
    alt = "Bars of the KL by layer: " + ", ".join(
        f"{number(v)} nats in z{i}" for i, v in zip(numbers, values, strict=True)
    )
    picture = album.chart(
        "kl_per_layer", f"{alt}.", lambda theme: charts.bars(values, errors, numbers, everything, theme, name)
    )
    return {
        "picture": picture,
        "total": number(float(values.sum())),
        "said": _said(contents, values),
        "negative": bool((values < 0).any()),
        "sheet": _sheet(contents, album, len(values)),
    }


def _said(contents: Contents, values: np.ndarray) -> str:
    """Each layer's dimensions, active ones and nats."""
    sizes, active = contents.arrays.get("layer_sizes"), contents.arrays.get("active")
    parts, start = [], 0
    for layer, value in enumerate(values):
        text = f"z{layer + 1}: {number(float(value))} nats"
        if sizes is not None and len(sizes) == len(values):
            stop = start + int(sizes[layer])
            text += f" in {count(stop - start, 'dimension')}"
            text += f", {int(active[start:stop].sum())} active" if active is not None and len(active) >= stop else ""
            start = stop
        parts.append(text)
    return "; ".join(parts) + "."


def _sheet(contents: Contents, album: Album, depth: int) -> Sheet | None:
    """Test examples, their reconstructions, and below them those from ever fewer layers."""
    originals, images = (contents.arrays.get(f"layer_{key}") for key in ("originals", "images"))
    look = look_of(contents)
    if look is None or originals is None or images is None or images.shape[1:] != originals.shape:
        return None
    rows = np.concatenate([originals[None], images])
    alt = (
        f"{len(originals)} test {contents.examples}s in the first row; below each its reconstruction from all layers, "
        "then from ever fewer of the upper ones."
    )
    picture = album.image("layers", alt, grid(look.tiles(rows, len(originals)), gap(len(originals))), crisp=look.crisp)
    known = [f"z{layer + 1}" if layer + 1 == depth else f"z{layer + 1} to z{depth}" for layer in range(depth)]
    return Sheet(picture, left=[Label("original"), *(Label(text) for text in known)])
