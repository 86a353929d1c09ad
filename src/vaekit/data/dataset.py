"""Examples in memory: a Split, and a Dataset of three of them with one schema."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vaekit.data.arrays import array_of, check_type
from vaekit.data.binarize import bernoulli_pixels
from vaekit.data.schema import Schema
from vaekit.errors import DataError, UsageError


class Batch(NamedTuple):
    """What an objective receives: data `x` (B, *shape) and, for a conditional model, the condition `c` (B, ...)."""

    x: Tensor
    c: Tensor | None = None

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Batch:
        """The batch on a device, numbers in `dtype`; tokens stay whole numbers."""
        return Batch(_moved(self.x, device, dtype), None if self.c is None else _moved(self.c, device, dtype))


@dataclass(frozen=True)
class Split:
    """Rows of one part of the data, kept as they are stored (8-bit images stay uint8).

    Args:
        values: (n, *shape), uint8 for discrete data (0 .. maximum), float for continuous data, int32 for text.
        labels: (n,) int64 class numbers, -1 where a row's class is not known, or None.
        maximum: the integer that stands for 1.0; None for float values, which are used as they are.
        dynamic: draw each pixel anew as Bernoulli(value / maximum) whenever a training batch is taken.
        name: for messages: "train", "validation" or "test".
        factors: (n, F) int64 numbers of the known factors behind each row, or None.
        conditions: (n, C) what a conditional model is told of each row, or None: then its class, as a one-hot vector.
        lengths: (n,) int64 tokens of each sentence, its end counted; None for data other than text.
    """

    values: Tensor
    labels: Tensor | None = None
    maximum: int | None = None
    dynamic: bool = False
    name: str = "data"
    factors: Tensor | None = None
    conditions: Tensor | None = None
    lengths: Tensor | None = None

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, index: Tensor | slice, rng: np.random.Generator | None = None) -> Tensor:
        """The rows at `index` as a model sees them, (B, *shape) float32; `rng` draws the pixels of a dynamic split.

        Text is (B, T) int64, padded to the longest of these rows.
        """
        # index_select is five times faster than indexing with a tensor
        values = self.values[index] if isinstance(index, slice) else self.values.index_select(0, index)
        if self.lengths is not None:
            longest = int(self.lengths[index].max()) if len(values) else 0
            return values[:, :longest].long()
        if self.maximum is None:
            return values
        if self.dynamic:
            if rng is None:
                raise DataError(f"{self.name}: dynamically binarised rows need a random generator; call fixed() first")
            return bernoulli_pixels(values, self.maximum, rng).float()
        return values.float() if self.maximum == 1 else values.float().mul_(1.0 / self.maximum)

    @property
    def labelled(self) -> Tensor:
        """(n,) whether each row's class is known."""
        return torch.zeros(len(self), dtype=torch.bool) if self.labels is None else self.labels >= 0

    def condition(self, index: Tensor | slice, dim: int, *, optional: bool = False) -> Tensor | None:
        """What a model of `dim` condition values is told of the rows at `index`, (B, dim) float32; None where dim is 0.

        With `optional` a row whose class is not known has only zeros. Raises DataError where the rows have neither conditions
        nor labels, or others than the model was made for.
        """
        if dim == 0:
            return None
        if self.conditions is not None:
            if self.conditions.shape[1] != dim:
                raise DataError(
                    f"{self.name}: {self.conditions.shape[1]} condition values a row, the model takes {dim}"
                )
            return self.conditions[index].float()
        if self.labels is None:
            raise DataError(
                f"{self.name}: the model is conditional and these rows have no labels; give "
                + ("data with classes" if self.lengths is None else "lines label<TAB>sentence")
            )
        labels = self.labels[index]
        wrong = labels[(labels < -1) | (labels >= dim)]
        if len(wrong):
            raise DataError(f"{self.name}: class {int(wrong[0])} is none of the {dim} classes the model was made for")
        if not optional and bool((labels < 0).any()):
            missing = len(self) - int(self.labelled.sum())
            raise DataError(
                f"{self.name}: the class of {missing:,} of {len(self):,} rows is not known, and the model has to be told "
                "every one; take model m2, or label these rows"
            )
        return torch.nn.functional.one_hot(labels + 1, dim + 1)[:, 1:].float()

    def batches(self, batch_size: int) -> Iterator[Tensor]:
        """The rows in order, in batches of `batch_size`."""
        for start in range(0, len(self), batch_size):
            yield self.rows(slice(start, start + batch_size))

    def fixed(self, seed: int = 0) -> Split:
        """This split with its pixels drawn once from `seed` where it is dynamic; itself otherwise."""
        if not self.dynamic or self.maximum is None:
            return self
        bits = bernoulli_pixels(self.values, self.maximum, np.random.default_rng(seed))
        return replace(self, values=bits, maximum=1, dynamic=False)

    def head(self, n: int) -> Split:
        """The first `n` rows."""
        return self.take(slice(n))

    def take(self, index: Tensor | slice) -> Split:
        """The rows at `index` as a split of their own."""
        named = {key: getattr(self, key) for key in ("labels", "factors", "conditions", "lengths")}
        kept: dict[str, Any] = {key: None if values is None else values[index] for key, values in named.items()}
        return replace(self, values=self.values[index], **kept)

    def fingerprint(self) -> dict[str, Any]:
        """The number of rows and a SHA-256 of their stored values and labels."""
        digest = hashlib.sha256(repr((tuple(self.values.shape), str(self.values.dtype), self.maximum)).encode())
        for part in (self.values, self.labels, self.conditions):
            if part is not None:
                digest.update(part.contiguous().numpy().data)
        known = int(self.labelled.sum())
        partly = {} if self.labels is None or known == len(self) else {"labelled": known}
        return {"n": len(self), "sha256": digest.hexdigest(), **partly}


