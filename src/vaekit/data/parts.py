"""Parts that a source is divided into already, told by the names of its files and folders, and what is missing of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from vaekit.data.arrays import divide

ROLES = {
    "train": "train", "training": "train", "valid": "validation", "validation": "validation", "val": "validation",
    "dev": "validation", "test": "test", "testing": "test",
}  # fmt: skip
"""A word in a file's or folder's name, and the part of the data that it then is."""


def drawn_for_missing(n: int, there: Collection[str], seed: int, owner: str) -> dict[str, np.ndarray]:
    """Of n training rows the numbers of those that stay, "train", and of those that become each part that is not `there`."""
    train, validation, test = divide(n, seed, owner)
    drawn = {"validation": validation, "test": test}
    stay = np.concatenate([train, *(rows for part, rows in drawn.items() if part in there)])
    return {"train": stay} | {part: rows for part, rows in drawn.items() if part not in there}


def completed(parts: Mapping[str, np.ndarray], owner: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row numbers of (train, validation, test): what there is, and what is missing drawn from the training rows."""
    found = {part: rows for part, rows in parts.items() if len(rows)}
    if len(found) < 3:
        drawn = drawn_for_missing(len(found["train"]), found, 0, owner)
        found |= {part: found["train"][rows] for part, rows in drawn.items()}
    return found["train"], found["validation"], found["test"]
