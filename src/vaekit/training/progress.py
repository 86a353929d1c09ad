"""One progress bar for a training, on standard error; silent where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

_REDRAW_SECONDS = 0.2


class Progress(Protocol):
    """What `fit` tells of its progress."""

    def start(self, steps: int | None) -> None:
        """Training begins; it will take `steps` optimiser steps, None where it goes by time."""

    def due(self) -> bool:
        """Whether it is time for another `step`; cheap, asked at every optimiser step."""

    def step(self, done: int, epoch: int, figures: Mapping[str, float]) -> None:
        """`done` steps are made; the epoch's means so far by name: ELBO, rate and distortion in nats per example, or the
        losses of several players."""

    def stop(self) -> None:
        """Training has ended, well or not."""


class Silent:
    """No progress shown."""

    def start(self, steps: int | None) -> None: ...

    def due(self) -> bool:
        return False

    def step(self, done: int, epoch: int, figures: Mapping[str, float]) -> None: ...

    def stop(self) -> None: ...


class Bar:
    """A rich progress bar with the epoch's figures."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        columns = (
            TextColumn("{task.description}"),
            BarColumn(24),
            TextColumn("{task.percentage:3.0f}%"),
            TimeRemainingColumn(),
        )
        console = Console(stderr=True)
        shown = (*columns, TextColumn("{task.fields[figures]}"))
        self._bar = RichProgress(*shown, console=console, auto_refresh=False, disable=not console.is_terminal)
        self._active, self._last = console.is_terminal, 0.0

    def start(self, steps: int | None) -> None:
        self._task = self._bar.add_task("training", total=steps, figures="")
        self._bar.start()

    def due(self) -> bool:
        return self._active and time.perf_counter() - self._last > _REDRAW_SECONDS

    def step(self, done: int, epoch: int, figures: Mapping[str, float]) -> None:
        self._last = time.perf_counter()
        text = "  ".join(f"{name} {value:.2f}" for name, value in figures.items())
        self._bar.update(self._task, completed=done, description=f"epoch {epoch}", figures=text, refresh=True)

    def stop(self) -> None:
        self._bar.stop()
