"""`fit`: the one way to train a model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from numbers import Integral, Real
from typing import Any, Literal, get_args

from vaekit.data import Dataset, Schema, Split, as_split
from vaekit.data.batches import steps_per_epoch
from vaekit.errors import DataError, UsageError
from vaekit.models.base import Model
from vaekit.models.examples import check_classes, check_split
from vaekit.models.recipes import RECIPES, Origin, Recipe
from vaekit.objectives import Terms, elbo
from vaekit.optimizers import OptimizerName, linear_weights, optimizer_for
from vaekit.training.aggressive import aggressively
from vaekit.training.clock import Clock, cosine_by
from vaekit.training.denormals import run_flushed, threads_for
from vaekit.training.engine import Device, Precision, make_accelerator
from vaekit.training.history import History, Record
from vaekit.training.loop import Training
from vaekit.training.progress import Bar, Progress, Silent
from vaekit.training.schedules import cosine
from vaekit.training.update import Player
from vaekit.updates import Schedule, Update

_LARGEST = 1e38
"""A learning rate or norm beyond it would be infinite among weights in single precision."""


def fit(
    model: Model,
    data: Any,
    objective: Callable[..., Terms] | None = None,
    *,
    epochs: int = 20,
    seconds: float | None = None,
    batch_size: int = 128,
    learning_rate: float | Schedule | None = None,
    learning_rate_decay: Literal["none", "cosine"] = "none",
    schedules: Mapping[str, Schedule] | None = None,
    updates: Sequence[Update] | None = None,
    optimizer: OptimizerName = "adam",
    gradient_clip: float | None = None,
    aggressive: int = 0,
    patience: int | None = None,
    seed: int = 0,
    device: Device = "auto",
    precision: Precision = "no",
    on_epoch: Callable[[Record], None] | None = None,
    on_step: Callable[[int, float], None] | None = None,
    progress: bool | Progress = True,
) -> History:
    """Train `model` in place.

    Args:
        data: a Dataset (its validation rows are used after every epoch), a Split, or an array or tensor of rows.
        objective: (model, batch) -> Terms, for example `elbo` or `partial(elbo, beta=4.0)`; None is that of the model's
            recipe, else `elbo`.
            The model says what players it makes (`Model.updates`). A keyword `dataset_size` that is None is set to the
            number of training rows, a keyword `labelled_share` to the part of them that has a label.
        epochs, batch_size: passes over the training rows, and rows per step over all processes together.
        seconds: of optimiser steps, in place of `epochs`: training ends after so many, in the middle of an epoch if need be.
            Validation and what is called between the steps do not count.
        learning_rate: of the optimiser; a number or a function of the step; None is that of the model's recipe, else 0.001.
        learning_rate_decay: "cosine" takes a number down to 0 over the whole training, by `seconds` where these are given.
        schedules: keywords of the objective that are functions of the step, for example
            {"beta": schedules.linear(0.0, 1.0, steps=1000)}.
        updates: the players themselves, in place of an objective (see `Update`).
        optimizer: "adam", or "muon", which moves the weights of linear layers as matrices (see `vaekit.optimizers`): for long
            trainings in large batches, where it wants a larger learning rate (0.006 to 0.012 in batches of 250 to 500).
        gradient_clip: largest norm of a gradient over all parameters of an update.
        aggressive: steps of the encoder alone before each one of the decoder, at most, until the mutual information of
            rows and codes rises no more (He et al., ICLR 2019; see `training/aggressive.py`); 0 moves all at every step.
        patience: stop after so many epochs without a better validation ELBO and give the model its best weights; epochs at
            whose end a schedule is not where it ends, as in a warm-up, do not count.
        seed: of the order of rows and of all noise; the process's own random state is left as it was. That state is one for
            all threads: trainings in threads of one process disturb each other's noise.
        device: "auto" takes an accelerator where there is one.
        precision: "bf16" or "fp16" for mixed precision.
        on_epoch: called with each epoch's record.
        on_step: called after every optimiser step with the number of steps made and the seconds they took, its own not counted.
        progress: a bar on the terminal, or an object that shows it elsewhere.

    Returns:
        A History with one record an epoch: epoch, step, train_loss, train_elbo, train_rate, train_distortion,
        validation_elbo, validation_rate, validation_distortion (always at beta = 1), the scheduled keywords,
        learning_rate, seconds, examples_per_second; all in nats per example.

    Raises:
        TrainingError: a loss is not finite; the model has the last good weights.
        UsageError, DataError: arguments or data that cannot be right.
    """
    dataset = _as_dataset(data)
    check_numbers(epochs=epochs, seconds=seconds, batch_size=batch_size, patience=patience, gradient_clip=gradient_clip)
    own = _recipe_of(model)
    if learning_rate is None:
        learning_rate = 1e-3 if own is None else own.training.get("learning_rate", 1e-3)
    if not callable(learning_rate):
        check_numbers(learning_rate=learning_rate)
    if learning_rate_decay not in ("none", "cosine") or (learning_rate_decay != "none" and callable(learning_rate)):
        raise UsageError(
            f"learning_rate_decay {learning_rate_decay!r}: expected none or cosine, and a number to decay from"
        )
    if not isinstance(seed, Integral) or seed < 0:
        raise UsageError(f"seed {seed}: expected a whole number of at least 0")
    epochs, batch_size, seed = int(epochs), int(batch_size), int(seed)  # NumPy's own are numbers too
    if patience is not None and dataset.validation is None:
        raise UsageError(f"patience {patience}: early stopping needs validation rows; give a Dataset that has them")
    _check_fits(model, dataset)
    if updates is not None and (objective is not None or schedules):
        raise UsageError("fit: give either updates, or an objective with its schedules")
    if objective is not None and not callable(objective):
        raise UsageError(
            f"objective: expected a function (model, batch) -> Terms, got a {type(objective).__name__}; "
            "players are given as updates=[...]"
        )
    clock = Clock()
    if learning_rate_decay == "cosine" and not callable(learning_rate):
        steps = epochs * steps_per_epoch(len(dataset.train), batch_size)
        start = learning_rate
        learning_rate = cosine(start, 0.0, steps) if seconds is None else cosine_by(clock, start, 0.0, seconds)
    objective = objective or (elbo if own is None else own.objective)
    chosen = _told(updates, dataset) if updates else _players_of(model, dataset, objective, schedules or {})
    for update in chosen:
        for name, schedule in update.schedules.items():
            check_schedule(update.objective, name, schedule)
    chosen = _optimized(chosen, optimizer, model)
    if aggressive:
        held, every = dataset.validation or dataset.train, steps_per_epoch(len(dataset.train), batch_size)
        chosen[0] = aggressively(chosen[0], model, held, most=aggressive, measure_every=every)
    check_patience(patience, chosen)
    accelerator = make_accelerator(device, precision)
    if seconds is not None and accelerator.num_processes > 1:
        raise UsageError(f"seconds {seconds}: several processes cannot agree when time is up; give epochs")
    model.to(accelerator.device)
    players = [Player(model, update, learning_rate, alone=len(chosen) == 1) for update in chosen]
    shown = (Bar() if progress else Silent()) if isinstance(progress, bool) else progress
    training = Training(
        model, dataset, players, accelerator, epochs, batch_size, gradient_clip, patience, seed, shown, on_epoch,
        seconds, on_step, clock,
    )  # fmt: skip
    return run_flushed(training.run, threads_for(model, batch_size))


def _players_of(
    model: Model, data: Dataset, objective: Callable[..., Terms], schedules: Mapping[str, Schedule]
) -> list[Update]:
    """The model's own players; the schedules are of the first one's objective."""
    known = with_dataset_size(with_labelled_share(objective, data.train), len(data.train))
    first, *others = model.updates(known)
    return [replace(first, schedules=dict(schedules)), *others]


def _told(updates: Sequence[Update], data: Dataset) -> list[Update]:
    """Players that were given, each told of the data what its objective asks."""
    if isinstance(updates, Update) or not all(isinstance(update, Update) for update in updates):
        raise UsageError("updates: expected a list of vaekit.Update")
    return [
        replace(u, objective=with_dataset_size(with_labelled_share(u.objective, data.train), len(data.train)))
        for u in updates
    ]


def check_schedule(objective: Callable[..., Terms], name: str, schedule: Any) -> None:
    """Raise UsageError unless the objective has a keyword of this name and the schedule is a function of the step."""
    if not callable(schedule):
        raise UsageError(
            f"schedules: {name} {schedule!r}: expected a function of the step, as schedules.linear(0, 1, 500)"
        )
    known = _parameters_of(objective)
    if name not in known and not any(p.kind is p.VAR_KEYWORD for p in known.values()):
        keywords = [key for key, p in known.items() if p.kind is p.KEYWORD_ONLY]
        said = f"; it has {', '.join(keywords)}" if keywords else ""
        raise UsageError(f"schedules: {name}: the objective has no such keyword{said}")


def _parameters_of(objective: Callable[..., Terms]) -> Mapping[str, inspect.Parameter]:
    """The parameters of an objective. Raises UsageError where it was given others than it has."""
    try:
        return inspect.signature(objective).parameters
    except (TypeError, ValueError) as error:
        if not isinstance(objective, partial):
            return {}
        given = ", ".join(objective.keywords)
        takes = ", ".join(p for p in inspect.signature(objective.func).parameters if p not in ("model", "batch"))
        raise UsageError(f"objective: was given {given}; it takes {takes}") from error


def _optimized(updates: list[Update], name: OptimizerName, model: Model) -> list[Update]:
    """The players, those that name no optimiser of their own with the one asked for."""
    if name not in get_args(OptimizerName):
        raise UsageError(f"optimizer {name!r}: expected one of {', '.join(get_args(OptimizerName))}")
    if name == "adam":
        return updates
    if all(update.optimizer is not None for update in updates):
        raise UsageError(f"optimizer {name}: the players of a {type(model).__name__} have their own; leave it out")
    if not linear_weights(model):
        raise UsageError(f"optimizer {name}: this model has no linear layer that it could move; leave it out")
    make = optimizer_for(name, model)
    return [u if u.optimizer is not None else replace(u, optimizer=make) for u in updates]


def with_dataset_size(objective: Callable[..., Terms], rows: int) -> Callable[..., Terms]:
    """The objective, told the number of training rows where it has a keyword `dataset_size` that is not set yet."""
    keyword = _parameters_of(objective).get("dataset_size")
    return objective if keyword is None or keyword.default is not None else partial(objective, dataset_size=rows)


def with_labelled_share(objective: Callable[..., Terms], train: Split) -> Callable[..., Terms]:
    """The objective, told which part of the training rows is labelled where it has a keyword `labelled_share` not set yet."""
    keyword = _parameters_of(objective).get("labelled_share")
    if keyword is None or keyword.default is not None:
        return objective
    return partial(objective, labelled_share=float(train.labelled.double().mean()))


def _recipe_of(model: Model) -> Recipe | None:
    """The recipe that made the model, None for a model that was made by hand."""
    origin = getattr(model, "origin", None)
    return RECIPES.get(origin.recipe) if isinstance(origin, Origin) else None


def _as_dataset(data: Any) -> Dataset:
    if isinstance(data, Dataset):
        return data
    split = as_split(data)
    shape = tuple(split.values.shape[1:])
    return Dataset(Schema("image" if len(shape) == 3 else "vector", shape), split)


def check_numbers(**values: float | None) -> None:
    """Raise UsageError unless every value is None or a number above 0 that single precision can hold, and whole where it
    counts something."""
    for name, value in values.items():
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, Real):
            raise UsageError(f"{name} {value!r}: expected a number")
        if not 0 < value < _LARGEST:
            above = "" if not value > 0 else f", and below {_LARGEST:g}"
            raise UsageError(f"{name} {value}: expected a number above 0{above}")
        if name in ("epochs", "batch_size", "patience") and not isinstance(value, Integral):
            raise UsageError(f"{name} {value}: expected a whole number")


def check_patience(patience: int | None, updates: Sequence[Update]) -> None:
    """Raise UsageError where a patience has nothing to go by."""
    if patience is not None and updates[0].watch is not None:
        raise UsageError(
            f"patience {patience}: the losses of players against each other do not say which epoch is best; leave patience out"
        )


def _check_fits(model: Model, data: Dataset) -> None:
    if len(data.train) == 0:
        raise DataError("fit: the training split is empty")
    check_classes(model, data.schema, "fit")
    origin, shape = getattr(model, "origin", None), tuple(data.train.values.shape[1:])
    if isinstance(origin, Origin) and origin.schema.shape != shape:
        raise DataError(f"fit: the model was made for examples of shape {origin.schema.shape}, the data have {shape}")
    if not isinstance(origin, Origin) or origin.schema.kind != "text":
        for split in data.splits().values():
            check_split(model, split)
        return
    if data.train.lengths is None:
        raise DataError(
            "fit: the model is for sentences, the rows are numbers; give what vaekit.load makes of the text"
        )
    if data.schema.kind == "text" and data.schema.vocabulary != origin.schema.vocabulary:
        raise DataError(
            "fit: the model was made with another vocabulary than the data's; make it from the data's schema"
        )
