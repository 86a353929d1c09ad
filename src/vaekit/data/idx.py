"""IDX files, the format of MNIST: a big-endian header (type, dimensions), then the values. Plain or gzipped."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from vaekit.errors import DataError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: Path) -> np.ndarray:
    """The array in an IDX file. Raises DataError where the file is damaged or is no IDX file."""
    try:
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error or type(error).__name__}); get the file again") from error
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in _TYPES:
        raise DataError(f"{path}: not an IDX file (its first bytes are {raw[:4].hex(' ')})")
    kind, dimensions = np.dtype(_TYPES[raw[2]]), raw[3]
    header = 4 + 4 * dimensions
    shape = tuple(int(n) for n in np.frombuffer(raw[4:header], ">u4")) if len(raw) >= header else ()
    expected = header + math.prod(shape) * kind.itemsize
    if len(shape) != dimensions or len(raw) != expected:
        raise DataError(
            f"{path}: damaged IDX file: {len(raw):,} bytes where its header promises {expected:,}; get it again"
        )
    values = np.frombuffer(raw, kind, offset=header).reshape(shape)
    return values.astype(kind.newbyteorder("="))
