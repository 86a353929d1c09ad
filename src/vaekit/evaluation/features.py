"""Features in which samples are compared: those of a small classifier trained on the spot on the same data.

Nothing is downloaded, and a user may give any module in their place. Distances in such features follow what tells the
classes apart, where distances between pixels mostly follow position and stroke width. Without labels there is nothing to
train a classifier on, and the features are the leading principal components of the values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit.data import Dataset, Split
from vaekit.errors import DataError

Features = Callable[[Tensor], Tensor]

_ROWS = 10_000
"""Training rows used; ten times fewer already give the same order of models."""

_RATE = 4e-3
"""Adam's first step size, which falls to 0: with it 400 steps tell MNIST's classes as well as 600 at a constant rate."""


class Classifier(nn.Module):
    """Two convolutions (or a hidden layer, for vectors) and two linear layers; `features` are the last hidden layer."""

    def __init__(self, shape: tuple[int, ...], classes: int, width: int = 64) -> None:
        super().__init__()
        if len(shape) == 3:
            sides = [-(-side // 4) for side in shape[1:]]
            body: list[nn.Module] = [
                nn.Conv2d(shape[0], 16, 3, stride=2, padding=1), nn.ReLU(),
                nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(32 * math.prod(sides), width),
            ]  # fmt: skip
        else:
            body = [nn.Flatten(), nn.Linear(math.prod(shape), 128), nn.ReLU(), nn.Linear(128, width)]
        self.body, self.head = nn.Sequential(*body), nn.Linear(width, classes)
        self.shift, self.scale = torch.zeros(()), torch.ones(())

    def features(self, x: Tensor) -> Tensor:
        """(n, *shape) -> (n, width)."""
        return F.relu(self.body((x - self.shift) / self.scale))

    def forward(self, x: Tensor) -> Tensor:
        """(n, *shape) -> class logits (n, classes)."""
        return self.head(self.features(x))


def train_classifier(data: Dataset, *, steps: int = 400, seed: int = 0) -> Classifier:
    """A classifier of the training rows, after so many batches of 64. Raises DataError where they have no labels."""
    train = data.train.take(data.train.labelled).fixed(seed).head(_ROWS)
    if train.labels is None or len(train) == 0:
        raise DataError("train_classifier: these data have no labels")
    classes = max(int(train.labels.max()) + 1, len(data.schema.classes or ()))  # one that only other rows have too
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Classifier(data.schema.shape, classes)
        x = train.rows(slice(None))
        model.shift, model.scale = _standard(x)
        optimizer = torch.optim.Adam(model.parameters(), _RATE, fused=True)
        for step, rows in enumerate(_batches(len(x), steps)):
            optimizer.param_groups[0]["lr"] = _RATE * (1 - step / steps)
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), train.labels[rows]).backward()
            optimizer.step()
    return model.eval().requires_grad_(False)


def _batches(n: int, steps: int, size: int = 64) -> Iterator[Tensor]:
    """So many batches of row numbers, each epoch in an order of its own."""
    each = -(-n // size)
    for epoch in range(-(-steps // each)):
        yield from torch.randperm(n).split(size)[: steps - epoch * each]


def _standard(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of images, or of every column of vectors (n, D): their units say nothing of how much they matter.
    A column that never varies keeps its scale."""
    shift, scale = (x.mean(0), x.std(0)) if x.dim() == 2 else (x.mean(), x.std())
    return shift, torch.where(scale > 1e-6 * shift.abs(), scale, torch.ones_like(scale))


def principal_components(split: Split, most: int = 32) -> Features:
    """The projection on the leading principal components of the rows, for data without labels; of real-valued vectors with
    every column at variance 1."""
    x = split.fixed().head(_ROWS).rows(slice(None))
    columns = x.dim() == 2 and split.maximum is None
    scale, x = _standard(x)[1] if columns else torch.ones(()), x.flatten(1)
    mean = x.mean(0)
    basis = torch.linalg.svd((x - mean) / scale, full_matrices=False).Vh[:most]
    return lambda rows: ((rows.flatten(1) - mean) / scale) @ basis.T


def default_features(data: Dataset, *, seed: int = 0) -> Features:
    """Features for these data: a classifier's where there are labels of at least two classes, else principal components."""
    labels = data.train.labels
    if labels is None or len(labels[labels >= 0].unique()) < 2:
        return principal_components(data.train)
    return train_classifier(data, seed=seed).features


@torch.no_grad()
def in_batches(features: Features, x: Tensor, size: int = 1024) -> Tensor:
    """`features` of rows (n, *shape), in batches: (n, F).

    Raises DataError where they are anything but F finite numbers for each row.
    """
    found = [features(part) for part in x.split(size)]
    for part, rows in zip(found, x.split(size), strict=True):
        if not isinstance(part, Tensor) or part.dim() != 2 or len(part) != len(rows) or part.shape[1] == 0:
            got = tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__
            raise DataError(f"features: expected a tensor ({len(rows)}, F) for {len(rows)} rows, got {got}; flatten it")
        if part.is_complex() or not bool(torch.isfinite(part).all()):
            raise DataError("features: not every number is real and finite; give features that are")
    return torch.cat(found)
