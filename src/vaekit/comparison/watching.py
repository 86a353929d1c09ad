"""The course of a training: how good a model is at moments that lie ever further apart, for "seconds to a given quality".

Moments are at 1/32, 1/22.6, ... 1/1.4 and 1 of the budget, each the square root of two times as late as the one before. The
clock stands still while a model is looked at.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from vaekit.comparison.judge import Judge
from vaekit.errors import DataError, RunError
from vaekit.evaluation.rows import at_rest, batches
from vaekit.models.base import Model

_HALVINGS = 5
MOMENTS = tuple(2 ** (k / 2 - _HALVINGS) for k in range(2 * _HALVINGS + 1))
"""Parts of the budget."""

_ROWS = 200
QUALITIES = ("frechet_distance", "reconstruction_error")
"""What is watched; smaller is better."""

Look = dict[str, float | None]


@dataclass
class Watch:
    """Called after every step (`fit(on_step=...)`); `looks` are the moments with what was seen at each.

    Args:
        part: (step, seconds) -> the part of the budget that is used.
        tell: called with that part after every step.
    """

    model: Model
    judge: Judge
    part: Callable[[int, float], float]
    tell: Callable[[float], None]
    seed: int
    looks: list[Look] = field(default_factory=list)
    passed: int = 0

    def __call__(self, step: int, seconds: float) -> None:
        part = self.part(step, seconds)
        self.tell(min(part, 1.0))
        # a step may be as long as several moments
        reached = sum(part >= moment * (1 - 1e-9) for moment in MOMENTS)
        if reached > self.passed:
            self.passed = reached
            self.looks.append({"step": step, "seconds": seconds, **look(self.model, self.judge, self.seed)})


def look(model: Model, judge: Judge, seed: int) -> Look:
    """Both qualities as far as the model has them, on few rows; None where they are no number. Whether a training has failed is
    not said here: it finds that out itself."""
    found: Look = dict.fromkeys(QUALITIES)
    with contextlib.suppress(DataError, RunError):  # a weight, a sample or a feature is not finite
        found |= _qualities(model, judge, seed)
    return {name: value if value is not None and math.isfinite(value) else None for name, value in found.items()}


def _qualities(model: Model, judge: Judge, seed: int) -> Look:
    found: Look = {"frechet_distance": judge.distance(model, seed), "reconstruction_error": None}
    if getattr(model, "has_posterior", True) and judge.data.test is not None:
        rows = judge.data.test.fixed().head(_ROWS)
        with at_rest(model):
            errors = [(model.reconstruct(x, c) - x).square().flatten(1).mean(1) for x, c in batches(model, rows)]
        found["reconstruction_error"] = float(torch.cat(errors).mean())
    return found


def seconds_to(looks: Sequence[Look], quality: str, level: float) -> float | None:
    """When a quality first was at `level` or below, between two moments by a straight line in the logarithm of time; None
    where it never was."""
    before: tuple[float, float] | None = None
    for seen in looks:
        value, seconds = seen.get(quality), seen["seconds"]
        if value is None or seconds is None or not math.isfinite(value):
            continue
        if value <= level:
            if before is None or before[0] <= 0:
                return seconds
            share = (before[1] - level) / (before[1] - value)
            return math.exp(math.log(before[0]) + share * (math.log(seconds) - math.log(before[0])))
        before = (seconds, value)
    return None


def level_of(courses: Sequence[Sequence[Look]], quality: str) -> float | None:
    """The level that all are asked for: the median over models of where they ended, `courses` one a model, seeds joined.

    Half of the models reach it, whatever their kind; a model that never came near cannot move it.
    """
    ends = [end for end in (_end(looks, quality) for looks in courses) if end is not None]
    return sorted(ends)[len(ends) // 2] if ends else None


def _end(looks: Sequence[Look], quality: str) -> float | None:
    """The mean of the last values over seeds: a course begins anew where the step falls."""
    ends = [
        a for a, b in zip(looks, [*looks[1:], None], strict=True) if b is None or (b["step"] or 0) <= (a["step"] or 0)
    ]
    values = [value for value in (end.get(quality) for end in ends) if value is not None]
    return sum(values) / len(values) if values else None
