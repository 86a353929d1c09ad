"""The judge: one set of real rows, one classifier and one set of references that every model is measured against.

Real rows are the validation and test rows together: no model is stopped by its validation rows here, so both are unseen.
Samples are means E[x | z], as they are shown; of binary data draws of x, since no mean is binary.

class_balance       1/2 sum_k |share of class k among samples - its share among real rows|, classes as the classifier sees them
rarest_class        min_k (share of class k among samples / its share among real rows)
condition_share     share of samples that the classifier takes for the class that was asked for, each class equally often
nearer_to_training  how much sooner the row nearest to a sample is a training row than an unseen one (evaluation/repeating.py)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from vaekit.comparison.samples import class_conditions, conditions, drawn, how_drawn
from vaekit.data import Dataset, Split
from vaekit.errors import DataError
from vaekit.evaluation import Estimate
from vaekit.evaluation.estimate import mean_of
from vaekit.evaluation.features import Classifier, Features, in_batches, principal_components, train_classifier
from vaekit.evaluation.repeating import in_units, nearer_to_training, unit_of
from vaekit.evaluation.rows import at_rest
from vaekit.evaluation.samples import STATISTICS, estimated, frechet_distance, high_frequency_power, sharpness
from vaekit.models.base import Model

MOST = 1000
"""Samples and real rows of a kind that are compared, at most."""

LEAST = 40
"""Unseen rows below which samples are not compared with any."""

_ELEMENTS = 2**26
"""Numbers that one set of samples may hold."""

_STATISTICS = ("frechet_distance", "precision", "recall", "density", "coverage")

Figures = dict[str, Estimate]


@dataclass
class Judge:
    """What all models of a comparison are measured by.

    Args:
        data: rows with their schema.
        seed: of the classifier and of every choice of rows; the same for all models.
    """

    data: Dataset
    seed: int = 0
    held: Split = field(init=False)
    classifier: Classifier | None = field(init=False, default=None)
    references: Figures = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.held = held_out(self.data)
        if has_classes(self.data):
            self.classifier = train_classifier(self.data, seed=self.seed)
        self.features: Features = self.classifier.features if self.classifier else principal_components(self.data.train)
        n = min(MOST, len(self.held) // 2, max(LEAST, _ELEMENTS // self.data.schema.size))
        order = torch.randperm(len(self.held), generator=torch.Generator().manual_seed(self.seed))
        self.chosen, self.others = order[:n], order[n : 2 * n]
        self.real, self.unseen = (self.held.rows(rows).float() for rows in (self.chosen, self.others))
        self.noise = self.data.train.maximum == 1 or self.data.train.dynamic
        if self.enough:
            self.real_features = in_batches(self.features, self.real)
            self.seen = self.data.train.fixed(self.seed)
            self.references = self._of_real()

    @property
    def enough(self) -> bool:
        """Whether there are rows enough to compare samples with."""
        return len(self.held) >= LEAST

    @property
    def images(self) -> bool:
        """Whether rows have edges: images of at least three pixels a side."""
        return self.data.schema.kind == "image" and min(self.data.schema.shape[-2:]) >= 3

    @property
    def space(self) -> str:
        """The features in words."""
        kind = "a classifier of the training rows" if self.classifier else "the leading principal components"
        return f"features of {kind}" if self.classifier else kind

    def samples(self, model: Model, seed: int) -> Tensor | None:
        """As many samples as there are real rows, asked for in the proportions of the data; None of a model without any."""
        if not self.enough or how_drawn(model) is None:
            return None
        with at_rest(model):
            torch.manual_seed(seed)
            told = conditions(model, self.held, self.chosen)
            return drawn(model, self.data, len(self.chosen), told, noise=self.noise)

    def of_samples(self, model: Model, seed: int) -> Figures:
        """Every figure of a model's samples."""
        fake = self.samples(model, seed)
        if fake is None:
            return {}
        return self._of(fake) | self._condition(model, seed)

    def distance(self, model: Model, seed: int) -> float | None:
        """The Frechet distance alone, for the course of a training."""
        fake = self.samples(model, seed)
        if fake is None or not bool(torch.isfinite(fake).all()):
            return None
        return frechet_distance(self.real_features, in_batches(self.features, fake))

    def _of_real(self) -> Figures:
        """Real rows in the place of samples: the other half of the unseen rows."""
        found = self._of(self.unseen)
        if self.classifier is not None and self.held.labels is not None:
            asked = self.held.labels[torch.cat([self.chosen, self.others])]
            hits = self.classifier(torch.cat([self.real, self.unseen])).argmax(1) == asked
            found["condition_share"] = mean_of(hits.double(), "share", "real examples of the class")
        return found

    def _of(self, fake: Tensor) -> Figures:
        if not bool(torch.isfinite(fake).all()):
            raise DataError("samples: a value is not finite; train again with a lower learning rate")
        return self._quality(fake) | self._edges(fake) | self._classes(fake) | self._neighbours(fake)

    def _quality(self, fake: Tensor) -> Figures:
        """The statistics of `evaluation.samples`, in features."""
        features, found = in_batches(self.features, fake), {}
        for name in _STATISTICS:
            statistic, unit = STATISTICS[name]
            found[name] = estimated(statistic, self.real_features, features, unit, f"{name} in {self.space}")
        return found

    def _edges(self, fake: Tensor) -> Figures:
        if not self.images:
            return {}
        return {
            "sharpness": mean_of(sharpness(fake), "variance", "variance of the Laplacian, mean"),
            "high_frequency_power": mean_of(high_frequency_power(fake), "share", "power above half the Nyquist frequency"),
        }  # fmt: skip

    def _classes(self, fake: Tensor) -> Figures:
        """Shares of classes, real rows and samples seen by the same classifier, so that its mistakes are in both."""
        if self.classifier is None:
            return {}
        k = self.classifier.head.out_features
        real, seen = (self.classifier(x).argmax(1) for x in (self.real, fake))
        how = f"{k} classes as a classifier sees them"
        return {
            "class_balance": estimated(partial(_variation, k=k), real, seen, "share", f"total variation, {how}"),
            "rarest_class": estimated(partial(_rarest, k=k), real, seen, "share", f"smallest ratio of shares, {how}"),
        }

    def _condition(self, model: Model, seed: int) -> Figures:
        """Each class asked for equally often."""
        if self.classifier is None or not model.condition_dim:
            return {}
        labels = self.data.train.labels
        assert labels is not None  # there is a classifier
        known = labels[labels >= 0].unique()  # nobody has seen the others
        asked = known[torch.arange(len(self.real)) % len(known)]
        told = class_conditions(model, self.held, asked)
        if told is None or told.shape[1] != self.classifier.head.out_features:
            return {}
        with at_rest(model):
            torch.manual_seed(seed + 1)
            fake = drawn(model, self.data, len(asked), told, noise=self.noise)
        hits = (self.classifier(fake).argmax(1) == asked).double()
        return {"condition_share": mean_of(hits, "share", "samples taken for the class that was asked for")}

    def _neighbours(self, fake: Tensor) -> Figures:
        """The first half of the unseen rows stands for rows that nobody was trained on, since the second plays samples."""
        unit = unit_of(self.data.schema)
        closer, near = nearer_to_training(fake, self.seen, self.real, unit=unit, seed=self.seed)
        how = f"root mean square per value{in_units(unit)} to the nearest training row"
        near = near.double() / math.sqrt(self.data.schema.size)
        return {"nearer_to_training": closer, "neighbour_distance": mean_of(near, "distance", how)}


