"""Recipes: functions (schema, **keywords) -> Model, known by name, so that a run is a name and its arguments as JSON."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any

import numpy as np

from vaekit.data.schema import Schema
from vaekit.errors import DataError, RunError, UsageError
from vaekit.models.base import Model
from vaekit.objectives import elbo


@dataclass(frozen=True)
class Origin:
    """How a model was made: enough to make it again."""

    recipe: str
    arguments: dict[str, Any]
    schema: Schema


@dataclass(frozen=True)
class Recipe:
    """A registered recipe: its function, the objective its models are trained with unless told otherwise, and what other
    keywords of `fit` they take by default: a learning rate for Python, all of them on the command line."""

    name: str
    function: Callable[..., Model]
    objective: Callable[..., Any]
    training: Mapping[str, Any] = field(default_factory=dict)
    kinds: tuple[str, ...] = ("image", "vector")
    """Kinds of data that its models are for (`Schema.kind`)."""


RECIPES: dict[str, Recipe] = {}


def recipe(
    *,
    objective: Callable[..., Any] = elbo,
    name: str | None = None,
    training: Mapping[str, Any] | None = None,
    kinds: tuple[str, ...] = ("image", "vector"),
) -> Callable[[Callable[..., Model]], Callable[..., Model]]:
    """Decorator that registers a function (schema, *, ...) -> Model and writes its arguments onto what it makes.

    Args:
        objective: what its models are trained with by default.
        name: the name on the command line and in run folders; left out, the function's own.
        training: keywords of `fit` that its models are trained with by default, for example {"learning_rate": 2e-4}.
        kinds: the kinds of data that its models are for; others are refused.
    """

    def register(function: Callable[..., Model]) -> Callable[..., Model]:
        key = name or function.__name__
        signature = inspect.signature(function)

        @wraps(function)
        def make(schema: Schema, *more: Any, **keywords: Any) -> Model:
            if more:
                raise UsageError(f"model {key}: {more[0]!r}: give arguments by name, as in latent_dim=8")
            if not isinstance(schema, Schema):
                hint = "give its schema" if isinstance(getattr(schema, "schema", None), Schema) else "as data.schema"
                raise UsageError(f"model {key}: is made for a schema, got a {type(schema).__name__}; {hint}")
            keywords = {name: _plain(value) for name, value in keywords.items()}
            try:
                bound = signature.bind(schema, **keywords)
            except TypeError as error:
                raise UsageError(
                    f"model {key}: {error}; it takes {', '.join(list(signature.parameters)[1:])}"
                ) from error
            if schema.kind not in kinds:
                raise DataError(
                    f"model {key}: is for {_for(kinds)}, these data are {_for((schema.kind,))}; {_instead(schema)}"
                )
            bound.apply_defaults()
            for name, value in keywords.items():
                _check_kind(f"model {key}: {name}", value, signature.parameters[name].default)
            arguments = {k: list(v) if isinstance(v, tuple) else v for k, v in list(bound.arguments.items())[1:]}
            model = function(schema, **keywords)
            known = replace(schema, examples=None)  # nobody's rows are kept with a model
            model.origin = Origin(key, arguments, known)  # type: ignore[assignment]  # nn.Module types attributes as tensors
            return model

        RECIPES[key] = Recipe(key, make, objective, dict(training or {}), kinds)
        return make

    return register


def _plain(value: Any) -> Any:
    """Numbers and arrays of NumPy as Python's own, which a run can keep."""
    if isinstance(value, np.ndarray | list | tuple):
        return tuple(_plain(one) for one in value)
    return value.item() if isinstance(value, np.generic) else value


def _check_kind(what: str, value: Any, default: Any) -> None:
    """Raise UsageError where something else is given for a whole number, or for the sizes of layers."""
    if isinstance(default, int) and not isinstance(default, bool) and not isinstance(value, int):
        raise UsageError(f"{what} {value!r}: expected a whole number")
    sizes = isinstance(value, tuple) and all(isinstance(one, int) for one in value)
    if what.endswith(": hidden") and value is not None and not sizes:
        raise UsageError(f"{what} {value!r}: expected sizes of layers, as (256, 256)")


_PLURAL = {"image": "images", "vector": "vectors", "text": "sentences"}


def _for(kinds: tuple[str, ...]) -> str:
    return " and ".join(_PLURAL.get(kind, kind) for kind in kinds)


def _instead(schema: Schema) -> str:
    fitting = [name for name, found in RECIPES.items() if schema.kind in found.kinds]
    return f"take one of {', '.join(fitting)}"


def origin_of(model: Model) -> Origin:
    """The origin of a model that a recipe made. Raises RunError for others."""
    origin = getattr(model, "origin", None)
    if not isinstance(origin, Origin):
        raise RunError(
            f"{type(model).__name__}: was not made by a recipe; decorate its function with vaekit.models.recipe()"
        )
    return origin


def make_model(name: str, schema: Schema, arguments: dict[str, Any]) -> Model:
    """The model of recipe `name`. Raises UsageError where there is no such recipe."""
    if name not in RECIPES:
        raise UsageError(
            f"model {name!r}: expected one of {', '.join(RECIPES)} (import the file that defines your own first)"
        )
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}
    return RECIPES[name].function(schema, **given)
