"""Whether a model repeats its training rows: a test by symmetry, which blurred samples cannot fool.

Of N training rows and m rows that nobody was trained on, which is nearest to a sample? A generator that owes no row more than
another finds its neighbours in both in proportion to their numbers, whatever its samples look like. With w_j the share of
samples whose nearest row is j,

    b = sum of w_j over unseen rows,   a = 1 - b,   p = m / (N + m)
    share = (a / N) / (a / N + b / m)         1/2 for such a generator, 1 where every sample is a copy of a training row
    error = 1/4 sqrt(sum_j w_j^2 / (p (1 - p)))

The error is the standard deviation, to first order, when training and unseen rows change places at random (var b = p (1 - p) sum_j
w_j^2). Samples that look alike choose the same row, which makes the sum large. After Meehan, Chaudhuri & Dasgupta, "A non-parametric
test to detect data-copying in generative models", AISTATS 2020, who compare distances instead.

Copies are found only where their originals are looked at, so N is as large as it may be: doubled from m for as long as at least
`_EXPECTED` of the samples that count (1 / sum w_j^2) are expected beside an unseen row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from vaekit.data import Schema, Split
from vaekit.evaluation.estimate import Estimate

_EXPECTED = 5
_BLOCK = 4096


def nearer_to_training(
    fake: Tensor, train: Split, unseen: Tensor, *, unit: Tensor | float = 1.0, seed: int = 0
) -> tuple[Estimate, Tensor]:
    """The share above, and each sample's Euclidean distance to the nearest of all training rows, (n,).

    Args:
        fake: samples (n, *shape).
        train: the training rows, looked at in an order drawn from `seed`.
        unseen: rows (m, *shape) that nobody was trained on; only so many as there are training rows count.
        unit: what differences are divided by, a number or one for each column of a table (`unit_of`).
    """
    unseen = unseen[: len(train)]
    centre = unseen.float().flatten(1).mean(0)  # around it few digits of a distance are lost
    x = (fake.float().flatten(1) - centre) / unit

    def nearest(rows: Tensor) -> tuple[Tensor, Tensor]:
        distance, index = torch.cdist(x, (rows.float().flatten(1) - centre) / unit).min(1)
        return distance, index

    other, other_at = nearest(unseen)
    best, at, found = torch.full_like(other, torch.inf), torch.zeros_like(other_at), None
    for start, stop in _doubled(len(unseen), len(train)):
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[start:stop]
        for index in order.split(_BLOCK):
            distance, which = nearest(train.rows(index))
            at, best = torch.where(distance < best, index[which], at), torch.minimum(distance, best)
        share, expected = _share(best, at, other, other_at, stop, len(unseen))
        if found is None or expected >= _EXPECTED:
            found = share
    assert found is not None  # there is a training row
    return found, best


def unit_of(schema: Schema) -> Tensor | float:
    """What distances between examples are measured in: in a table each column in its own standard deviations, else the values'."""
    return torch.tensor(schema.scale) if schema.kind == "vector" else 1.0


def in_units(unit: Tensor | float) -> str:
    """What a distance's estimator says of its unit; nothing where it is the values' own."""
    return " in units of its scale" if isinstance(unit, Tensor) and bool((unit != 1).any()) else ""


def nearest_rows(x: Tensor, train: Split, unit: Tensor | float = 1.0) -> tuple[Tensor, Tensor]:
    """The training row nearest to each of x (n, *shape), and their root-mean-square distance per element in `unit`s, (n,)."""
    fixed = train.fixed()
    centre = fixed.rows(slice(0, _BLOCK)).float().flatten(1).mean(0)  # around it few digits of a distance are lost

    def seen(rows: Tensor) -> Tensor:
        return (rows.float().flatten(1) - centre) / unit

    points = seen(x)
    best, where = torch.full((len(x),), torch.inf), torch.zeros(len(x), dtype=torch.long)
    for start in range(0, len(fixed), _BLOCK):
        distance, index = torch.cdist(points, seen(fixed.rows(slice(start, start + _BLOCK)))).min(1)
        closer = distance < best
        best, where = torch.where(closer, distance, best), torch.where(closer, index + start, where)
    rows = fixed.rows(where)
    return rows, (points - seen(rows)).square().mean(1).sqrt()  # a copy's distance is 0: no product of large numbers


def _doubled(first: int, last: int) -> Iterator[tuple[int, int]]:
    """Pieces of 0 .. last that end at `first` and its doubles."""
    start, stop = 0, first
    while start < last:
        yield start, min(stop, last)
        start, stop = stop, 2 * stop


def _share(
    own: Tensor, own_at: Tensor, other: Tensor, other_at: Tensor, n: int, m: int
) -> tuple[Estimate, float]:  # fmt: skip
    """The share of N = n training rows, and how many samples that count are expected beside an unseen row."""
    beside = (other < own).double() + 0.5 * (other == own).double()
    b, p = float(beside.mean()), m / (n + m)
    rows = torch.where(other < own, -1 - other_at, own_at)  # a number for each row of either kind
    weights = rows.unique(return_counts=True)[1].double() / len(rows)
    crowding = float(weights.square().sum())
    value = (1 - b) / n / ((1 - b) / n + b / m)
    error = 0.25 * math.sqrt(crowding / (p * (1 - p)))
    how = f"nearer to one of {n:,} training rows than to one of {m:,} unseen ones, counted per row"
    return Estimate(value, error, len(own), "share", how), p / crowding
