"""`load`: from the name of a source to a Dataset."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from vaekit.data.arrays import Raw, array_of, as_stored, check_parts, describe, divide, examples_of, unlabelled
from vaekit.data.binarize import draw_once
from vaekit.data.dataset import Dataset, Split, keep_labels
from vaekit.data.folder import read_folder
from vaekit.data.idx import read_idx
from vaekit.data.numpy_files import read_numpy
from vaekit.data.precision import check_digits, to_single
from vaekit.data.run_folder import check_is_data
from vaekit.data.sentences import Sentences
from vaekit.data.shapes import shapes
from vaekit.data.standard import BUILT_IN, IDX_SETS, read_digits, read_idx_set
from vaekit.data.text import is_text, load_text
from vaekit.data.vocabulary import Level
from vaekit.errors import DataError, UsageError

Binarize = Literal["none", "static", "dynamic"]


def load(
    source: str | Path | np.ndarray | torch.Tensor | list[str] = "digits",
    labels: np.ndarray | None = None,
    conditions: np.ndarray | None = None,
    condition_names: tuple[str, ...] | None = None,
    *,
    data_dir: str | Path | None = None,
    image_size: int | tuple[int, int] | None = None,
    binarize: Binarize = "none",
    binarize_seed: int = 777,
    split_seed: int = 0,
    labelled: int | None = None,
    sentences: Sentences = "auto",
    vocabulary: Level = "word",
    vocabulary_size: int = 10_000,
    minimum_count: int = 1,
    max_length: int = 100,
) -> Dataset:
    """Read a source of images, vectors or sentences and divide it into training, validation and test rows.

    Args:
        source: "digits", "shapes" (drawn, with known factors), "mnist", "fashion-mnist", a folder of images (a class a
            sub-folder, or sub-folders train, valid and test), an IDX, .npy or .npz file, a data frame, or an array of shape
            (n, d), (n, h, w), (n, h, w, 1 or 3) or (n, 1 or 3, h, w); or text: a list of strings, a text file (plain, .gz, .bz2
            or .xz), or a folder with files train, valid and test. Lines label<TAB>sentence have classes.
        labels: class numbers (n,) when `source` is an array or a list.
        conditions, condition_names: numbers (n, C) that a conditional model is told of each row of an array, and their names
            (an .npz has arrays of these names); left out, it is told the class.
        data_dir: where the files of mnist and fashion-mnist are; None looks at the environment variable VAEKIT_DATA,
            then downloads them.
        image_size: side in pixels, or (height, width), that the images of a folder are brought to, or shapes are drawn at.
        binarize: "static" draws every pixel as black or white once, "dynamic" draws the training pixels anew each time
            they are used; validation and test pixels are fixed either way.
        binarize_seed: seed of the fixed pixels (777 as in the published figures on MNIST).
        split_seed: seed of the split where the source has none of its own, and of which labels are kept.
        labelled: keep the labels of only so many training rows, equally many of every class, as if the other rows had none;
            validation and test rows keep theirs. Left out, all are kept.
        sentences: of text: "line" is one a line, "split" cuts paragraphs after full stops, "auto" splits where blank lines
            divide paragraphs.
        vocabulary: of text: "word" cuts at white space, "bpe" learns pieces of words (byte-pair encoding).
        vocabulary_size: most words or pieces of text, beside the four special tokens.
        minimum_count: words of the training sentences that occur less often are unknown.
        max_length: most tokens of a sentence, its end counted; longer ones are cut, and how many is said.

    Labels that are NaN, None or empty, or -1 beside at least two classes from 0 up, say that a row's class is not known, as
    does a folder's sub-folder `unlabelled`.

    Raises:
        DataError: the source is absent, damaged or not numeric; the message names file, row or key.
    """
    data_dir = data_dir or os.environ.get("VAEKIT_DATA") or None
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    few = {} if labelled is None else {"labelled": labelled}
    text = is_text(source)
    _check_kind(text, image_size=image_size, sentences=sentences, vocabulary=vocabulary, vocabulary_size=vocabulary_size,
                minimum_count=minimum_count, max_length=max_length)  # fmt: skip
    if text:
        if conditions is not None or binarize != "none":
            raise UsageError("text: takes labels, and neither conditions nor binarize")
        how: dict[str, Any] = {
            "vocabulary": vocabulary,
            "vocabulary_size": vocabulary_size,
            "minimum_count": minimum_count,
        }
        how |= {"max_length": max_length, "split_seed": split_seed}
        data = load_text(source, labels, sentences=sentences, **how)
        if labelled is not None:
            data = replace(data, train=keep_labels(data.train, labelled, split_seed))
        return replace(data, source={**data.source, **how, **few})
    if size is not None and not _has_free_size(source):
        raise UsageError(f"image_size {image_size}: is for a folder of images and for shapes; these data have a size")
    raw, name = read_source(source, labels, None if data_dir is None else Path(data_dir), size)
    if conditions is not None:
        raw = replace(raw, conditions=array_of(conditions, "conditions"), condition_names=condition_names)
    data = _assemble(raw, name, split_seed)
    if labelled is not None:
        data = replace(data, train=keep_labels(data.train, labelled, split_seed))
    if binarize != "none":
        data = _binarized(data, binarize, binarize_seed, name)
    options = {"binarize": binarize, "binarize_seed": binarize_seed, "split_seed": split_seed, "image_size": size}
    return replace(data, source={"name": name, **options, **few})


def _check_kind(text: bool, **given: Any) -> None:
    """Raise UsageError for an option that would do nothing with data of this kind."""
    defaults = load.__kwdefaults__ or {}
    for name, value in given.items():
        if value != defaults[name] and (name == "image_size") == text:
            raise UsageError(
                f"{name} {value}: is for {'images, these data are' if text else 'text, these data are no'} text; leave it out"
            )


def _has_free_size(source: Any) -> bool:
    """Whether images of a source are brought to a size that is asked for."""
    return isinstance(source, str | Path) and (str(source) == "shapes" or Path(source).expanduser().is_dir())


def read_source(
    source: Any, labels: Any, data_dir: Path | None, size: tuple[int, int] | None, gray: bool | None = None
) -> tuple[Raw, str]:
    """The rows of a source in its own order, and its name. `gray` forces a folder's images to gray or to colour."""
    if hasattr(source, "__array__"):
        return Raw(array_of(source, "array"), None if labels is None else array_of(labels, "labels")), "array"
    if not isinstance(source, str | Path):
        kind = type(source).__name__
        raise DataError(f"source of type {kind}: expected a name, a path, an array of numbers or a list of strings")
    check_is_data(source)
    name = str(source)
    path = Path(name).expanduser()
    if name in IDX_SETS:
        return read_idx_set(name, data_dir), name
    if name == "digits":
        return read_digits(), name
    if size is not None and min(size) < 1:
        raise UsageError(f"image size {size}: expected at least one pixel a side")
    if name == "shapes":
        images, factors = shapes(size)
        classes = ("rectangle", "ellipse", "triangle")
        return Raw(images[:, None], factors[:, 0], classes, maximum=255, factors=factors, channels_first=True), name
    if is_text(path):
        raise DataError(f"{name}: is text, but the model was made for other data; give images or numbers")
    if path.is_dir():
        return read_folder(path, size, gray), name
    if not path.exists():
        raise DataError(f"{name}: no such file or folder, and no built-in set ({', '.join(BUILT_IN)})")
    if path.suffix.lower() in (".npy", ".npz"):
        return read_numpy(path), name
    if path.suffix.lower() == ".gz" or "idx" in path.name or path.suffix == "":
        return _read_idx_with_labels(path), name
    raise DataError(f"{name}: unknown kind of file; give a folder of images, an IDX file, a .npy, a .npz or a .txt")


