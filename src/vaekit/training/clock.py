"""Clock: how long a training has trained, which is not how long ago it began."""

from __future__ import annotations

import time
from dataclasses import dataclass

from vaekit.training.schedules import cosine
from vaekit.updates import Schedule


@dataclass
class Clock:
    """Seconds of optimiser steps: it stands still during validation and whatever is called between two steps."""

    spent: float = 0.0
    since: float | None = None

    def start(self) -> None:
        """Run on."""
        self.since = time.perf_counter()

    def stop(self) -> None:
        """Stand still."""
        self.spent, self.since = self.seconds, None

    @property
    def seconds(self) -> float:
        """What it shows."""
        return self.spent + (0.0 if self.since is None else time.perf_counter() - self.since)


def cosine_by(clock: Clock, start: float, end: float, seconds: float) -> Schedule:
    """From `start` to `end` along half a cosine over so many seconds of the clock: of the step it knows nothing."""
    fall = cosine(start, end, 1)
    return lambda step: fall(clock.seconds / seconds)  # type: ignore[arg-type]  # a part of the whole, not a step
