"""The continuous Bernoulli on [0, 1] (Loaiza-Ganem & Cunningham, "The continuous Bernoulli", NeurIPS 2019).

With the logit eta it is an exponential family with sufficient statistic x:

    p(x) = exp(eta x - A(eta)),   A(eta) = log((e^eta - 1) / eta),   E[x] = A'(eta) = 1 / (1 - e^-eta) - 1 / eta.

Working on eta keeps it exact for every logit; torch's own class goes through clamped probabilities, which makes its
normalising constant wrong where |eta| exceeds 16.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.nn import functional as F

_SMALL = 0.1
"""|eta| below which the closed forms lose digits to cancellation and a series takes over (error below 1e-13)."""


def log_partition(eta: Tensor) -> Tensor:
    """A(eta) = log((e^eta - 1) / eta), for any eta."""
    small = eta.abs() < _SMALL
    size = torch.where(small, torch.ones_like(eta), eta.abs())
    exact = F.relu(eta) + torch.log(-torch.expm1(-size)) - size.log()
    square = torch.where(small, eta, torch.zeros_like(eta)) ** 2
    series = square / 24 * (1 - square / 120 * (1 - square / 63))
    return torch.where(small, eta / 2 + series, exact)


def mean_of(eta: Tensor) -> Tensor:
    """E[x] = A'(eta)."""
    small = eta.abs() < _SMALL
    size = torch.where(small, torch.ones_like(eta), eta)
    exact = -1 / torch.expm1(-size) - 1 / size
    inside = torch.where(small, eta, torch.zeros_like(eta))
    square = inside**2
    return torch.where(small, 0.5 + inside / 12 * (1 - square / 60 * (1 - square / 42)), exact)


class ContinuousBernoulli(Distribution):
    """Density exp(eta x - A(eta)) on [0, 1], elementwise; `logits` is eta."""

    arg_constraints = {"logits": constraints.real}
    support = constraints.unit_interval
    has_rsample = True

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        super().__init__(logits.shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        return mean_of(self.logits)

    @property
    def variance(self) -> Tensor:
        eta = self.logits
        small = eta.abs() < 0.5
        size = torch.where(small, torch.ones_like(eta), eta)
        exact = size**-2 - 0.25 / torch.sinh(size / 2).square()
        square = torch.where(small, eta, torch.zeros_like(eta)) ** 2
        series = 1 / 12 - square / 240 * (1 - 5 * square / 126 * (1 - 7 * square / 200))
        return torch.where(small, series, exact)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.logits * value - log_partition(self.logits)

    def icdf(self, value: Tensor) -> Tensor:
        """x with P(X <= x) = value: log(1 + u (e^eta - 1)) / eta, mirrored so that e^eta never overflows."""
        eta = self.logits
        tiny = eta.abs() < 1e-5
        size = torch.where(tiny, torch.ones_like(eta), eta.abs())
        # for eta < 0 this is the quantile itself; for eta > 0 that of 1 - X, which has -eta
        u = torch.where(eta > 0, 1 - value, value)
        x = -torch.log1p(u * torch.expm1(-size)) / size
        series = value + eta * value * (1 - value) / 2
        return torch.where(tiny, series, torch.where(eta > 0, 1 - x, x)).clamp(0, 1)

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        return self.icdf(
            torch.rand((*sample_shape, *self.logits.shape), dtype=self.logits.dtype, device=self.logits.device)
        )
