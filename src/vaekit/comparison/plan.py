"""What a comparison is: which models, seeds and budget, on which data. Checked before anything is trained."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from vaekit.comparison.judge import LEAST, held_out
from vaekit.data import Batch, Dataset
from vaekit.distributions.likelihoods import choose_likelihood
from vaekit.errors import DataError, UsageError, VaekitError
from vaekit.models import RECIPES, Model, make_model
from vaekit.networks import choose_network, default_hidden
from vaekit.training.fit import check_numbers, with_dataset_size

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_FIT = ("batch_size", "learning_rate", "learning_rate_decay", "gradient_clip", "device")


@dataclass(frozen=True)
class Plan:
    """A comparison as JSON values.

    Args:
        models: names of recipes.
        seeds: 0 .. seeds - 1, each a training of each model.
        seconds: of training for each model and seed, or None for `epochs`.
        shared: keywords of the recipes that every model gets that has them: the sizes of the networks above all.
        training: keywords of `fit`; None leaves a number to the model's recipe.
        samples: K of log p(x).
        source: the options that read the data, as a run's config.yaml has them.
        splits: number of rows and fingerprint of every split.
    """

    models: tuple[str, ...]
    seeds: int
    seconds: float | None
    epochs: int | None
    shared: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    samples: int = 100
    source: dict[str, Any] = field(default_factory=dict)
    splits: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A dictionary of JSON values from which `from_json` makes an equal plan."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Plan:
        """The plan that `to_json` wrote."""
        return cls(**{**values, "models": tuple(values["models"])})

    def flat(self) -> dict[str, Any]:
        """Every option by its own name, to be compared one by one."""
        values = self.to_json()
        parts = (values.pop("shared"), values.pop("training"), values.pop("source"))
        return values | {key: v for part in parts for key, v in part.items()}

    def arguments(self, name: str) -> dict[str, Any]:
        """The keywords that the recipe `name` gets."""
        return {key: value for key, value in self.shared.items() if key in keywords_of(name)}

    def fit(self, name: str) -> dict[str, Any]:
        """The keywords that `fit` gets: what was asked for, else what the recipe asks for."""
        own = {key: v for key, v in RECIPES[name].training.items() if key in _FIT}
        return own | {key: value for key, value in self.training.items() if value is not None}


def make_plan(
    data: Dataset,
    models: Sequence[str],
    *,
    seeds: int = 3,
    seconds: float | None = None,
    epochs: int | None = None,
    shared: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    samples: int = 100,
    source: Mapping[str, Any] | None = None,
) -> Plan:
    """A plan that can be carried out: every model was made once and has seen two rows of the data.

    Raises UsageError for models, sizes or numbers that cannot be right, DataError for data that a model cannot take.
    """
    _check_models(models)
    if seconds is not None and epochs is not None:
        raise UsageError("compare: give a budget of seconds or of epochs, not both")
    check_numbers(seconds=seconds, epochs=epochs)
    for name, value in (("seeds", seeds), ("samples", samples)):
        if not isinstance(value, int) or value < 1:
            raise UsageError(f"{name} {value}: expected a whole number of at least 1")
    if data.schema.kind not in ("image", "vector"):
        raise DataError(f"compare: works on images and vectors, these data are {data.schema.kind}; train one by one")
    if len(held_out(data)) < LEAST:
        raise DataError(
            f"compare: {len(held_out(data))} validation and test rows; it needs {LEAST} to measure samples against"
        )
    n = len(data.train)
    decided = {"batch_size": 128 if n >= 10_000 else 64, "learning_rate_decay": "cosine"}
    given = {key: value for key, value in (training or {}).items() if value is not None}
    plan = Plan(
        tuple(models),
        seeds,
        60.0 if seconds is None and epochs is None else seconds,
        epochs,
        _resolved(data, shared or {}, models),
        decided | given,
        samples,
        dict(source or {}),
        {name: split.fingerprint() for name, split in data.splits().items()},
    )
    check_numbers(**{key: plan.training.get(key) for key in ("batch_size", "learning_rate", "gradient_clip")})
    for name in models:
        _rehearse(plan, name, data)
    return plan


def seconds_of(text: str) -> float:
    """Seconds from "120s", "2m", "1h" or "90".

    >>> seconds_of("2m"), seconds_of("1.5h"), seconds_of("90")
    (120.0, 5400.0, 90.0)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|min|h|)\s*", text)
    if match is None or float(match[1]) <= 0:
        raise UsageError(f"budget {text}: expected a time above 0, such as 120s, 2m or 1h")
    return float(match[1]) * _UNITS[match[2]]


def keywords_of(name: str) -> list[str]:
    """The keywords of a recipe."""
    return list(inspect.signature(RECIPES[name].function).parameters)[1:]


def _check_models(models: Sequence[str]) -> None:
    for name in models:
        if name not in RECIPES:
            near = difflib.get_close_matches(name, RECIPES, 1)
            guess = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(f"models {name}: expected one of {', '.join(RECIPES)}{guess}")
        if list(models).count(name) > 1:
            raise UsageError(
                f"models {name}: is named {list(models).count(name)} times; once is enough, seeds repeat it"
            )
    if len(models) < 2:
        raise UsageError("models: expected two or more to compare; `vaekit train` makes one")


def _resolved(data: Dataset, shared: Mapping[str, Any], models: Sequence[str]) -> dict[str, Any]:
    """The networks' sizes and the likelihood, decided once for all models."""
    given = {key: value for key, value in shared.items() if value is not None}
    for key in given:
        if not any(key in keywords_of(name) for name in models):
            raise UsageError(f"{key} {given[key]}: none of {', '.join(models)} takes it; leave it out")
    kind = choose_network(given.get("network", "auto"), data.schema.shape)
    hidden = given.get("hidden") or default_hidden(kind, data.schema.shape)
    likelihood = choose_likelihood(given.get("likelihood", "auto"), data.schema)
    return {"latent_dim": 16} | given | {"network": kind, "hidden": list(hidden), "likelihood": likelihood}


def _rehearse(plan: Plan, name: str, data: Dataset) -> None:
    """Make the model and let each of its players judge two rows: what cannot work is said before a folder is made."""
    try:
        model = build(plan, name, data, 0)
        rows, two = data.train.fixed(), slice(0, 2)
        for split in data.splits().values():  # every row, since a class may be missing anywhere
            split.condition(slice(None), model.condition_dim, optional=model.condition_optional)
        told = rows.condition(two, model.condition_dim, optional=model.condition_optional)
        batch = Batch(rows.rows(two), told)
        with torch.random.fork_rng():
            for player in model.updates(with_dataset_size(RECIPES[name].objective, len(data.train))):
                player.objective(model, batch)
    except VaekitError as error:
        text = str(error)
        raise type(error)(text if text.startswith("model ") else f"model {name}: {text}") from error


def build(plan: Plan, name: str, data: Dataset, seed: int) -> Model:
    """The untrained model that `vaekit train --seed` would make; the process's random state is left as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make_model(name, data.schema, plan.arguments(name))


def config_of(plan: Plan, name: str, seed: int) -> dict[str, Any]:
    """The config.yaml with which `vaekit train --config` repeats one training."""
    kept = {"model": name, "objective": RECIPES[name].objective.__name__, "evaluation_samples": plan.samples}
    length = {"epochs": plan.epochs} if plan.seconds is None else {"seconds": plan.seconds}
    return {**plan.source, **kept, **plan.arguments(name), **length, **plan.fit(name), "patience": 0, "seed": seed}
