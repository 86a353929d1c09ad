"""Examples as pictures: tiles of whole pixels in a grid, without a plotting library between them and the page."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from vaekit.report.contents import Contents
from vaekit.report.words import number

WIDTH = 960
"""Pixels a grid may be wide where its tiles allow it."""

_TILE = 96
"""Pixels a tile is brought to, at most, by whole-numbered enlargement."""

_MOST = 1280
"""Pixels beyond which a grid's tiles are made smaller."""

_BARS = 40
"""Height of the bars that stand for a vector."""

_COLUMNS = 96
"""Bars there are for a vector, at most."""

_UP, _DOWN = (85, 128, 216, 255), (214, 121, 58, 255)
_LINE, _EMPTY = (128, 136, 148, 130), (128, 136, 148, 28)


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
    def words(self) -> str:
        """How to read a tile, "" where black is 0 and white is 1."""
        low, high = number(self.low), number(self.high)
        if self.is_image:
            return "" if (self.low, self.high) == (0, 1) else f"Black is {low} and below, white is {high} and above."
        several = self.shape[0] > _COLUMNS
        bars = "bars, each the mean of some neighbouring columns" if several else "bars, one for each column"
        if self.low < 0:
            return f"A row is drawn as {bars}: blue above the column's mean, orange below, up to {high} standard deviations."
        return f"A row is drawn as {bars}, from {low} to {high}."

    @property
    def crisp(self) -> bool:
        """Whether the pixels are few enough to be seen one by one."""
        return not self.is_image or max(self.shape[-2:]) <= 32

    def tiles(self, examples: np.ndarray, columns: int = 8) -> np.ndarray:
        """Examples (..., *shape) as RGBA tiles (..., h, w, 4), enlarged so that `columns` of them fill the page."""
        batch = examples.shape[: examples.ndim - len(self.shape)]
        # one by one, because a thousand large images at once are gigabytes
        tiles = np.stack([self._tile(example, columns) for example in examples.reshape(-1, *self.shape)])
        return tiles.reshape(*batch, *tiles.shape[1:])

    def _tile(self, example: np.ndarray, columns: int) -> np.ndarray:
        values = np.nan_to_num((example.astype(np.float64) - self.shift) / self.scale)
        room = WIDTH // columns - gap(columns)
        if not self.is_image:
            return _bars(values, self.low, self.high, max(8, min(_COLUMNS, room)))
        pixels = _pixels(np.clip((values - self.low) / (self.high - self.low), 0, 1))
        side = max(pixels.shape[:2])
        if side * columns > _MOST:
            return _shrunk(pixels, max(16, _MOST // columns) / side)
        times = max(1, min(_TILE // side, room // side))
        return pixels.repeat(times, 0).repeat(times, 1)


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


def paired(left: np.ndarray, right: np.ndarray, seam: int = 2) -> np.ndarray:
    """Two tiles as one, side by side: (..., h, w, 4) each -> (..., h, 2 w + seam, 4)."""
    between = np.zeros((*left.shape[:-2], seam, 4), np.uint8)
    return np.concatenate([left, between, right], axis=-2)


def to_png(image: Image.Image) -> bytes:
    """A picture as PNG, in gray or without transparency where nothing is lost by it."""
    pixels = np.asarray(image)
    gray = bool((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all())
    solid = bool((pixels[..., 3] == 255).all())
    mode = ("L" if solid else "LA") if gray else ("RGB" if solid else "RGBA")
    out = io.BytesIO()
    image.convert(mode).save(out, "PNG", optimize=pixels.size < 4_000_000)
    return out.getvalue()


def _pixels(values: np.ndarray) -> np.ndarray:
    """An image (C, H, W) or (H, W) in [0, 1] as (H, W, 4) bytes; other than 1 or 3 channels stand side by side."""
    values = values[None] if values.ndim == 2 else values
    channels, height, width = values.shape
    if channels == 3:
        colour = values.transpose(1, 2, 0)
    else:
        beside = values.transpose(1, 0, 2).reshape(height, channels * width)
        colour = np.repeat(beside[..., None], 3, -1)
    return np.rint(255 * np.concatenate([colour, np.ones((*colour.shape[:2], 1))], -1)).astype(np.uint8)


def _shrunk(pixels: np.ndarray, factor: float) -> np.ndarray:
    height, width = (max(1, round(side * factor)) for side in pixels.shape[:2])
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))


def _bars(values: np.ndarray, low: float, high: float, width: int) -> np.ndarray:
    """A vector (D,) as a little bar chart (h, w, 4): up from the zero line in blue, down in orange."""
    bins = min(len(values), width)
    means = np.array([part.mean() for part in np.array_split(values, bins)])
    each = max(1, width // bins)
    zero = round(_BARS * min(max(high / (high - low), 0), 1))
    ends = np.rint(_BARS * (high - np.clip(means, low, high)) / (high - low)).astype(int)
    y = np.arange(_BARS)[:, None]
    up, down = (y >= ends) & (y < zero), (y >= zero) & (y < ends)
    colours = np.where(up[..., None], _UP, np.where(down[..., None], _DOWN, _EMPTY)).astype(np.uint8)
    tile = colours.repeat(each, 1)
    if each >= 3:
        tile[:, each - 1 :: each] = _EMPTY  # a gap between neighbours
    line = tile[min(zero, _BARS - 1)]
    line[line[:, 3] == _EMPTY[3]] = _LINE
    return tile
