"""Parts that a source is divided into already, told by the names of its files and folders, and what is missing of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vaekit.data.arrays import divide

ROLES = {
    "train": "train", "training": "train", "valid": "validation", "validation": "validation", "val": "validation",
    "dev": "validation", "test": "test", "testing": "test",
}  # fmt: skip
"""A word in a file's or folder's name, and the part of the data that it then is."""


def completed(parts: Mapping[str, np.ndarray], owner: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row numbers of (train, validation, test): what there is, and what is missing drawn from the training rows."""
    train = parts["train"]
    missing = [part for part in ("validation", "test") if not len(parts.get(part, ()))]
    if not missing:
        return train, parts["validation"], parts["test"]
    rest, validation, test = divide(len(train), 0, owner)
    drawn = {"validation": validation, "test": test}
    kept = np.concatenate([rest, *(rows for part, rows in drawn.items() if part not in missing)])
    found = {part: train[rows] if part in missing else parts[part] for part, rows in drawn.items()}
    return train[kept], found["validation"], found["test"]
