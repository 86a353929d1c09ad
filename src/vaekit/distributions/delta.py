"""Delta: all mass at one point. The posterior of a plain autoencoder."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints


class Delta(Distribution):
    """The point mass at `value` (*batch, *event). It has samples and a mean, and no density: `log_prob` is refused.

    Args:
        value: the point.
        event_dims: how many of its last dimensions make one event.
    """

    arg_constraints = {"value": constraints.real}
    has_rsample = True

    def __init__(self, value: Tensor, event_dims: int = 1) -> None:
        self.value = value
        split = value.dim() - event_dims
        super().__init__(value.shape[:split], value.shape[split:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.value

    @property
    def variance(self) -> Tensor:
        return torch.zeros_like(self.value)

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        return self.value.expand(*sample_shape, *self.value.shape)

    def log_prob(self, value: Tensor) -> Tensor:
        raise NotImplementedError("Delta: a point mass has no density")
