"""The progress of a comparison: a bar for each model and one for the whole, on standard error; silent without a terminal."""

from __future__ import annotations

import time
from types import TracebackType

from vaekit.comparison.plan import Plan

_REDRAW_SECONDS = 0.2


class Board:
    """A context in which `tell` moves the bars.

    Args:
        shown: False for silence even on a terminal.
    """

    def __init__(self, plan: Plan, *, shown: bool = True) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        console = Console(stderr=True)
        self.plan, self.active, self.last = plan, shown and console.is_terminal, 0.0
        columns = (
            TextColumn("{task.description:<14}"),
            BarColumn(24),
            TextColumn("{task.percentage:3.0f}%"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[doing]}"),
        )
        self.bars = Progress(*columns, console=console, auto_refresh=False, disable=not self.active)

    def __enter__(self) -> Board:
        self.whole = self.bars.add_task("all", total=len(self.plan.models) * self.plan.seeds, doing="")
        self.tasks = {
            name: self.bars.add_task(name, total=self.plan.seeds, start=False, doing="waits")
            for name in self.plan.models
        }
        self.done = dict.fromkeys(self.plan.models, 0)
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()

    def begin(self, what: str) -> None:
        """Say what is being done for all models."""
        self.bars.update(self.whole, doing=what, refresh=True)

    def tell(self, name: str, what: str, part: float) -> None:
        """A model's run is at `part` of what it does; training is nine tenths of a run."""
        now = time.perf_counter()
        if not self.active or (what == "training" and now - self.last < _REDRAW_SECONDS):
            return
        self.last = now
        done = 0.9 * part if what == "training" else 0.9
        self._move(name, done, f"seed {self.done[name] + 1} of {self.plan.seeds}, {what}")

    def finish(self, name: str) -> None:
        """A run of this model is whole."""
        self.done[name] += 1
        self._move(name, 0.0, "" if self.done[name] == self.plan.seeds else "waits")

    def _move(self, name: str, part: float, doing: str) -> None:
        self.bars.start_task(self.tasks[name])
        self.bars.update(self.tasks[name], completed=self.done[name] + part, doing=doing)
        self.bars.update(self.whole, completed=sum(self.done.values()) + part, doing="", refresh=True)
