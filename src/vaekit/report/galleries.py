"""Sections that show examples: reconstructions, samples, traversals, interpolations, the decoded plane."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vaekit.report.album import Album, Picture
from vaekit.report.contents import Contents
from vaekit.report.pictures import Look, gap, grid, look_of, paired
from vaekit.report.words import decimals, finite, number, percent


@dataclass(frozen=True)
class Label:
    """A label beside a row: text, a subscript, and a smaller second line."""

    text: str
    sub: str = ""
    small: str = ""


@dataclass(frozen=True)
class Sheet:
    """A grid of examples with labels over its columns, left of its rows and under its columns."""

    picture: Picture
    title: str = ""
    caption: str = ""
    over: list[str] = field(default_factory=list)
    left: list[Label] = field(default_factory=list)
    under: list[str] = field(default_factory=list)


def reconstructions(contents: Contents, album: Album) -> dict[str, Any] | None:
    """Test examples over their reconstructions: the best, the median and the worst."""
    arrays, look = contents.arrays, look_of(contents)
    if look is None or not {"originals", "reconstructions"} <= set(arrays):
        return None
    originals, mended = arrays["originals"], arrays["reconstructions"]
    if originals.shape != mended.shape:
        return None
    errors = arrays.get("errors", np.full(len(originals), np.nan))
    each, rest = divmod(len(originals), 3)
    names = ("Best", "Median", "Worst") if each and not rest else ("Examples",)
    parts = np.array_split(np.arange(len(originals)), len(names))
    sheets = [_compared(contents, album, look, name, rows, errors) for name, rows in zip(names, parts, strict=True)]
    return {"sheets": sheets, "how": look.words}


def _compared(contents: Contents, album: Album, look: Look, name: str, rows: np.ndarray, errors: np.ndarray) -> Sheet:
    both = np.stack([contents.arrays[key][rows] for key in ("originals", "reconstructions")])
    e = errors[rows]
    alt = f"{len(rows)} test {contents.examples}s over their reconstructions"
    if np.isfinite(e).all():
        span = f"from {number(float(e.min()))} to {number(float(e.max()))} per element"
        alt += f", {name.lower()} by squared error: {span}"
    image = grid(look.tiles(both, len(rows)), gap(len(rows)))
    picture = album.image(f"reconstructions_{name.lower()}", f"{alt}.", image, crisp=look.crisp)
    under = [number(finite(float(value)), 2) for value in e]
    return Sheet(picture, name, _caption(name, e), left=[Label("original"), Label("rebuilt")], under=under)


def _caption(name: str, errors: np.ndarray) -> str:
    if name == "Examples":
        return "Test examples and their errors."
    which = {"Best": "the smallest errors", "Median": "errors about the median", "Worst": "the largest errors"}[name]
    return f"The {len(errors)} test examples with {which}, {number(_mean(errors))} on average."


def _mean(values: np.ndarray) -> float | None:
    return finite(float(values.mean()))


def samples(contents: Contents, album: Album) -> dict[str, Any] | None:
    """Samples as they came, each beside the training example nearest to it."""
    arrays, look = contents.arrays, look_of(contents)
    if look is None or "samples" not in arrays:
        return None
    drawn, near = arrays["samples"], arrays.get("neighbours")
    has_pairs = near is not None and near.shape == drawn.shape
    across = (8 if look.is_image else 4) if has_pairs else 8
    tiles = look.tiles(drawn, across * (2 if has_pairs else 1))
    if has_pairs:
        assert near is not None
        tiles = paired(tiles, look.tiles(near, across * 2), 2 if look.is_image else 8)
    tiles = _rows_of(tiles, across)
    distances = _distances(contents)
    alt = f"{len(drawn)} samples" + (f", each left of its nearest training {contents.examples}" if has_pairs else "")
    alt += f"; the median distance between the two is {distances['sample']} per element." if distances else "."
    picture = album.image("samples", alt, grid(tiles, 12), crisp=look.crisp)
    over = ["sample · nearest"] * across if has_pairs else []
    second = contents.description.get("arguments", {}).get("second_stage", "none") != "none"
    source = "the second stage, which was fitted to the codes" if second else "the prior"
    found = {"sheet": Sheet(picture, over=over), "n": len(drawn), "pairs": has_pairs, "distances": distances}
    return found | {"source": source, "how": _how(contents)}


def _how(contents: Contents) -> str:
    """How a code becomes a sample, in words."""
    if not contents.makes_examples:
        return "the mean of p(x|z), without the noise of p"
    average = (contents.description.get("arguments") or {}).get("ema")
    return "the generator" + (", with the moving average of its weights" if average else "")


def _rows_of(tiles: np.ndarray, across: int) -> np.ndarray:
    """(n, h, w, 4) -> (rows, across, h, w, 4), the last row filled up with nothing."""
    missing = -len(tiles) % across
    full = np.concatenate([tiles, np.zeros((missing, *tiles.shape[1:]), np.uint8)])
    return full.reshape(-1, across, *tiles.shape[1:])


def _distances(contents: Contents) -> dict[str, str] | None:
    """Medians of the distances to the nearest training example, of samples and of test examples, and what they tell."""
    found = [contents.arrays.get(key) for key in ("sample_distances", "test_distances")]
    if any(d is None or not np.isfinite(d).all() for d in found):
        return None
    sample, test = (np.asarray(d, float) for d in found)
    closer = int((sample < test.min()).sum())
    middle, usual = float(np.median(sample)), float(np.median(test))
    share, error = contents.value("nearer_to_training"), contents.error("nearer_to_training")
    if share is not None and error is not None:
        copies = share >= 0.6 + 3 * error
        told = (
            f"Counted per row, the row nearest to a sample is a training row in {percent(share)} of the cases, where a half "
            f"means no memory: {'look for copies among the pairs' if copies else 'no sign of memorisation by this measure'}."
        )
    elif usual > 0 and middle < 0.5 * usual:
        told = "Samples lie much closer to the training data than unseen examples do: look for copies among the pairs."
    elif closer == 0:
        told = "None is closer to the training data than the closest test example: no sign of memorisation by this measure."
    else:
        told = (
            f"{closer} of {len(sample)} are closer to the training data than the closest test example. Means are "
            "smoother than data and lie closer to everything; a copy would show as a distance near zero."
        )
    schema = contents.description.get("schema") or {}
    scaled = schema.get("kind") == "vector" and schema.get("scale", 1.0) != 1.0
    unit = ", in units of each column's standard deviation" if scaled else ""
    return {
        "sample": number(middle), "test": number(usual), "least": number(float(sample.min())), "told": told, "unit": unit,
    }  # fmt: skip


def traversals(contents: Contents, album: Album) -> dict[str, Any] | None:
    """The decoder's answer to one active dimension at a time."""
    arrays, look = contents.arrays, look_of(contents)
    if look is None or not {"traversals", "traversal_dims", "traversal_values"} <= set(arrays):
        return None
    images, dims, values = (arrays[key] for key in ("traversals", "traversal_dims", "traversal_values"))
    change = np.sqrt(np.square(images[:, -1].astype(float) - images[:, 0]).reshape(len(dims), -1).mean(1))
    most = int(np.nan_to_num(change).argmax())
    alt = (
        f"Decoded {contents.examples}s in {len(dims)} rows, one for each active dimension, as it goes from "
        f"{_short(values[0])} to {_short(values[-1])} standard deviations; dimension {dims[most]} changes them most, "
        f"by {number(finite(float(change[most])))} per element (root mean square)."
    )
    picture = album.image("traversals", alt, grid(look.tiles(images, len(values)), gap(len(values))), crisp=look.crisp)
    left = [Label("z", str(int(d)), _kl_of(contents, int(d))) for d in dims]
    sheet = Sheet(picture, caption=_moved(dims, change, most), over=[_short(v) for v in values], left=left)
    return {"sheet": sheet, "prior": contents.has_likelihood}


