"""Arrays to examples: which axis is what, which values are discrete, and how rows are split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from vaekit.data.precision import check_digits, to_single
from vaekit.data.schema import Schema
from vaekit.errors import DataError


@dataclass(frozen=True)
class Raw:
    """What a reader returns: values as they were stored, class numbers, names of the classes.

    `parts` gives the row numbers of (train, validation, test) where the source has its own division, else None.
    `maximum` is the integer that stands for 1.0 in integer data, where the reader knows it. `channels_first` says that `values`
    are (n, C, H, W) for certain: by their shape alone, images 3 pixels wide could be channels-last. `factors` (n, F) are the
    values of the known factors behind each example; `conditions` (n, C) and `condition_names` what a conditional model is
    told.
    """

    values: np.ndarray
    labels: np.ndarray | None = None
    classes: tuple[str, ...] | None = None
    parts: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
    maximum: int | None = None
    factors: np.ndarray | None = None
    conditions: np.ndarray | None = None
    condition_names: tuple[str, ...] | None = None
    channels_first: bool = False


def unlabelled(labels: np.ndarray) -> np.ndarray:
    """(n,) which labels say that a class is not known: NaN, None, an empty text, and -1 beside at least two classes from 0 up.

    So -1 is a class where it stands beside one other, as in -1 and 1, or where another number is below 0.
    """
    if labels.dtype.kind not in "biuf":
        texts = [None if v is None or v != v else str(v).strip() for v in labels.tolist()]
        return np.array([not text for text in texts], bool)
    missing = np.isnan(labels) if labels.dtype.kind == "f" else np.zeros(len(labels), bool)
    others = np.unique(labels[~missing & (labels != -1)])
    counts = len(others) >= 2 and others[0] >= 0 and bool((others == np.rint(others)).all())
    return missing | (labels == -1) if counts else missing


def examples_of(raw: Raw, owner: str) -> np.ndarray:
    """The values of a source as (n, D) or (n, C, H, W). Raises DataError unless they are finite numbers of such a shape."""
    check_type(raw.values, owner)
    if raw.values.ndim < 2:
        raise DataError(f"{owner}: expected examples in rows, got shape {raw.values.shape}")
    values = raw.values if raw.channels_first else image_axes(raw.values, owner)
    check_values(values, owner)
    return values


def image_axes(values: np.ndarray, owner: str) -> np.ndarray:
    """(n, D), (n, H, W), (n, H, W, C) or (n, C, H, W) -> (n, D) or (n, C, H, W), C being 1 or 3."""
    if values.ndim == 2:
        return values
    if values.ndim == 3:
        return values[:, None]
    if values.ndim == 4 and values.shape[1] in (1, 3) and values.shape[3] not in (1, 3):
        return values
    if values.ndim == 4 and values.shape[3] in (1, 3):
        return np.ascontiguousarray(values.transpose(0, 3, 1, 2))
    if values.ndim == 4 and values.shape[1] in (1, 3):
        return values
    raise DataError(
        f"{owner}: shape {values.shape} is none of (n, d), (n, height, width), (n, height, width, 1 or 3) "
        "or (n, 1 or 3, height, width); reshape the array"
    )


def array_of(values: Any, owner: str) -> np.ndarray:
    """A NumPy array of numbers from an array, a tensor, a data frame or a list. Raises DataError for anything else, and
    where values are masked: they are unknown."""
    if np.ma.is_masked(values):
        row = int(np.argwhere(np.ma.getmaskarray(values))[0][0])
        raise DataError(f"{owner}: row {row} holds a masked value; drop or fill such rows")
    if isinstance(values, Tensor):
        if values.layout != torch.strided:
            raise DataError(f"{owner}: a sparse tensor; give to_dense() of it")
        values = values.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    if not hasattr(values, "__array__") and not isinstance(values, list | tuple):
        hint = "; give toarray() of it" if hasattr(values, "toarray") else ""
        kind = repr(values) if isinstance(values, str) else f"a {type(values).__name__}"
        raise DataError(f"{owner}: expected an array of numbers, got {kind}{hint}")
    try:
        return np.asarray(values)
    except (TypeError, ValueError) as error:
        raise DataError(f"{owner}: cannot be made an array of numbers ({str(error).splitlines()[0]})") from error


def check_type(values: np.ndarray, owner: str) -> None:
    """Raise DataError on an array of anything but numbers."""
    if values.dtype.kind not in "buif":
        raise DataError(f"{owner}: values of type {values.dtype} are not numbers; save a numeric array")


def check_values(values: np.ndarray, owner: str) -> None:
    """Raise DataError on an empty or non-finite array, naming the first bad row."""
    if values.size == 0:
        raise DataError(f"{owner}: holds no values (shape {values.shape})")
    if values.dtype.kind == "f":
        finite = np.isfinite(values.reshape(len(values), -1)).all(1)
        if not finite.all():
            row = int(np.flatnonzero(~finite)[0])
            raise DataError(
                f"{owner}: row {row} holds a value that is not finite (NaN or infinity); drop or fill such rows"
            )


def check_parts(parts: tuple[np.ndarray, np.ndarray, np.ndarray], owner: str) -> None:
    """Raise DataError where the training, validation or test part has no rows."""
    for name, rows in zip(("train", "validation", "test"), parts, strict=True):
        if not len(rows):
            raise DataError(
                f"{owner}: the {name} part has no rows; give at least 10 for training (a tenth of them is for validation) "
                "and 1 for test"
            )


def as_stored(values: np.ndarray, maximum: int | None, owner: str) -> tuple[Tensor, int | None]:
    """Values as a tensor: small whole numbers become uint8 with their maximum, others float32 with None.

    Whole numbers from 0 to 255 are levels of gray: as many as the data show below 64, otherwise 256, unless the reader
    knows better.
    """
    if values.dtype == bool:
        return torch.from_numpy(values.view(np.uint8)), 1
    low, high = values.min(), values.max()
    whole = values.dtype.kind in "ui" or (high <= 255 and bool((values == np.rint(values)).all()))
    if whole and low >= 0 and high <= 255:
        top = maximum or (max(1, int(high)) if high < 64 else 255)
        return torch.from_numpy(np.ascontiguousarray(values.astype(np.uint8, copy=False))), top
    single = to_single(values, owner)
    check_digits(values, single, owner)
    return torch.from_numpy(single), None


def describe(
    train: Tensor,
    maximum: int | None,
    classes: tuple[str, ...] | None,
    span: tuple[float, float] | None = None,
) -> Schema:
    """The schema of training rows: (n, *shape), integers 0..maximum or floats.

    `span` is the least and the greatest value of all rows, those of validation and test too: where one of them lies outside
    [0, 1] no density on that interval will do. Left out, it is that of the training rows.
    """
    shape = tuple(train.shape[1:])
    kind: Literal["image", "vector"] = "image" if len(shape) == 3 else "vector"
    unit = 1 if maximum is None else maximum
    mean, examples = (train.double().mean(0) / unit).float(), _some(train).float() / unit
    if maximum is not None:
        return Schema(kind, shape, levels=maximum + 1, classes=classes, mean=mean, examples=examples)
    low, high = span or (float(train.min()), float(train.max()))
    if low >= 0 and high <= 1:
        return Schema(kind, shape, low=low, high=high, classes=classes, mean=mean, examples=examples)
    shift, scale = _location_scale(train, per_column=kind == "vector")
    return Schema(kind, shape, None, low, high, shift, scale, classes, mean=mean, examples=examples)


def _some(train: Tensor) -> Tensor:
    """Rows at even distances, so that rows in the order of their class give all classes: a few megabytes at most."""
    n = min(len(train), 1000, max(1, 1_000_000 // max(1, train[0].numel())))
    return train[torch.linspace(0, len(train) - 1, n, dtype=torch.float64).round().long()]


def _location_scale(train: Tensor, per_column: bool) -> tuple[float | tuple[float, ...], float | tuple[float, ...]]:
    if not per_column:
        return float(train.double().mean()), float(train.double().std(correction=0)) or 1.0
    scale = train.double().std(0, correction=0)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    return tuple(train.double().mean(0).tolist()), tuple(scale.tolist())


def divide(n: int, seed: int, owner: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row numbers of training (70 %), validation (10 %) and test (20 %), drawn from `seed`."""
    if n < 10:
        raise DataError(f"{owner}: {n} examples are too few to train, validate and test on; give at least 10")
    order = np.random.default_rng(seed).permutation(n)
    tenth = n // 10
    return order[3 * tenth :], order[2 * tenth : 3 * tenth], order[: 2 * tenth]
