"""A figure over several seeds, and when two of them differ.

    value           mean over the seeds
    spread          standard deviation over the seeds; None with one seed
    within          the standard error inside one seed (root mean square over them)
    standard_error  spread / sqrt(seeds); with one seed, or with seeds that agree to the last digit, `within`

Two figures differ where their difference lies beyond the 95 % interval of Student's t with Welch's degrees of freedom
(Welch, Biometrika 1947): with two or three seeds a standard error is itself uncertain, and twice that error is too little.
With one seed there is no spread, and the normal interval of the error within the seed is all there is.

Spreads are compared by the F test on the logarithms of a figure's values: the ratio of two variances, each over its seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from vaekit.evaluation import Estimate

_LEVEL = 0.975
"""Quantile at the ends of a two-sided 95 % interval."""


@dataclass(frozen=True)
class Figure:
    """One figure of one model: an Estimate for each seed."""

    seeds: tuple[Estimate, ...]

    @property
    def values(self) -> list[float]:
        """One value a seed."""
        return [e.value for e in self.seeds]

    @property
    def value(self) -> float:
        """The mean over seeds."""
        return mean(self.values)

    @property
    def spread(self) -> float | None:
        """The standard deviation over seeds."""
        return stdev(self.values) if len(self.seeds) > 1 else None

    @property
    def within(self) -> float | None:
        """The standard error inside a seed, root mean square."""
        errors = [e.standard_error for e in self.seeds if e.standard_error is not None]
        return math.sqrt(mean([error**2 for error in errors])) if errors else None

    @property
    def standard_error(self) -> float | None:
        """Of `value`: over seeds; within a seed where there is one, or where all happen to agree to the last digit."""
        return self.spread / math.sqrt(len(self.seeds)) if self.spread else self.within

    def to_json(self) -> dict[str, Any]:
        """An Estimate's JSON with `seeds` (a value each), `spread` and `within`."""
        first = self.seeds[0]
        whole = Estimate(self.value, self.standard_error, first.n, first.unit, first.estimator, first.samples)
        return whole.to_json() | {"seeds": self.values, "spread": self.spread, "within": self.within}

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> Figure:
        """The figure that `to_json` wrote; each seed has the error within a seed."""
        kept = (entry["n"], entry["unit"], entry["estimator"], entry["samples"])
        return cls(tuple(Estimate(value, entry["within"], *kept) for value in entry["seeds"]))


@dataclass(frozen=True)
class Side:
    """One side of a difference: a value, its standard error and the degrees of freedom of that error."""

    value: float
    error: float
    freedom: float


def side(figure: Figure | Estimate, factor: float = 1.0) -> Side:
    """A figure over seeds, or an Estimate that all models share, times `factor`."""
    error = (figure.standard_error or 0.0) * abs(factor)
    over_seeds = isinstance(figure, Figure) and bool(figure.spread)
    freedom = len(figure.seeds) - 1 if isinstance(figure, Figure) and over_seeds else math.inf
    return Side(figure.value * factor, error, freedom)


@dataclass(frozen=True)
class Difference:
    """a - b, and half the width of its 95 % interval."""

    value: float
    half: float

    @property
    def sign(self) -> int:
        """1 or -1 where the difference lies beyond the interval, 0 where it does not."""
        return 0 if abs(self.value) <= self.half else (1 if self.value > 0 else -1)


def difference(a: Side, b: Side) -> Difference:
    """a - b with the interval of Welch's t."""
    parts = [(s.error**2, s.freedom) for s in (a, b)]
    variance = sum(v for v, _ in parts)
    # an error that stems from nobody's seeds is taken as known
    lost = sum(v**2 / f for v, f in parts)
    freedom = variance**2 / lost if lost > 0 else math.inf
    return Difference(a.value - b.value, _t(freedom) * math.sqrt(variance))


def _t(freedom: float) -> float:
    from scipy import stats

    return float(stats.norm.ppf(_LEVEL) if math.isinf(freedom) else stats.t.ppf(_LEVEL, freedom))


@dataclass(frozen=True)
class Steadiness:
    """Spreads over seeds of two models, each relative to its value, and whether one is the larger: 1, -1 or 0."""

    first: float
    second: float
    sign: int


def steadiness(a: Sequence[float], b: Sequence[float]) -> Steadiness | None:
    """The F test on logarithms; None with fewer than two seeds a side, or where a value has no logarithm."""
    if min(len(a), len(b)) < 2 or min(*a, *b) <= 0:
        return None
    from scipy import stats

    spreads = [stdev([math.log(v) for v in values]) for values in (a, b)]
    first, second = (spread**2 for spread in spreads)
    if first == second:
        sign = 0
    elif first > second:
        sign = int(first > stats.f.ppf(_LEVEL, len(a) - 1, len(b) - 1) * second)
    else:
        sign = -int(second > stats.f.ppf(_LEVEL, len(b) - 1, len(a) - 1) * first)
    return Steadiness(spreads[0], spreads[1], sign)
