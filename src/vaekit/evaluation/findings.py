"""Finding and Case: what the doctor says, and what its checks may look at."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from vaekit.data import Dataset, Split
from vaekit.evaluation.rows import batches
from vaekit.models.base import Model
from vaekit.objectives import elbo, reconstruction

FEW = 20
"""Rows below which a split says too little of how a code varies."""

ROWS = 2000
"""Rows of a split that are looked at, at most."""


Severity = Literal["warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Args:
        name: which finding, as in the table of this file.
        numbers: what was measured, by name; lists hold one number a latent dimension concerned.
        what, cause, fix: a sentence each, without its full stop.
        severity: "warning", or "note" for what costs next to nothing.
    """

    name: str
    numbers: Mapping[str, float | list[int] | list[float]]
    what: str
    cause: str
    fix: str
    severity: Severity = "warning"

    def to_json(self) -> dict[str, Any]:
        """A dictionary of JSON values; a number that is not finite becomes null."""
        numbers = {k: [_finite(v) for v in x] if isinstance(x, list) else _finite(x) for k, x in self.numbers.items()}
        return asdict(self) | {"numbers": numbers}

    def __str__(self) -> str:
        note = "note: " if self.severity == "note" else ""
        return f"{note}{self.name.replace('_', ' ')}: {self.what}. Cause: {self.cause}. Fix: {self.fix}."


@dataclass(frozen=True)
class Case:
    """What a check may look at: the model, some rows, and what is known of the training."""

    model: Model
    data: Dataset
    history: list[Mapping[str, Any]]
    config: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    seed: int

    @cached_property
    def train(self) -> Split:
        return _some(self.data.train, self.seed)

    @cached_property
    def validation(self) -> Split | None:
        return None if self.data.validation is None else _some(self.data.validation, self.seed)

    @cached_property
    def held(self) -> Split:
        """Rows that were not trained on: test, else validation, else, for want of any, training rows."""
        return _some(self.data.test or self.data.validation or self.data.train, self.seed)

    @cached_property
    def coded(self) -> Split:
        """Rows whose codes are looked at: those that were not trained on, where they are enough to show how a code varies."""
        return self.held if len(self.held) >= FEW else self.train

    @cached_property
    def train_scores(self) -> Tensor:
        """(n,) the same of each training row."""
        return _scores(self.model, self.train)

    @cached_property
    def validation_scores(self) -> Tensor:
        """(n,) the ELBO of each validation row, or minus the distortion where there is no likelihood."""
        assert self.validation is not None
        return _scores(self.model, self.validation)

    def column(self, name: str) -> np.ndarray:
        """A column of the history, not-a-number where an epoch has none."""
        values = [record.get(name) for record in self.history]
        return np.array([math.nan if v is None else float(v) for v in values])

    @property
    def validation_curve(self) -> np.ndarray:
        """The validation ELBO by epoch, or minus the distortion where there is no likelihood."""
        return self.column("validation_elbo") if self.model.has_likelihood else -self.column("validation_distortion")


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _some(split: Split, seed: int) -> Split:
    """At most ROWS rows of a split, drawn with the seed, a dynamic split's pixels drawn once."""
    kept = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed))[:ROWS]
    return split.take(kept).fixed(seed)


def _scores(model: Model, split: Split) -> Tensor:
    """(n,) the ELBO of each row from one draw, or minus its distortion, in nats."""
    objective = elbo if model.has_likelihood else reconstruction
    terms = [objective(model, batch) for batch in batches(model, split)]
    return torch.cat([-(t.rate + t.distortion if model.has_likelihood else t.distortion) for t in terms]).double().cpu()


def standard_error(values: Tensor) -> float:
    """Of the mean of values (n,); infinite for one value."""
    return float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.inf


def listed(numbers: list[int], most: int = 12) -> str:
    """Numbers in words, the first `most` of them."""
    return ", ".join(map(str, numbers[:most])) + (", ..." if len(numbers) > most else "")