def _moved(dims: np.ndarray, change: np.ndarray, most: int) -> str:
    many = "The one active dimension" if len(dims) == 1 else f"{len(dims)} active dimensions"
    return (
        f"{many}, with the KL where it is known. From end to end z{dims[most]} changes the example most: "
        f"by {number(finite(float(change[most])))} per element (root mean square)."
    )


def _kl_of(contents: Contents, dim: int) -> str:
    entries = contents.evaluation.get("kl_per_dim")
    value = finite(entries[dim].get("value")) if isinstance(entries, list) and dim < len(entries) else None
    return "" if value is None else f"{decimals(value, 2)} nats"


def interpolations(contents: Contents, album: Album) -> dict[str, Any] | None:
    """Straight lines through the code, from one test example to another."""
    images, look = contents.arrays.get("interpolations"), look_of(contents)
    if look is None or images is None or images.ndim < 3:
        return None
    pairs, steps = images.shape[:2]
    moved = np.sqrt(np.square(np.diff(images.astype(float), axis=1)).reshape(pairs, steps - 1, -1).mean(2))
    path = moved.sum(1)
    largest = np.divide(moved.max(1, initial=0), path, out=np.zeros(pairs), where=path > 0)
    alt = (
        f"{pairs} rows of {steps} decoded {contents.examples}s, from the reconstruction of one test {contents.examples} "
        f"to that of another; on average the largest of the {steps - 1} steps makes {percent(float(largest.mean()))} "
        "of the whole change."
    )
    picture = album.image("interpolations", alt, grid(look.tiles(images, steps), gap(steps)), crisp=look.crisp)
    over = [_short(t) for t in np.linspace(0, 1, steps)]
    caption = "Both ends are reconstructions; pairs are of different classes where there are labels."
    if contents.code_form:
        caption += " What is decoded between them is in no codebook: the decoder was not trained on it."
    return {"sheet": Sheet(picture, caption=caption, over=over), "pairs": pairs}


def plane(contents: Contents, album: Album) -> dict[str, Any] | None:
    """The whole of a two-dimensional code, decoded point by point; the first row of the array is the top."""
    images, axes = contents.arrays.get("plane"), contents.arrays.get("plane_values")
    look = look_of(contents)
    if look is None or images is None or axes is None:
        return None
    side = len(images)
    if images.shape[1] != side or axes.shape != (2, side):
        return None
    (left_end, right_end), (bottom, top) = ((_short(axis[0]), _short(axis[-1])) for axis in axes)
    alt = (
        f"A square of {side} by {side} decoded {contents.examples}s: z0 from {left_end} at the left to {right_end} at "
        f"the right, z1 from {bottom} at the bottom to {top} at the top."
    )
    picture = album.image("plane", alt, grid(look.tiles(images, side), 2 if look.is_image else 4), crisp=look.crisp)
    shown = range(0, side, max(1, side // 5))
    over = [_short(axes[0][i]) if i in shown else "" for i in range(side)]
    left = [Label(_short(v)) if i in shown else Label("") for i, v in enumerate(axes[1][::-1])]
    caption = f"{side} × {side} decoded codes; numbers are the coordinates of their rows and columns."
    by_mass = bool(contents.arrays.get("plane_by_mass", contents.has_likelihood))
    return {"sheet": Sheet(picture, caption=caption, under=over, left=left), "prior": by_mass}


def _short(value: float) -> str:
    """A coordinate with as few places as tell it from its neighbours."""
    text = number(float(value))
    return text.rstrip("0").rstrip(".") if "." in text else text
