"""Columns of numbers as a file that other programs read: .csv, or .npy and .npz without Python objects."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from vaekit.files import write_atomically, write_text
from vaekit.runs import write_arrays

ENDINGS = (".csv", ".npy", ".npz")


def write_columns(path: Path, columns: dict[str, np.ndarray]) -> None:
    """Arrays (n,) by name: a .csv with a header, a .npy of records (n,) with named fields, or an .npz of arrays."""
    if path.suffix.lower() == ".npz":
        write_arrays(path, columns)
    elif path.suffix.lower() == ".npy":
        n = len(next(iter(columns.values())))
        records = np.empty(n, dtype=[(name, column.dtype) for name, column in columns.items()])
        for name, column in columns.items():
            records[name] = column
        write_atomically(path, lambda file: np.save(file, records, allow_pickle=False))
    else:
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))
        write_text(path, text.getvalue())
