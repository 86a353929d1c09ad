"""Black and white pixels as one event: log p(x) = sum over elements of x l - log(1 + e^l), l being the logits.

The same law as `Independent(Bernoulli(logits=l), event_dims)`, whose `log_prob` makes two more passes over all pixels (and
two more on the way back) because it changes the sign before it sums.

Where no gradient is wanted, as in an evaluation with thousands of draws, there is a quicker way for values of 0 and 1,

    log p(x) = - sum log(1 + e^y),   y = (1 - 2 x) l

in which the logarithms of `_GROUP` pixels are taken as one logarithm of their product. A pixel that the model is sure of has
a factor near 1, so that no term is a difference of large numbers; the rounding of a factor costs 6e-8 nats a pixel at most in
single precision. A product that overflows (eight pixels with a mean y above 11) is seen in the sum, which is then taken the
plain way.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.nn import functional as F

_GROUP = 8
"""Factors in a product."""


class BernoulliEvent(Distribution):
    """Independent zeros and ones; `logits` (*batch, *event), the last `event_dims` dimensions making one event."""

    arg_constraints = {"logits": constraints.real}
    support = constraints.boolean

    def __init__(self, logits: Tensor, event_dims: int) -> None:
        self.logits = logits
        split = logits.dim() - event_dims
        super().__init__(logits.shape[:split], logits.shape[split:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        return torch.sigmoid(self.logits)

    @property
    def variance(self) -> Tensor:
        return self.mean * torch.sigmoid(-self.logits)

    def log_prob(self, value: Tensor) -> Tensor:
        first = -len(self.event_shape)
        value, logits = value.flatten(first), self.logits.flatten(first)
        quick = _quick_log_prob(logits, value) if _may_be_quick(logits, value) else None
        if quick is not None:
            return quick
        value, logits = torch.broadcast_tensors(value, logits)
        return -F.binary_cross_entropy_with_logits(logits, value, reduction="none").sum(-1)

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        with torch.no_grad():
            return torch.bernoulli(self.mean.expand(*sample_shape, *self.logits.shape))


def _may_be_quick(logits: Tensor, value: Tensor) -> bool:
    """No gradient, a precision that carries products, a device whose answers cost no wait, and many draws for each value."""
    wanted = torch.is_grad_enabled() and (logits.requires_grad or value.requires_grad)
    precise = logits.dtype == value.dtype and logits.dtype in (torch.float32, torch.float64)
    return not wanted and precise and logits.device.type == "cpu" and logits.numel() >= _GROUP * value.numel()


def _quick_log_prob(logits: Tensor, value: Tensor) -> Tensor | None:
    """log p (*) of values (*, D) of 0 and 1; None for other values and where a product overflowed."""
    if not bool((value * value == value).all()):
        return None
    factors = (logits * (1 - 2 * value)).exp_().add_(1)
    whole = factors.shape[-1] // _GROUP * _GROUP
    total = -factors[..., :whole].unflatten(-1, (_GROUP, -1)).prod(-2).log_().sum(-1)
    if whole < factors.shape[-1]:
        total -= factors[..., whole:].log().sum(-1)
    return total if bool(torch.isfinite(total).all()) else None
