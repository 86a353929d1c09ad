"""Smooth bounds: the identity in the middle, levelling off before a scale could overflow or vanish."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def soft_bound(raw: Tensor, low: float, high: float) -> Tensor:
    """`raw` kept between low and high: equal to it within exp(-distance to the nearer bound), with gradient around.

    Far above `high` it settles at high + log(1 + exp(-(high - low))), which is `high` to four digits for the bounds used.
    """
    return low + F.softplus(high - low - F.softplus(high - raw))


def unbounded(value: Tensor, low: float, high: float) -> Tensor:
    """The raw number that `soft_bound` takes to `value`, which lies strictly between low and high."""
    return high - _inverse_softplus(high - low - _inverse_softplus(value - low))


def _inverse_softplus(value: Tensor) -> Tensor:
    return value + torch.log(-torch.expm1(-value))