def has_classes(data: Dataset) -> bool:
    """Whether there is a classifier to be trained: training rows of at least two classes."""
    labels = data.train.labels
    return labels is not None and len(labels[labels >= 0].unique()) > 1


def held_out(data: Dataset) -> Split:
    """Validation and test rows as one split."""
    splits = [s.fixed() for s in (data.validation, data.test) if s is not None]
    if not splits:
        raise DataError("compare: the data have no held-out rows to measure a model by")
    # of rows whose classes are known in part, those are taken that every model can be told of
    splits = [s.take(s.labelled) if s.labels is not None and bool(s.labelled.any()) else s for s in splits]
    first = splits[0]

    def joined(name: str) -> Tensor | None:
        parts = [getattr(s, name) for s in splits]
        return None if any(part is None for part in parts) else torch.cat(parts)

    return Split(
        torch.cat([s.values for s in splits]),
        joined("labels"),
        first.maximum,
        name="held-out",
        conditions=joined("conditions"),
    )


def _shares(numbers: Tensor, k: int) -> Tensor:
    return torch.bincount(numbers, minlength=k).double() / max(len(numbers), 1)


def _variation(real: Tensor, fake: Tensor, k: int) -> float:
    return float((_shares(real, k) - _shares(fake, k)).abs().sum()) / 2


def _rarest(real: Tensor, fake: Tensor, k: int) -> float:
    """Over the classes that real rows have."""
    known, seen = _shares(real, k), _shares(fake, k)
    there = known > 0
    return float((seen[there] / known[there]).min())
