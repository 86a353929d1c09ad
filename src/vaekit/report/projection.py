"""Codes in two or three dimensions: principal components, and how well classes stay apart in them."""

from __future__ import annotations

import numpy as np


def principal_components(codes: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The first `k` principal components of `codes` (n, D), by singular values of the centred codes.

    Returns:
        points (n, k), and the share of the total variance that each component explains (k,), zeros where nothing
        varies. A component's sign is the one that makes its largest loading positive.
    """
    centred = codes.astype(np.float64) - codes.mean(0, dtype=np.float64)
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[:, None]
    missing = max(0, k - len(axes))
    points = np.pad(centred @ axes[:k].T, ((0, 0), (0, missing)))
    variance = np.pad(singular**2, (0, missing))
    total = float(variance.sum())
    return points, variance[:k] / total if total > 0 else np.zeros(k)


def nearest_centre_share(points: np.ndarray, labels: np.ndarray) -> float:
    """Share of points (n, k) that lie nearest to the mean of their own class."""
    classes = np.unique(labels)
    centres = np.stack([points[labels == c].mean(0) for c in classes])
    distance = np.linalg.norm(points[:, None] - centres[None], axis=2)
    return float((classes[distance.argmin(1)] == labels).mean())


def turned(points: np.ndarray, azimuth: float, elevation: float) -> np.ndarray:
    """(n, 3) points seen from an angle: across, up, and towards the viewer. The page's script turns them likewise."""
    x, y, z = points.T
    across = np.cos(azimuth) * x - np.sin(azimuth) * y
    away = np.sin(azimuth) * x + np.cos(azimuth) * y
    up = np.cos(elevation) * z + np.sin(elevation) * away
    return np.stack([across, up, np.sin(elevation) * z - np.cos(elevation) * away], axis=1)
