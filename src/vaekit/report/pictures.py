"""Examples as pictures: tiles of whole pixels in a grid, without a plotting library between them and the page."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from vaekit.report.contents import Contents

WIDTH = 960
"""Pixels a grid may be wide where its tiles allow it."""

_TILE = 96
"""Pixels a tile is brought to, at most, by whole-numbered enlargement."""

_BARS = 32
"""Height of the bars that stand for a vector."""

_UP, _DOWN, _LINE = (85, 128, 216, 255), (214, 121, 58, 255), (128, 136, 148, 110)


@dataclass(frozen=True)
class Look:
    """How one example becomes pixels.

    Args:
        shape: of an example: (C, H, W), (H, W) or (D,).
        low, high: the values that become black and white, or the ends of a bar.
        shift, scale: taken off and divided by first; arrays (D,) for vectors with columns of their own scales.
    """

    shape: tuple[int, ...]
    low: float
    high: float
    shift: np.ndarray
    scale: np.ndarray

    @property
    def is_image(self) -> bool:
        """Whether examples are drawn pixel by pixel, not as bars."""
        return len(self.shape) >= 2

    @property
    def bins(self) -> int:
        """Neighbouring columns of a vector that share one bar."""
        return 1 if self.is_image else -(-self.shape[0] // 96)

    @property
    def crisp(self) -> bool:
        """Whether the pixels are few enough to be seen one by one."""
        return not self.is_image or max(self.shape[-2:]) <= 32

    def tiles(self, examples: np.ndarray, columns: int = 8) -> np.ndarray:
        """Examples (..., *shape) as RGBA tiles (..., h, w, 4), enlarged so that `columns` of them fill the page."""
        values = np.nan_to_num((examples.astype(np.float64) - self.shift) / self.scale)
        room = WIDTH // columns - gap(columns)
        if not self.is_image:
            return _bars(values, self.low, self.high, max(8, min(96, room)))
        pixels = _pixels(np.clip((values - self.low) / (self.high - self.low), 0, 1), len(self.shape))
        side = max(pixels.shape[-3:-1])
        if side * columns > 1280:
            return _shrunk(pixels, max(16, 1280 // columns) / side)
        times = max(1, min(_TILE // side, room // side))
        return pixels.repeat(times, -3).repeat(times, -2)


def look_of(contents: Contents) -> Look | None:
    """The look of a run's examples, None where its pictures hold none."""
    originals = contents.arrays.get("originals", contents.arrays.get("samples"))
    if originals is None or originals.shape[1:] != contents.shape or len(contents.shape) > 3:
        return None
    schema, x = contents.schema, originals.astype(np.float64)
    zero, one = np.zeros(()), np.ones(())
    if x.min() >= 0 and x.max() <= 1 and schema.get("low", 0) >= 0 and schema.get("high", 1) <= 1:
        return Look(contents.shape, 0.0, 1.0, zero, one)
    if len(contents.shape) > 1:
        low, high = np.nanpercentile(x, [0.2, 99.8])
        return Look(contents.shape, float(low), float(high) if high > low else float(low) + 1, zero, one)
    shift, scale = _standard(schema, x)
    return Look(contents.shape, -3.0, 3.0, shift, scale)


def _standard(schema: dict[str, Any], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the columns of a vector lie: as the schema says, else by the examples at hand."""
    shift, scale = np.array(schema.get("shift", 0.0), float), np.array(schema.get("scale", 1.0), float)
    if shift.any() or (scale != 1).any():
        return shift, np.where(scale > 0, scale, 1)
    spread = x.std(0)
    return x.mean(0), np.where(spread > 0, spread, 1)


def gap(columns: int) -> int:
    """Pixels between the tiles of a grid."""
    return 8 if columns <= 10 else 3


def grid(tiles: np.ndarray, between: int) -> Image.Image:
    """Tiles (rows, columns, h, w, 4) as one picture, half the gap on each side of a tile: columns are even."""
    rows, columns, h, w, _ = tiles.shape
    half = between // 2
    cells = np.zeros((rows, columns, h + between, w + between, 4), np.uint8)
    cells[:, :, half : half + h, half : half + w] = tiles
    return Image.fromarray(cells.transpose(0, 2, 1, 3, 4).reshape(rows * (h + between), columns * (w + between), 4))


def paired(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Two tiles as one, side by side: (..., h, w, 4) each -> (..., h, 2 w + 2, 4)."""
    seam = np.zeros((*left.shape[:-2], 2, 4), np.uint8)
    return np.concatenate([left, seam, right], axis=-2)


def to_png(image: Image.Image) -> bytes:
    """A picture as PNG, in gray or without transparency where nothing is lost by it."""
    pixels = np.asarray(image)
    gray = bool((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all())
    solid = bool((pixels[..., 3] == 255).all())
    mode = ("L" if solid else "LA") if gray else ("RGB" if solid else "RGBA")
    out = io.BytesIO()
    image.convert(mode).save(out, "PNG", optimize=True)
    return out.getvalue()


def _pixels(values: np.ndarray, event_dims: int) -> np.ndarray:
    """Images (..., C, H, W) in [0, 1] as (..., H, W, 4) bytes; other than 1 or 3 channels stand side by side."""
    if event_dims == 2:
        values = values[..., None, :, :]
    if values.shape[-3] == 3:
        colour = np.moveaxis(values, -3, -1)
    else:
        *batch, channels, height, width = values.shape
        beside = np.moveaxis(values, -3, -2).reshape(*batch, height, channels * width)
        colour = np.repeat(beside[..., None], 3, -1)
    solid = np.ones((*colour.shape[:-1], 1))
    return np.rint(255 * np.concatenate([colour, solid], -1)).astype(np.uint8)


def _shrunk(pixels: np.ndarray, factor: float) -> np.ndarray:
    h, w = (max(1, round(side * factor)) for side in pixels.shape[-3:-1])
    flat = pixels.reshape(-1, *pixels.shape[-3:])
    small = [np.asarray(Image.fromarray(tile).resize((w, h), Image.Resampling.LANCZOS)) for tile in flat]
    return np.stack(small).reshape(*pixels.shape[:-3], h, w, 4)


def _bars(values: np.ndarray, low: float, high: float, width: int) -> np.ndarray:
    """Vectors (..., D) as little bar charts (..., h, w, 4): up from the zero line in blue, down in orange."""
    bins = min(values.shape[-1], width)
    means = np.stack([part.mean(-1) for part in np.array_split(values, bins, axis=-1)], -1)
    each = max(1, width // bins)
    thick = each - 1 if each >= 3 else each
    zero = round(_BARS * min(max(high / (high - low), 0), 1))
    ends = np.rint(_BARS * (high - np.clip(means, low, high)) / (high - low)).astype(int)
    y = np.arange(_BARS)[:, None]
    up = (y >= ends[..., None, :]) & (y < zero)
    down = (y >= zero) & (y < ends[..., None, :])
    colours = np.where(up[..., None], _UP, np.where(down[..., None], _DOWN, (0, 0, 0, 0)))
    wide = np.zeros((*means.shape[:-1], _BARS, bins, each, 4), np.uint8)
    wide[..., :thick, :] = colours[..., None, :]
    tile = wide.reshape(*means.shape[:-1], _BARS, bins * each, 4)
    line = min(zero, _BARS - 1)
    tile[..., line, :, :] = np.where(tile[..., line, :, 3:] == 0, np.array(_LINE, np.uint8), tile[..., line, :, :])
    return tile
