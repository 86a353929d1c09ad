"""The result of a comparison: every run's files gathered into comparison.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import vaekit
from vaekit.comparison.claims import judged
from vaekit.comparison.figures import KINDS, best_of
from vaekit.comparison.folder import COURSE, RESULT, Folder
from vaekit.comparison.judge import Figures, Judge
from vaekit.comparison.plan import Plan
from vaekit.comparison.spread import Figure
from vaekit.comparison.watching import MOMENTS, QUALITIES, Look, level_of, seconds_to
from vaekit.evaluation import Estimate
from vaekit.files import write_json
from vaekit.runs import read_json

Table = dict[str, dict[str, Figure]]
"""Figures by model, then by name."""


@dataclass(frozen=True)
class Outcome:
    """What one run says: its figures by name (none where it failed) and its course."""

    figures: Figures
    course: dict[str, Any]


def write_result(folder: Folder, plan: Plan, judge: Judge, references: Figures) -> dict[str, Any]:
    """Gather the runs of a comparison that is complete; returns what comparison.json holds."""
    outcomes: dict[str, list[Outcome]] = {name: [] for name in plan.models}
    for name, _, path in folder.runs(plan):
        entries = read_json(path / "evaluation.json", {})
        found = {key: Estimate(**entry) for key, entry in entries.items() if entry["value"] is not None}
        outcomes[name].append(Outcome(found, read_json(path / COURSE)))
    result = result_of(plan, outcomes, references) | {"measured_in": _measured_in(judge)}
    write_json(folder.path / RESULT, result)
    return result


def result_of(plan: Plan, outcomes: Mapping[str, list[Outcome]], references: Figures) -> dict[str, Any]:
    """The JSON of a comparison from the outcomes of each model, one a seed."""
    table = {name: _figures(found) for name, found in outcomes.items()}
    models = {name: _about(found) for name, found in outcomes.items()}
    told = frozenset(name for name, about in models.items() if about["told"])
    return {
        "format": 1,
        "vaekit": vaekit.__version__,
        "plan": plan.to_json(),
        "models": models,
        "references": {key: e.to_json() for key, e in references.items()},
        "figures": {name: {key: f.to_json() for key, f in row.items()} for name, row in table.items()},
        "best": {
            key: _best(key, table, references, told) for key in KINDS if any(key in row for row in table.values())
        },
        "claims": [claim.to_json() for claim in judged(table, references, plan.seeds, told)],
        "timings": _timings(outcomes),
    }


def _figures(found: list[Outcome]) -> dict[str, Figure]:
    """A figure that some seed lacks is of the seeds that have it."""
    each = {key: [o.figures[key] for o in found if key in o.figures] for key in KINDS}
    return {key: Figure(tuple(estimates)) for key, estimates in each.items() if estimates}


def _best(key: str, table: Table, references: Figures, told: frozenset[str]) -> str | None:
    figures = {name: row[key] for name, row in table.items() if key in row}
    return best_of(key, figures, references.get(key), told)


def _about(found: list[Outcome]) -> dict[str, Any]:
    courses = [o.course for o in found]
    trained = [course for course in courses if "failed" not in course]
    first = trained[0] if trained else {}
    return {
        "parameters": first.get("parameters"),
        "drawn": first.get("drawn"),
        "told": bool(first.get("told")),
        "failed": [course["failed"] for course in courses if "failed" in course],
    }


def _timings(outcomes: Mapping[str, list[Outcome]]) -> dict[str, Any]:
    """Seconds of training, and to the level that half of the models reach; what differs from machine to machine."""
    courses: dict[str, list[list[Look]]] = {
        name: [o.course["looks"] for o in found] for name, found in outcomes.items()
    }
    joined = [[look for looks in each for look in looks] for each in courses.values()]
    levels = {quality: level_of(joined, quality) for quality in QUALITIES}
    reached = {
        name: {
            quality: [None if level is None else seconds_to(looks, quality, level) for looks in each]
            for quality, level in levels.items()
        }
        for name, each in courses.items()
    }
    return {
        "training": {name: [o.course.get("seconds") for o in found] for name, found in outcomes.items()},
        "steps": {name: [_steps(looks) for looks in each] for name, each in courses.items()},
        "levels": levels,
        "seconds_to_level": reached,
        "moments": list(MOMENTS),
        "courses": courses,
    }


def _steps(looks: list[Look]) -> int | None:
    """Optimiser steps of a training; fewer in the same time where the machine was busy with other things."""
    return int(looks[-1]["step"] or 0) if looks else None


def _measured_in(judge: Judge) -> dict[str, Any]:
    return {
        "features": judge.space,
        "samples": len(judge.real) if judge.enough else 0,
        "images": judge.images,
        "classes": None if judge.classifier is None else judge.classifier.head.out_features,
        "draws_of_x": judge.noise,
    }
