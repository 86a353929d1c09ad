"""Examples as one PNG, drawn as in the report."""

from __future__ import annotations

import numpy as np
from PIL import Image

from vaekit.data import Schema
from vaekit.report.pictures import Look, gap, grid

_COLUMNS = 8


def look_for(schema: Schema, examples: np.ndarray) -> Look:
    """How examples of `schema` become pixels: black and white at the ends of the data's range."""
    shift, scale = np.asarray(schema.shift, np.float64), np.asarray(schema.scale, np.float64)
    if schema.support != "real":
        return Look(schema.shape, 0.0, 1.0, np.zeros(()), np.ones(()))
    if schema.kind == "image":
        return Look(schema.shape, schema.low, schema.high, np.zeros(()), np.ones(()))
    standard = (examples - shift) / scale
    return Look(schema.shape, min(float(standard.min()), -1.0), max(float(standard.max()), 1.0), shift, scale)


def grid_picture(schema: Schema, examples: np.ndarray) -> Image.Image:
    """Examples (n, *shape) in rows of eight."""
    return _in_rows(look_for(schema, examples).tiles(examples))


def paired_picture(schema: Schema, above: np.ndarray, below: np.ndarray) -> Image.Image:
    """Examples (n, *shape) in rows of eight, each row over the row of its partners."""
    look = look_for(schema, np.concatenate([above, below]))
    columns = min(_COLUMNS, len(above))
    rows = [_filled(look.tiles(x), columns) for x in (above, below)]
    both = np.stack(rows, 1).reshape(-1, *rows[0].shape[1:])
    return grid(both, gap(columns))


def _in_rows(tiles: np.ndarray) -> Image.Image:
    columns = min(_COLUMNS, len(tiles))
    return grid(_filled(tiles, columns), gap(columns))


def _filled(tiles: np.ndarray, columns: int) -> np.ndarray:
    """Tiles (n, h, w, 4) as (rows, columns, h, w, 4), the last row filled up with nothing."""
    missing = -len(tiles) % columns
    full = np.concatenate([tiles, np.zeros((missing, *tiles.shape[1:]), tiles.dtype)])
    return full.reshape(-1, columns, *tiles.shape[1:])
