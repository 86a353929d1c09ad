"""Smooth bounds: the identity in the middle, levelling off before a scale could overflow or vanish."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def soft_bound(raw: Tensor, low: float, high: float) -> Tensor:
    """`raw` kept inside (low, high): equal to it within exp(-distance to the nearer bound), with gradient everywhere."""
    return low + F.softplus(high - low - F.softplus(high - raw))
