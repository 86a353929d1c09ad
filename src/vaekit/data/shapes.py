"""A built-in set whose factors are known: white shapes on black, by shape, size, angle and place; made when asked for.

Every combination of the factors is there once (a full grid, as in dSprites, Matthey et al. 2017), at any resolution. No
shape looks the same at two of the angles, so that each factor can be read off the image.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

FACTORS = {"shape": 3, "size": 4, "angle": 12, "x": 8, "y": 8}
"""Number of values of each factor: rectangle, ellipse or triangle; 0.5 to 1; every 15 degrees; places from edge to edge."""

_FINE = 3
"""Samples a pixel and side: a shape's edge is gray where it crosses pixels."""


def shapes(size: tuple[int, int] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Images (9,216, h, w) uint8 and factors (9,216, 5) int64, in the order of `FACTORS`, the last changing fastest."""
    height, width = size or (32, 32)
    factors = np.array(list(itertools.product(*(range(n) for n in FACTORS.values()))), np.int64)
    rows, columns = ((np.arange(side * _FINE) + 0.5) / (side * _FINE) * 2 - 1 for side in (height, width))
    images = np.empty((len(factors), height, width), np.uint8)
    for at, (shape, scale, angle, x, y) in enumerate(factors):
        centre = (x / (FACTORS["x"] - 1) - 0.5, y / (FACTORS["y"] - 1) - 0.5)
        inside = _inside(
            int(shape), 0.5 * (0.5 + 0.5 * scale / (FACTORS["size"] - 1)), angle, columns - centre[0], rows - centre[1]
        )
        parts = inside.reshape(height, _FINE, width, _FINE).mean((1, 3))
        images[at] = np.rint(255 * parts)
    return images, factors


def _inside(shape: int, radius: float, angle: int, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Which points (rows, columns) lie in a shape about the origin that fits into a circle of `radius`."""
    turn = math.pi * angle / FACTORS["angle"]
    u = (math.cos(turn) * across[None] + math.sin(turn) * down[:, None]) / radius
    v = (math.cos(turn) * down[:, None] - math.sin(turn) * across[None]) / radius
    if shape == 0:
        return (np.abs(u) < 0.87) & (np.abs(v) < 0.43)
    if shape == 1:
        return np.square(u) + np.square(v / 0.5) < 1
    return (np.abs(v) < 0.5 * (1 - u)) & (u > -0.7)
