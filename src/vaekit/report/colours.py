"""Colours of classes: a rainbow of even lightness, seen on white and on near-black alike."""

from __future__ import annotations

import numpy as np

SINGLE = "#5580d8"
"""The colour of points without classes."""

WITHOUT = "#8a8f98"
"""The colour of points whose class is not known, among others whose class is."""


def rainbow(n: int) -> list[str]:
    """`n` colours from red to violet as "#rrggbb".

    Hues are evenly spaced in OKLCH (Ottosson, 2020); neighbours differ in lightness as well, because hue alone does not
    tell ten classes apart.
    """
    hues = np.deg2rad(np.linspace(22, 332, n) if n > 1 else np.array([262.0]))
    lightness = np.where(np.arange(n) % 2 == 0, 0.59, 0.69)
    return [_hex(_srgb(float(light), 0.17, float(hue))) for light, hue in zip(lightness, hues, strict=True)]


def _srgb(lightness: float, chroma: float, hue: float) -> np.ndarray:
    """OKLCH to sRGB in [0, 1], (3,); the chroma is lowered until the colour exists."""
    while True:
        a, b = chroma * np.cos(hue), chroma * np.sin(hue)
        cubes = np.array([
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.2914855480 * b,
        ]) ** 3  # fmt: skip
        linear = _FROM_LMS @ cubes
        if (linear >= 0).all() and (linear <= 1).all():
            return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
        chroma *= 0.95


_FROM_LMS = np.array([
    [4.0767416621, -3.3077115913, 0.2309699292],
    [-1.2684380046, 2.6097574011, -0.3413193965],
    [-0.0041960863, -0.7034186147, 1.7076147010],
])  # fmt: skip


def _hex(rgb: np.ndarray) -> str:
    return "#" + "".join(f"{round(255 * float(channel)):02x}" for channel in rgb)
