"""PointCode: the posterior of a model with quantised codes. All of its mass is on one of finitely many codes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from vaekit.networks.codebook import Quantised


class PointCode(Distribution):
    """The point mass at the codes of each example. Unlike a `Delta` over numbers it has a probability: log 1 = 0.

    Args:
        found: what the quantiser made of B encoder outputs.

    Its values are the chosen vectors, one after the other: event shape (N * D,).
    """

    arg_constraints = {}
    has_rsample = True

    def __init__(self, found: Quantised) -> None:
        self.found = found
        self.value = found.z.flatten(-2)
        super().__init__(self.value.shape[:-1], self.value.shape[-1:], validate_args=False)

    @property
    def codes(self) -> Tensor:
        """(B, N, L) int64."""
        return self.found.codes

    @property
    def mean(self) -> Tensor:
        return self.value

    @property
    def variance(self) -> Tensor:
        return torch.zeros_like(self.value)

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        return self.value.expand(*sample_shape, *self.value.shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """0 at the code itself, -inf elsewhere."""
        there = (value == self.value).all(-1)
        return torch.zeros_like(value[..., 0]).masked_fill(~there, -torch.inf)