def _read_idx_with_labels(path: Path) -> Raw:
    """An IDX file of images, with the labels in the file of the same name but `labels-idx1` where there is one."""
    values = read_idx(path)
    if values.ndim == 1:
        raise DataError(f"{path}: holds labels or single numbers (shape {values.shape}); give the file of the images")
    sibling = path.with_name(path.name.replace("images", "labels").replace(f"idx{values.ndim}", "idx1"))
    return Raw(values, read_idx(sibling) if sibling != path and sibling.is_file() else None)


def _assemble(raw: Raw, owner: str, split_seed: int) -> Dataset:
    values = examples_of(raw, owner)
    stored, maximum = as_stored(values, raw.maximum, owner)
    labels, classes = _class_numbers(raw, owner)
    conditions, named = conditions_of(raw, owner)
    if conditions is not None:
        check_digits(np.reshape(raw.conditions, conditions.shape), conditions, f"{owner}: conditions")  # type: ignore[arg-type]
    parts = raw.parts or divide(len(values), split_seed, owner)
    check_parts(parts, owner)
    train, validation, test = (
        Split(stored[rows], _at(labels, rows), maximum, False, name, _at(raw.factors, rows), _at(conditions, rows))
        for rows, name in zip(map(torch.from_numpy, parts), ("train", "validation", "test"), strict=True)
    )
    schema = describe(train.values, maximum, classes, (float(stored.min()), float(stored.max())))
    if named is not None and train.conditions is not None:
        shift, scale = train.conditions.mean(0), train.conditions.std(0, correction=0)
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        schema = replace(
            schema, conditions=named, condition_shift=tuple(shift.tolist()), condition_scale=tuple(scale.tolist())
        )
    return Dataset(schema, train, validation, test)


