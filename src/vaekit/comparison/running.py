"""Trainings, one after the other, each measured as soon as it is over."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import vaekit
from vaekit import runs
from vaekit.comparison.folder import COURSE, Folder
from vaekit.comparison.judge import Judge
from vaekit.comparison.measure import figures_of, pictures_of
from vaekit.comparison.plan import Plan, build, config_of
from vaekit.comparison.samples import how_drawn, is_told
from vaekit.comparison.watching import Watch
from vaekit.data.batches import steps_per_epoch
from vaekit.errors import DataError, RunError, TrainingError, VaekitError
from vaekit.evaluation import to_json
from vaekit.evaluation.gallery import gallery
from vaekit.files import write_json
from vaekit.models import RECIPES, Model
from vaekit.training import fit

Tell = Callable[[str, float], None]
"""What is being done, and the part of it that is done."""


def run_one(plan: Plan, name: str, seed: int, judge: Judge, folder: Folder, tell: Tell) -> None:
    """Train and measure one model with one seed into its run folder. A training that fails is a result too."""
    folder.write_run(name, seed, lambda place: _written(plan, name, seed, judge, place, tell))


def _written(plan: Plan, name: str, seed: int, judge: Judge, place: Path, tell: Tell) -> None:
    data, model = judge.data, build(plan, name, judge.data, seed)
    runs.write_config(place, config_of(plan, name, seed))
    write_json(place / "environment.json", _environment(model))
    write_json(place / "data.json", data.to_json())
    status: dict[str, Any] = {"state": "finished"}
    watch = Watch(model, judge, _part(plan, len(data.train)), lambda part: tell("training", part), seed)
    started = time.perf_counter()
    try:
        status |= _trained(model, plan, name, seed, judge, place, watch)
    except TrainingError as error:
        _write_failure(place, watch, error)
        runs.save_model(model, place / "model")
        return
    status["seconds"] = round(time.perf_counter() - started, 2)
    tell("measuring", 0.0)
    runs.save_model(model, place / "model")
    try:
        figures = figures_of(model, judge, plan.samples, seed)
        arrays = {"comparison": pictures_of(model, judge, seed), "gallery": gallery(model, data, seed=seed)}
    except (DataError, RunError) as error:  # what the model makes is no number
        _write_failure(place, watch, error)
        return
    write_json(place / "evaluation.json", to_json(dict(figures)))
    about = {"parameters": size_of(model), "drawn": how_drawn(model), "told": is_told(model)}
    write_json(place / COURSE, {"looks": watch.looks, "seconds": watch.looks[-1]["seconds"], **about})
    for stem, pictures in arrays.items():
        runs.write_arrays(place / "figures" / f"{stem}.npz", pictures)
    write_json(place / "status.json", status)


def _write_failure(place: Path, watch: Watch, error: VaekitError) -> None:
    write_json(place / COURSE, {"looks": watch.looks, "failed": str(error)})
    write_json(place / "status.json", {"state": "failed", "error": str(error)})


def _trained(model: Model, plan: Plan, name: str, seed: int, judge: Judge, place: Path, watch: Watch) -> dict[str, Any]:
    length = {"seconds": plan.seconds} if plan.epochs is None else {"epochs": plan.epochs}
    history = fit(
        model,
        judge.data,
        RECIPES[name].objective,
        seed=seed,
        progress=False,
        on_step=watch,
        on_epoch=lambda record: runs.append_record(place, record),
        **length,
        **plan.fit(name),
    )
    if getattr(model, "waits_for_prior", False):
        from vaekit.training.second_stage import fit_prior

        fit_prior(model, judge.data, seed=seed)
    return {"epochs": len(history), "best_epoch": history.best_epoch, "early_stopped": False}


def _part(plan: Plan, rows: int) -> Callable[[int, float], float]:
    if plan.seconds is not None:
        budget = plan.seconds
        return lambda step, seconds: seconds / budget
    assert plan.epochs is not None  # a plan has one or the other
    steps = plan.epochs * steps_per_epoch(rows, plan.training["batch_size"])
    return lambda step, seconds: step / steps


def _environment(model: Model) -> dict[str, Any]:
    return {
        "vaekit": vaekit.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "parameters": size_of(model),
    }


def size_of(model: Model) -> int:
    """Parameters that training moves: a moving average of them is no more of a network."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
