"""NumPy files: one array of examples (.npy), or named arrays (.npz)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vaekit.data.arrays import Raw, check_type
from vaekit.errors import DataError

_LABELS = ("labels", "y", "target")
_OF_ALL_ROWS = (*_LABELS, "conditions", "condition_names")
"""Arrays with a row for each example, beside an array of all examples."""


def read_numpy(path: Path) -> Raw:
    """The examples in a file, with their labels, parts and conditions. Raises DataError where it is damaged."""
    try:
        with path.open("rb") as file:
            if file.read(6)[:2] not in (b"\x93N", b"PK"):
                raise DataError(f"{path}: not a NumPy file")
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return Raw(content)
        with content:
            arrays = {key: content[key] for key in content.files}
        for key, values in arrays.items():
            if not isinstance(values, np.ndarray):  # what else an archive may hold
                raise DataError(f"{path}: {key} is no array; save arrays alone, with numpy.savez")
    except DataError:
        raise
    except (OSError, ValueError, EOFError, KeyError) as error:
        objects = "pickle" in str(error) or "Object" in str(error)
        hint = "it holds Python objects, save numbers" if objects else f"{error}; save or fetch it again"
        raise DataError(f"{path}: cannot be read ({hint})") from error
    except Exception as error:  # zipfile and NumPy's header parser raise errors of many kinds on damaged files
        raise DataError(f"{path}: damaged NumPy file ({error}); save or fetch it again") from error
    return _from_named(arrays, path)


def _from_named(arrays: dict[str, np.ndarray], path: Path) -> Raw:
    """x_train / x_test with y_train / y_test, or one array of examples beside one of labels."""
    if {"x_train", "x_test"} <= set(arrays):
        return _from_parts(arrays, path)
    usual = next((key for key in ("images", "x", "X", "data", "arr_0") if key in arrays), None)
    name = next(iter(arrays)) if usual is None and len(arrays) == 1 else usual
    if name is None:
        raise DataError(f"{path}: no array named images, x, X or data among {', '.join(sorted(arrays)) or 'nothing'}")
    labels = next((arrays[key] for key in _LABELS if key in arrays), None)
    names = tuple(map(str, np.atleast_1d(arrays["condition_names"]))) if "condition_names" in arrays else None
    return Raw(arrays[name], labels, conditions=arrays.get("conditions"), condition_names=names)


def _from_parts(arrays: dict[str, np.ndarray], path: Path) -> Raw:
    """Training and test examples; a tenth of the training rows is for validation."""
    for key in _OF_ALL_ROWS:
        if key in arrays:
            instead = "put all examples in x" if key.startswith("condition") else "give y_train and y_test"
            raise DataError(f"{path}: has x_train and {key}, which is not divided as they are; {instead}")
    train, test = arrays["x_train"], arrays["x_test"]
    check_type(train, f"{path}: x_train")
    check_type(test, f"{path}: x_test")
    if min(train.ndim, test.ndim) < 2 or train.shape[1:] != test.shape[1:]:
        raise DataError(f"{path}: x_train {train.shape} and x_test {test.shape}: expected rows of one shape in both")
    labels = _labels_of_parts(arrays, path)
    rows = np.random.default_rng(0).permutation(len(train))
    parts = (rows[len(train) // 10 :], rows[: len(train) // 10], np.arange(len(train), len(train) + len(test)))
    return Raw(np.concatenate([train, test]), labels, None, parts)


def _labels_of_parts(arrays: dict[str, np.ndarray], path: Path) -> np.ndarray | None:
    found = [part for part in ("train", "test") if f"y_{part}" in arrays]
    if not found:
        return None
    if len(found) == 1:
        missing = "test" if found == ["train"] else "train"
        raise DataError(
            f"{path}: has y_{found[0]} and no y_{missing}; give labels of both parts (-1: not known) or of none"
        )
    for part in found:
        labels, examples = arrays[f"y_{part}"].size, len(arrays[f"x_{part}"])
        if labels != examples:
            raise DataError(
                f"{path}: y_{part} has {labels} labels for the {examples} examples of x_{part}; give one to each"
            )
    return np.concatenate([arrays[f"y_{part}"].reshape(-1) for part in found])
