"""Schedules: functions of the optimiser step, for a learning rate or for any keyword of an objective."""

from __future__ import annotations

import math

from vaekit.errors import UsageError
from vaekit.updates import Schedule


def constant(value: float) -> Schedule:
    """The same value at every step."""
    return lambda step: value


def linear(start: float, end: float, steps: int) -> Schedule:
    """From `start` to `end` in a straight line over `steps` steps, then `end`.

    >>> beta = linear(0.0, 1.0, steps=4)
    >>> [beta(step) for step in range(6)]
    [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    """
    _check(steps)
    return lambda step: start + (end - start) * min(step / steps, 1.0)


def cosine(start: float, end: float, steps: int) -> Schedule:
    """From `start` to `end` along half a cosine over `steps` steps, then `end` (Loshchilov & Hutter, ICLR 2017)."""
    _check(steps)
    return lambda step: end + (start - end) * (1 + math.cos(math.pi * min(step / steps, 1.0))) / 2


def cyclical(start: float, end: float, steps: float, ramp: float = 0.5) -> Schedule:
    """Cycles of `steps` steps: a straight line from `start` to `end` over the part `ramp`, then `end` (Fu et al., 2019)."""
    _check(steps)
    if not 0 < ramp <= 1:
        raise UsageError(f"ramp {ramp}: expected a part of the cycle in (0, 1]")
    return lambda step: start + (end - start) * min(step % steps / (ramp * steps), 1.0)


def _check(steps: float) -> None:
    if steps < 1:
        raise UsageError(f"steps {steps}: a schedule needs at least one step")