def conditions_of(raw: Raw, owner: str) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
    """(n, C) float conditions with their names, c0, c1, ... where none are given."""
    if raw.conditions is None:
        return None, None
    c = np.asarray(raw.conditions)
    c = c[:, None] if c.ndim == 1 else c
    if c.ndim != 2 or not c.size or len(c) != len(raw.values) or c.dtype.kind not in "biuf" or not np.isfinite(c).all():
        raise DataError(
            f"{owner}: conditions {c.shape}: expected finite numbers, a row for each of {len(raw.values)} examples"
        )
    names = raw.condition_names or tuple(f"c{i}" for i in range(c.shape[1]))
    if len(names) != c.shape[1] or len(set(names)) != len(names):
        raise DataError(f"{owner}: {len(names)} condition names for {c.shape[1]} conditions; give one name to each")
    return to_single(c, f"{owner}: conditions"), names


def _at(values: Any, rows: torch.Tensor) -> torch.Tensor | None:
    return None if values is None else torch.as_tensor(values)[rows]


def _class_numbers(raw: Raw, owner: str) -> tuple[torch.Tensor | None, tuple[str, ...] | None]:
    """Labels of any kind as numbers 0 .. classes - 1 with their names, -1 where there is none."""
    if raw.labels is None:
        return None, None
    labels = np.asarray(raw.labels).reshape(-1)
    if len(labels) != len(raw.values):
        raise DataError(f"{owner}: {len(labels)} labels for {len(raw.values)} examples")
    if raw.classes is not None:
        return torch.from_numpy(labels.astype(np.int64)), raw.classes
    if labels.dtype.kind == "f" and np.isinf(labels).any():
        raise DataError(f"{owner}: label {int(np.flatnonzero(np.isinf(labels))[0])} is not finite")
    known = ~unlabelled(labels)
    labels = labels if labels.dtype.kind in "biuf" else labels.astype(str)
    names, found = np.unique(labels[known], return_inverse=True)
    numbers = np.full(len(labels), -1, np.int64)
    numbers[known] = found
    if not len(names) or len(names) > max(2, len(labels) // 2):
        return None, None  # every row has its own label: a target to regress on, not a class
    text = tuple(str(int(v)) if labels.dtype.kind == "f" and v == int(v) else str(v) for v in names)
    return torch.from_numpy(numbers), text


def _binarized(data: Dataset, how: Binarize, seed: int, owner: str) -> Dataset:
    maximum, validation, test = data.train.maximum, data.validation, data.test
    if maximum is None or validation is None or test is None:
        raise DataError(f"{owner}: binarisation draws black or white from gray levels; these data are continuous")
    if how not in ("static", "dynamic"):
        raise UsageError(f"binarize {how!r}: expected none, static or dynamic")
    # validation and test come first, so that their pixels are the same under both options
    held = draw_once([validation.values, test.values], maximum, seed)
    fixed = [replace(s, values=bits, maximum=1) for bits, s in zip(held, (validation, test), strict=True)]
    train = replace(data.train, dynamic=True)
    return Dataset(
        replace(data.schema, levels=2, maximum=maximum),
        train.fixed(seed) if how == "static" else train,
        fixed[0],
        fixed[1],
    )
