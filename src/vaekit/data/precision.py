"""Numbers in single precision, refused where their magnitude does not fit it or their digits would be lost."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vaekit.errors import DataError

_LARGEST = 1e15
"""Largest magnitude of a value: its square, which every Gaussian takes, is then well inside the range of single precision."""

_LEAST = 1e-15
"""Least standard deviation of data that models standardise, for the same reason."""

_LOST = 1e-3
"""Largest rounding error (root mean square) of a column in its standard deviations."""

_CONSTANT = 1e-14
"""Standard deviation, over the largest magnitude, up to which a column's differences are rounding in double precision."""

_AT_A_TIME = 4096
"""Rows that are looked at together: differences of all rows at once would take as much memory as the data again."""


def to_single(values: np.ndarray, owner: str) -> np.ndarray:
    """The values as contiguous float32. Raises DataError where they are too large."""
    low, high = float(values.min()), float(values.max())
    if max(abs(low), abs(high)) > _LARGEST:
        raise DataError(f"{owner}: values from {low:g} to {high:g} do not fit single precision; rescale them")
    return np.ascontiguousarray(values, np.float32)


def check_digits(values: np.ndarray, single: np.ndarray, owner: str) -> None:
    """Raise DataError unless a column of vectors, or images as a whole, vary in single precision as they did.

    Seconds since 1970 are the usual case: single precision counts them in steps of 128.

    Args:
        values: (n, D) or (n, C, H, W) as they were read.
        single: the same in single precision.
    """
    each = values.ndim == 2
    largest, error, spread = _moments(values, single, 0 if each else None)
    varies = spread > _CONSTANT
    lost = varies & (error > _LOST * spread)
    standardised = single.min() < 0 or single.max() > 1
    small = varies & (spread * largest < _LEAST) & standardised
    if not (lost | small).any():
        return
    column = int(np.flatnonzero(lost | small)[0])
    found = values[:, column] if each else values
    span = f"values from {float(found.min()):.9g} to {float(found.max()):.9g}"
    remedy = "rescale" if largest[column] < _LEAST else "subtract the mean, or rescale"
    where = f"column {column}" if each else "images"
    raise DataError(f"{owner}: {where} ({span}): single precision loses what tells the rows apart; {remedy}")


def _moments(values: np.ndarray, single: np.ndarray, axis: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each column (`axis` 0) or of all values: the largest magnitude, and in units of it rounding error and standard
    deviation, because squares of very small numbers would vanish even in double precision."""
    ends = np.stack([values.max(axis), values.min(axis)]).astype(np.float64)
    largest = np.atleast_1d(np.abs(ends).max(0))
    largest[largest == 0] = 1.0
    count = len(values) if axis == 0 else values.size

    def mean(of: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
        blocks = (np.s_[i : i + _AT_A_TIME] for i in range(0, len(values), _AT_A_TIME))
        parts = [of(values[b].astype(np.float64) / largest, single[b] / largest).sum(axis) for b in blocks]
        return np.atleast_1d(np.sum(parts, 0)) / count

    centre = mean(lambda x, _: x)
    error = np.sqrt(mean(lambda x, rounded: (x - rounded) ** 2))
    return largest, error, np.sqrt(mean(lambda x, _: (x - centre) ** 2))
