"""Whether rows could be examples of the data that a model was made for: what training and evaluation ask first."""

from __future__ import annotations

import torch

from vaekit.data import Schema, Split
from vaekit.errors import DataError
from vaekit.models.base import Model
from vaekit.models.recipes import Origin

_ROWS = 1024
"""Rows looked at together."""


def check_split(model: Model, split: Split) -> None:
    """Raise DataError where a row is not finite, or could be no example of the schema the model was made for.

    A density is not asked where the rows are none: it answers with a number for grays that were never scaled.
    """
    origin = getattr(model, "origin", None)
    schema = origin.schema if isinstance(origin, Origin) else None
    if schema is not None and _on_its_levels(split, schema):
        return
    bounded = isinstance(origin, Origin) and origin.arguments.get("likelihood") == "continuous-bernoulli"
    for x in split.fixed().batches(_ROWS):
        if x.is_floating_point() and not bool(torch.isfinite(x).all()):
            raise DataError(f"{split.name}: a value is not finite (NaN or infinity); drop or fill such rows")
        if schema is not None:
            schema.check(x, split.name)
        if bounded and (float(x.min()) < 0 or float(x.max()) > 1):
            raise DataError(
                f"{split.name}: values are not between 0 and 1, where likelihood continuous-bernoulli lives"
            )


def _on_its_levels(split: Split, schema: Schema) -> bool:
    """Whether whole numbers are levels of the schema by their maximum alone, so that no row has to be looked at."""
    if split.maximum is None or split.values.dtype != torch.uint8 or tuple(split.values.shape[1:]) != schema.shape:
        return False
    levels = 2 if split.dynamic else split.maximum + 1
    return levels == schema.levels and (not len(split) or int(split.values.max()) <= split.maximum)


def check_classes(model: Model, schema: Schema, owner: str) -> None:
    """Raise DataError where a conditional model would be told of classes or conditions by the numbers of others."""
    origin = getattr(model, "origin", None)
    if not model.condition_dim or not isinstance(origin, Origin):
        return
    made, named = origin.schema.condition_names, schema.condition_names
    if made and named and made != named:
        shown = (", ".join(names[:6]) + (", ..." if len(names) > 6 else "") for names in (made, named))
        raise DataError(
            "{}: the model was made for the classes or conditions {}; the data have {}".format(owner, *shown)
            + "; give data with the same, in the same order"
        )
