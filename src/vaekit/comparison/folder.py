"""The folder of a comparison.

    plan.json              models, seeds, budget, options, fingerprints of the data: written first
    runs/<model>-<seed>/   a run folder each, as `vaekit train` writes it; under a name with .unfinished until it is whole
        course.json        what was seen of the model on the way
        figures/comparison.npz   its pictures of the comparison
    comparison.json        figures, references, claims
    comparison.html        all of it on one page

A run that is there is whole: it is moved to its name when its last file is written. So a comparison that was stopped in any
way goes on at the run that is missing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vaekit.comparison.plan import Plan
from vaekit.errors import DataError, RunError
from vaekit.files import disk_errors, write_json
from vaekit.runs import read_json

_FORMAT = 1
PLAN, RESULT, PAGE, COURSE = "plan.json", "comparison.json", "comparison.html", "course.json"


@dataclass(frozen=True)
class Folder:
    """Where a comparison is written."""

    path: Path

    @property
    def finished(self) -> bool:
        """Whether its result is there."""
        return (self.path / RESULT).is_file()

    def run(self, name: str, seed: int) -> Path:
        """Where the run of a model and a seed is once it is whole."""
        return self.path / "runs" / f"{name}-{seed}"

    def runs(self, plan: Plan) -> Iterator[tuple[str, int, Path]]:
        """Models, seeds and their folders, model by model."""
        for name in plan.models:
            for seed in range(plan.seeds):
                yield name, seed, self.run(name, seed)

    def missing(self, plan: Plan) -> list[tuple[str, int]]:
        """Models and seeds that are still to be trained."""
        return [(name, seed) for name, seed, path in self.runs(plan) if not path.is_dir()]

    def write_run(self, name: str, seed: int, write: Callable[[Path], Any]) -> None:
        """Let `write` fill a folder, then put it in its place."""
        final = self.run(name, seed)
        place = final.with_name(f"{final.name}.unfinished")
        with disk_errors(place):
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
        write(place)
        with disk_errors(final):
            os.replace(place, final)


def open_folder(path: Path, plan: Plan) -> Folder:
    """The folder of a plan: a new one, or one in which the same plan was begun.

    Raises RunError where the path holds anything else, DataError where the data are not those of then.
    """
    folder = Folder(path)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        if not (path / PLAN).is_file():
            raise RunError(f"{path}: exists already and is no comparison; choose another --out")
        _check_same(path, read_plan(path), plan)
    else:
        write_json(path / PLAN, {"format": _FORMAT} | plan.to_json())
    return folder


def read_plan(path: Path) -> Plan:
    """The plan of a folder. Raises RunError where there is none."""
    if not (path / PLAN).is_file():
        raise RunError(f"{path}: holds no {PLAN}; `vaekit compare` makes such a folder")
    content = read_json(path / PLAN)
    if content.pop("format", None) != _FORMAT:
        raise RunError(f"{path / PLAN}: was written by another vaekit; use that one, or begin anew in another folder")
    try:
        return Plan.from_json(content)
    except (KeyError, TypeError) as error:
        raise RunError(f"{path / PLAN}: is damaged ({error}); begin anew in another folder") from error


def _check_same(path: Path, old: Plan, new: Plan) -> None:
    # the options that read the data need not be the same where the rows are
    before, now = (replace(plan, source={}, splits={}).flat() for plan in (old, new))
    if old.splits != new.splits:
        raise DataError(f"{path}: was begun on other rows than the source has now; give the old data, or another --out")
    for key in [*before, *(key for key in now if key not in before)]:
        if before.get(key) != now.get(key):
            raise RunError(
                f"{path}: was begun with {_said(key, before.get(key))}, not {_said(key, now.get(key))}; repeat the options, or "
                "choose another --out"
            )


def _said(key: str, value: Any) -> str:
    text = " ".join(map(str, value)) if isinstance(value, list) else "its default" if value is None else str(value)
    return f"{key.replace('_', ' ')} {text}"
