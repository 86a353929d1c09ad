"""What one example is: its shape, its values and its classes, as JSON and back."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from vaekit.data.vocabulary import Vocabulary
from vaekit.errors import DataError, UsageError

Support = Literal["binary", "discrete", "unit", "real", "tokens"]


@dataclass(frozen=True)
class Schema:
    """The form of one example as models see it.

    Discrete data (`levels` set) are stored as integers 0 .. levels - 1 and reach a model as the evenly spaced values
    0, 1/(levels-1), ..., 1. Continuous data reach it unchanged; `shift` and `scale` then say where they lie, so that a
    network may work on (x - shift) / scale while every density stays in the data's own units.

    Args:
        kind: "image" (shape (C, H, W)), "vector" (shape (D,)) or "text" (shape (T,): tokens of the longest sentence, its end
            counted; a batch is cropped to its own longest).
        shape: the shape of one example.
        levels: number of values of discrete data (2 = binary, 256 = 8-bit), None for continuous data.
        low, high: the smallest and the largest value a model sees.
        shift, scale: a number, or for vectors one per column; (0, 1) unless the data are real-valued.
        classes: names of the classes in the order of the integer labels, None without labels.
        maximum: where gray levels were drawn black or white, the level that is white for certain; None for other data.
        conditions: names of the values that a conditional model is told; None: it is told the class.
        condition_shift, condition_scale: where these values lie in the training rows, one for each.
        vocabulary: of text, the JSON of its `Vocabulary`.
        mean: training mean of each element (`shape`), the start of a decoder's output bias; not part of the JSON,
            because a trained model carries it in its weights.
        examples: some training rows (m, *shape) as models see them, the start of a VampPrior; as `mean`, not part of the JSON.
    """

    kind: Literal["image", "vector", "text"]
    shape: tuple[int, ...]
    levels: int | None = None
    low: float = 0.0
    high: float = 1.0
    shift: float | tuple[float, ...] = 0.0
    scale: float | tuple[float, ...] = 1.0
    classes: tuple[str, ...] | None = None
    maximum: int | None = None
    conditions: tuple[str, ...] | None = None
    condition_shift: float | tuple[float, ...] = 0.0
    condition_scale: float | tuple[float, ...] = 1.0
    vocabulary: dict[str, Any] | None = field(default=None, repr=False, hash=False)
    mean: Tensor | None = field(default=None, compare=False, repr=False)
    examples: Tensor | None = field(default=None, compare=False, repr=False)

    @property
    def support(self) -> Support:
        """Where the values lie: {0, 1}, an even grid on [0, 1], the interval [0, 1], the real line, or a vocabulary."""
        if self.kind == "text":
            return "tokens"
        if self.levels is not None:
            return "binary" if self.levels == 2 else "discrete"
        return "unit" if self.low >= 0 and self.high <= 1 else "real"

    @cached_property
    def text(self) -> Vocabulary:
        """The vocabulary of text. Raises DataError for other data."""
        if self.vocabulary is None:
            raise DataError(f"schema: {self.kind} data have no vocabulary; give sentences")
        return Vocabulary.from_json(self.vocabulary)

    @property
    def size(self) -> int:
        """Number of elements of one example."""
        return math.prod(self.shape)

    @property
    def condition_names(self) -> tuple[str, ...]:
        """Names of the values of a condition: those given, else the classes; () where there are neither."""
        return self.conditions or self.classes or ()

    def condition(self, text: str) -> Tensor:
        """A condition (C,) from words: a class's name, C numbers, name=value pairs or names of conditions, divided by commas.

        Names that are not given are 0, names without a value 1. Raises UsageError where nothing in the schema answers to it.
        """
        text, names = str(text), self.condition_names
        if not names:
            raise UsageError("condition: the model was made for data without classes or conditions, and takes none")
        c, parts = torch.zeros(len(names)), [part.strip() for part in text.split(",")]
        try:
            if text.strip() in names:
                c[names.index(text.strip())] = 1.0
            elif all("=" in part for part in parts):
                for name, _, value in (part.rpartition("=") for part in parts):
                    c[names.index(name.strip())] = float(value)
            elif (
                self.conditions and set(parts) <= set(names) and len(parts) < len(names)
            ):  # of classes a row has but one
                c[[names.index(part) for part in parts]] = 1.0
            elif len(parts) == len(names):
                c = torch.tensor([float(part) for part in parts])
            else:
                raise ValueError
            if bool(torch.isfinite(c).all()) and (self.conditions or bool(c.any())):  # a row of no class there is not
                return c
        except ValueError:
            pass
        shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
        raise UsageError(
            f"condition {text!r}: expected one of {shown}; or name=value; or {len(names)} numbers with commas"
        )

    def to_json(self) -> dict[str, Any]:
        """A dictionary of JSON values from which `from_json` makes an equal schema."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("mean", "examples")}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Schema:
        """The schema that `to_json` wrote. Raises DataError on keys it does not know."""
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise DataError(f"schema: unknown key {sorted(unknown)[0]!r}; was it written by a newer vaekit?")
        arguments: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return cls(**arguments)

    def check(self, x: Tensor, owner: str) -> None:
        """Raise DataError unless every row of `x` (B, *shape) could be an example of this schema."""
        if self.kind == "text":
            self._check_tokens(x, owner)
        elif tuple(x.shape[1:]) != self.shape:
            raise DataError(f"{owner}: expected examples of shape {self.shape}, got {tuple(x.shape[1:])}")
        elif self.levels is not None and x.numel():
            steps = x * (self.levels - 1)
            if bool(((steps - steps.round()).abs() > 1e-3).any()) or float(x.min()) < 0 or float(x.max()) > 1:
                raise DataError(
                    f"{owner}: values are not on the {self.levels} levels from 0 to 1 this model was made for"
                )

    def _check_tokens(self, x: Tensor, owner: str) -> None:
        if x.dim() != 2 or x.is_floating_point() or x.shape[1] > self.shape[0]:
            raise DataError(
                f"{owner}: expected token numbers (B, at most {self.shape[0]}), got {tuple(x.shape)} {x.dtype}"
            )
        if x.numel() and not 0 <= int(x.min()) <= int(x.max()) < self.text.size:
            raise DataError(f"{owner}: token {int(x.max())} is none of the {self.text.size} of the vocabulary")