@dataclass(frozen=True)
class Dataset:
    """Training, validation and test rows with one schema; `source` says in JSON values where they came from."""

    schema: Schema
    train: Split
    validation: Split | None = None
    test: Split | None = None
    source: dict[str, Any] = field(default_factory=dict)

    def splits(self) -> dict[str, Split]:
        """The splits that are there, by name."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in named.items() if split is not None}

    def to_json(self) -> dict[str, Any]:
        """Source, schema and the fingerprint of every split, as kept in a run's `data.json`."""
        return {
            "source": self.source,
            "schema": self.schema.to_json(),
            "splits": {name: split.fingerprint() for name, split in self.splits().items()},
        }


def _moved(x: Tensor, device: torch.device | str, dtype: torch.dtype) -> Tensor:
    return x.to(device, dtype if x.is_floating_point() else x.dtype)


def keep_labels(split: Split, number: int, seed: int) -> Split:
    """The split with only `number` of its labels, equally many of every class where it has them, chosen by `seed`.

    Raises UsageError where there are not that many, or more classes than that; DataError without labels.
    """
    known = torch.nonzero(split.labelled).flatten().numpy()
    if split.labels is None or not len(known):
        raise DataError(f"labelled {number}: the {split.name} rows have no labels to keep")
    labels = split.labels.numpy()
    classes = len(np.unique(labels[known]))
    if not classes <= number <= len(known):
        raise UsageError(
            f"labelled {number}: expected {classes} (one for each class) to {len(known)}, the labelled {split.name} rows"
        )
    order = np.random.default_rng(seed).permutation(known)
    turn = np.empty(len(order), np.int64)  # how many rows of its class come before each
    for c in np.unique(labels[known]):
        of_class = labels[order] == c
        turn[of_class] = np.arange(of_class.sum())
    kept = torch.from_numpy(order[np.argsort(turn, kind="stable")[:number]])
    fewer = torch.full_like(split.labels, -1)
    fewer[kept] = split.labels[kept]
    return replace(split, labels=fewer)


def as_split(rows: Any) -> Split:
    """A Split from a Split, a tensor, an array or a data frame: integers of any kind are not scaled, floats are used as they are.

    Raises DataError where they are no rows of numbers.
    """
    if isinstance(rows, Split):
        return rows
    if isinstance(rows, Dataset):
        raise DataError(f"data: expected the rows of one part, got a Dataset; give its {', '.join(rows.splits())}")
    if isinstance(rows, Tensor) and rows.layout == torch.strided:
        values = rows
    else:
        array = array_of(rows, "data")
        check_type(array, "data")
        values = torch.from_numpy(np.ascontiguousarray(array))
    if values.is_complex():
        raise DataError("data: complex values; give their real and imaginary parts as columns")
    if values.dim() < 2:
        raise DataError(f"data: expected rows (n, ...), got shape {tuple(values.shape)}")
    return Split(values if values.is_floating_point() else values.float())
