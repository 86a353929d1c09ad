"""Rows of any source in their own order, brought to the form a model was made for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from vaekit.data.arrays import Raw, check_type, check_values, image_axes, unlabelled
from vaekit.data.binarize import draw_once
from vaekit.data.dataset import Split
from vaekit.data.precision import to_single
from vaekit.data.schema import Schema
from vaekit.data.sentences import Sentences
from vaekit.data.sources import conditions_of, read_source
from vaekit.data.text import text_rows
from vaekit.errors import DataError

Part = Literal["all", "train", "validation", "test"]


def load_rows(
    source: str | Path,
    schema: Schema,
    *,
    part: Part | None = None,
    data_dir: str | Path | None = None,
    binarize_seed: int = 777,
    sentences: Sentences = "line",
) -> Split:
    """Read a source for a model that was made for `schema`.

    Images of a folder are scaled to the model's size and turned gray where it is gray; integers become its levels;
    gray levels are drawn black or white once where it is binary.

    Args:
        part: rows of one part of a source that has its own division; "all" keeps the source's order. None is the test
            part of such a source and all rows of others.
        data_dir, binarize_seed: see `load`.
        sentences: how text is cut; a line is a row unless it says otherwise, and a blank one an empty sentence.

    Raises:
        DataError: the rows cannot be examples of this schema.
    """
    if schema.kind == "text":
        return text_rows(source, schema, part, sentences).split
    size = (schema.shape[1], schema.shape[2]) if schema.kind == "image" else None
    gray = schema.shape[0] == 1 if schema.kind == "image" else None
    data_dir = data_dir or os.environ.get("VAEKIT_DATA") or None
    raw, owner = read_source(source, None, None if data_dir is None else Path(data_dir), size, gray)
    check_type(raw.values, owner)
    values = _shaped(raw, schema, owner)
    check_values(values, owner)
    labels, (conditions, _) = _known_labels(raw.labels, raw.classes, schema), conditions_of(raw, owner)
    if part is None:
        part = "all" if raw.parts is None else "test"
    if part != "all":
        if raw.parts is None:
            raise DataError(f"{owner}: has no {part} part of its own; leave --split out or say all")
        rows = raw.parts[("train", "validation", "test").index(part)]
        if not len(rows):
            raise DataError(f"{owner}: its {part} part has no rows; say --split all, or give other data")
        values, labels = values[rows], None if labels is None else labels[rows]
        conditions = None if conditions is None else conditions[rows]
    tensor, maximum = _levelled(values, raw.maximum, schema, owner, binarize_seed)
    given = None if conditions is None else torch.from_numpy(conditions)
    return Split(tensor, None if labels is None else torch.from_numpy(labels), maximum, name=owner, conditions=given)


def _shaped(raw: Raw, schema: Schema, owner: str) -> np.ndarray:
    values = raw.values if raw.channels_first or raw.values.ndim < 2 else image_axes(raw.values, owner)
    if tuple(raw.values.shape[1:]) == schema.shape != tuple(values.shape[1:]):
        return raw.values  # channels first, as the model writes images, though they are 1 or 3 pixels wide
    shape = tuple(values.shape[1:])
    if shape != schema.shape and int(np.prod(shape)) == schema.size and 1 in (len(shape), len(schema.shape)):
        return values.reshape(len(values), *schema.shape)  # the same numbers, flat or as an image
    if shape != schema.shape:
        raise DataError(f"{owner}: examples of shape {shape}, but the model was made for {schema.shape}")
    return values


def _known_labels(labels: np.ndarray | None, names: tuple[str, ...] | None, schema: Schema) -> np.ndarray | None:
    """Class numbers of the model's own classes, -1 without one; None where a row's class is none of them."""
    if labels is None or schema.classes is None:
        return None
    labels = labels.reshape(-1)
    missing = labels < 0 if names else unlabelled(labels)
    if not names and labels.dtype.kind in "if":
        missing = np.isnan(labels) | ((labels == -1) if "-1" not in schema.classes else False)
    number = {name: i for i, name in enumerate(schema.classes)}
    texts = [names[int(v)] if names else _text(v) for v in labels[~missing]]
    if not set(texts) <= set(number):
        return None
    found = np.full(len(labels), -1, np.int64)
    found[~missing] = [number[text] for text in texts]
    return found


def _text(label: Any) -> str:
    """The name that a label has as a class: whole numbers without a point."""
    return (
        str(int(label))
        if isinstance(label, np.number) and label == np.rint(label) and np.isfinite(label)
        else str(label)
    )


def _levelled(
    values: np.ndarray, maximum: int | None, schema: Schema, owner: str, seed: int
) -> tuple[Tensor, int | None]:
    """Stored values and their maximum in the model's levels, or floats for a model of continuous data."""
    if schema.levels is None:
        return torch.from_numpy(to_single(_continuous(values, maximum, schema), owner)), None
    top = schema.levels - 1
    whole = values.dtype.kind in "bui" or bool((values == np.rint(values)).all())
    low, high = float(values.min()), float(values.max())
    if not whole and low >= 0 and high <= 1:
        values, whole = values * top, bool((abs(values * top - np.rint(values * top)) < 1e-3).all())
        high *= top
    if whole and low >= 0 and high <= top and maximum in (None, top):
        scaled = values * top if values.dtype == bool else np.rint(values)
        return torch.from_numpy(scaled.astype(np.uint8 if top <= 255 else np.int32)), top
    white = maximum or schema.maximum or 255
    if top == 1 and whole and low >= 0 and high <= white:
        gray = torch.from_numpy(np.ascontiguousarray(values.astype(np.uint8)))
        return draw_once([gray], white, seed)[0], 1
    grid = f"the {schema.levels} levels (0 to {top}) this model was made for"
    if maximum not in (None, top) and high <= maximum:
        raise DataError(
            f"{owner}: gray levels from 0 to {maximum} are not {grid}; give an array of values on these levels"
        )
    black_or_white = f", nor gray levels up to {white}" if top == 1 else ""
    raise DataError(f"{owner}: values from {low:g} to {high:g} are not on {grid}{black_or_white}")


def _continuous(values: np.ndarray, maximum: int | None, schema: Schema) -> np.ndarray:
    """The values, gray levels brought to [0, 1] for a model of that interval; what is a gray level says their type alone.

    A table in [0, 1] may be scored beyond it: that is where its outliers are. Likelihoods that end there refuse such rows.
    """
    if schema.support != "unit":
        return values
    return values / (maximum or (255 if values.dtype == np.uint8 else 1))
