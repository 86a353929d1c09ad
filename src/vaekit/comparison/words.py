"""A comparison in words: the plan before it starts, and the table of its figures as text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from vaekit.comparison.figures import CLASSES_ONLY, GIVEN, IMAGES_ONLY, KINDS, LIKELIHOODS
from vaekit.comparison.folder import Folder
from vaekit.comparison.judge import has_classes
from vaekit.comparison.plan import Plan, build
from vaekit.comparison.running import size_of
from vaekit.data import Dataset
from vaekit.report.words import count, duration, listing, number, with_error

Lines = list[tuple[str, str]]

_SIGN = "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Cell:
    """A value and its standard error as text; "" for no error, "–" for no value. `note`: why it is not to be compared."""

    value: str
    error: str = ""
    note: str = ""

    def __str__(self) -> str:
        return self.value + (f"{_SIGN}{self.error}" if self.error else "")


@dataclass(frozen=True)
class Row:
    """One figure as a table shows it: a cell for each model."""

    key: str
    name: str
    meaning: str
    cells: list[Cell]
    reference: Cell | None
    against: str
    best: str | None


def said(result: Mapping[str, Any]) -> list[Row]:
    """The rows of the table: value ± standard error over seeds."""
    figures, rows = result["figures"], []
    for key, kind in KINDS.items():
        if any(key in row for row in figures.values()):
            cells = [
                _noted(key, cell(row.get(key), percent=kind.share), result["models"][name]["told"])
                for name, row in figures.items()
            ]
            reference = cell(result["references"].get(key), percent=kind.share) if kind.against else None
            rows.append(Row(key, kind.name, kind.meaning, cells, reference, kind.against, result["best"].get(key)))
    return rows


def cell(entry: Mapping[str, Any] | None, *, percent: bool = False) -> Cell:
    """A figure to the first digit of its error, its second where the first is a 1."""
    if entry is None:
        return Cell("\N{EN DASH}")
    factor, unit = (100, "\N{NO-BREAK SPACE}%") if percent else (1, "")
    error = None if entry["standard_error"] is None else factor * entry["standard_error"]
    digits = 2 if error and f"{error:e}".startswith("1") else 1
    value, deviation = with_error(factor * entry["value"], error, digits)
    return Cell(value + unit, deviation)


def _noted(key: str, shown: Cell, told: bool) -> Cell:
    """Of a model that is told the class: what follows from being told."""
    if not told or shown.value == "\N{EN DASH}":
        return shown
    note = "was told" if key in GIVEN else "given the class" if key in LIKELIHOODS else ""
    return replace(shown, note=note)


def plan_lines(plan: Plan, data: Dataset, folder: Folder) -> Lines:
    """(heading, text) of what is going to be done."""
    kept = len(plan.models) * plan.seeds - len(folder.missing(plan))
    goes_on = f" · goes on: {kept} of {len(plan.models) * plan.seeds} runs are there" if kept else ""
    return [
        ("data", _data(data)),
        ("models", " · ".join(f"{name} ({_parameters(plan, name, data)})" for name in plan.models)),
        ("networks", networks(plan)),
        ("budget", f"{budget(plan)} · {count(plan.seeds, 'seed')}{_spread(plan)}"),
        ("left out", left_out(data) or "nothing"),
        ("folder", f"{folder.path}{goes_on}"),
    ]


def budget(plan: Plan) -> str:
    """What each training may take."""
    length = count(plan.epochs, "epoch") if plan.epochs is not None else f"{duration(plan.seconds or 0)} of training"
    return f"{length} for each model and seed"


def networks(plan: Plan) -> str:
    """The sizes that all models share."""
    hidden = "-".join(map(str, plan.shared["hidden"]))
    rest = [f"{key.replace('_', ' ')} {plan.shared[key]}" for key in ("activation", "sigma") if key in plan.shared]
    parts = [f"{plan.shared['network']} {hidden}, mirrored", f"{plan.shared['latent_dim']} latent dimensions"]
    return " · ".join(
        [*parts, f"likelihood {plan.shared['likelihood']}", *rest, f"batch {plan.training['batch_size']}"]
    )


def left_out(data: Dataset) -> str:
    """The figures that the data do not allow."""
    images = data.schema.kind == "image" and min(data.schema.shape[-2:]) >= 3
    classes = has_classes(data)
    missing = [] if images else [KINDS[key].name for key in IMAGES_ONLY]
    why = [] if images else ["these data are no images"]
    if not classes:
        missing += [KINDS[key].name for key in CLASSES_ONLY]
        why.append("these data have no classes")
    return f"{listing([name.lower() for name in missing])}: {listing(why)}" if missing else ""


def seconds(values: list[float | None]) -> str:
    """Seconds to a level over the seeds; how many of them reached it."""
    reached = [value for value in values if value is not None]
    if not reached:
        return "not reached"
    mean = math.fsum(reached) / len(reached)
    few = "" if len(reached) == len(values) else f" ({len(reached)} of {len(values)} seeds)"
    return f"{number(mean, 2)}\N{NO-BREAK SPACE}s{few}"


def _data(data: Dataset) -> str:
    splits = " / ".join(f"{name} {len(split):,}" for name, split in data.splits().items())
    kind = "images" if data.schema.kind == "image" else "vectors"
    classes = f" · {len(data.schema.classes)} classes" if data.schema.classes else ""
    name = data.source.get("name", "data")
    return f"{name}: {kind} {'×'.join(map(str, data.schema.shape))} · {splits}{classes}"


def _parameters(plan: Plan, name: str, data: Dataset) -> str:
    return f"{size_of(build(plan, name, data, 0)):,} parameters"


def _spread(plan: Plan) -> str:
    return " · no spread over seeds, differences are judged within the seed alone" if plan.seeds == 1 else ""
