"""Black and white pixels as one event: log p(x) = sum over elements of x l - log(1 + e^l), l being the logits.

The same law as `Independent(Bernoulli(logits=l), event_dims)`, whose `log_prob` makes two more passes over all pixels (and
two more on the way back) because it changes the sign before it sums.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.nn import functional as F


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
        value = value.expand(torch.broadcast_shapes(value.shape, self.logits.shape))
        logits = self.logits.expand_as(value)
        losses = F.binary_cross_entropy_with_logits(logits, value, reduction="none")
        return -losses.flatten(-len(self.event_shape)).sum(-1)

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        with torch.no_grad():
            return torch.bernoulli(self.mean.expand(*sample_shape, *self.logits.shape))
