"""Families of codes: from an encoder's raw output to q(z | x), or from a learned raw value to a prior p(z).

    Point               all mass at one code: the plain autoencoder
    DiagonalGaussian    z = m + s * eps                            Kingma & Welling, ICLR 2014
    FullGaussian        z = m + L eps, L lower triangular
    Flow                z = m + s * T^-1(eps; h)                   Rezende & Mohamed, ICML 2015
    Box                 a Normal truncated to the box of a uniform prior
    Mixture             sum_k w_k p_k(z), each p_k of one of the families above

All but Point and Box start as N(mean, I), or near it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent, Normal

from vaekit.distributions.bounds import soft_bound, unbounded
from vaekit.distributions.delta import Delta
from vaekit.distributions.families import Family
from vaekit.distributions.flow import Flow as FlowDistribution
from vaekit.distributions.flow import spline_couplings
from vaekit.distributions.full_gaussian import FullGaussian as FullGaussianDistribution
from vaekit.distributions.gaussian_mixture import mixture
from vaekit.distributions.truncated_normal import TruncatedNormal
from vaekit.errors import UsageError

BOX = math.sqrt(3.0)
"""The uniform prior's box is (-BOX, BOX) in every dimension: its variance is 1, as the standard normal's."""

LOG_VARIANCE = (-16.0, 8.0)
"""Bounds of the log-variance of a diagonal Gaussian."""


class DiagonalGaussian(Family):
    """The usual posterior: raw holds a mean and a log-variance for each of `dim` latent dimensions.

    The log-variance stays within (-16, 8), standard deviations from 0.0003 to 55; or below the bound of a minimum rate.

    Args:
        dim: D.
        minimum_rate: nats that the KL to N(0, I) cannot go below in any dimension, less than 7; 0 for no such bound
            (Razavi et al., "Preventing posterior collapse with delta-VAEs", ICLR 2019).
    """

    parameters_per_element = 2
    low = LOG_VARIANCE[0]

    def __init__(self, dim: int, minimum_rate: float = 0.0) -> None:
        super().__init__()
        if not 0 <= minimum_rate < 7:
            raise UsageError(f"minimum_rate {minimum_rate}: expected nats per latent dimension, from 0 to below 7")
        self.event_shape = (dim,)
        self.high = LOG_VARIANCE[1] if minimum_rate == 0 else _high_for(largest_log_variance(minimum_rate))

    def forward(self, raw: Tensor) -> Distribution:
        mean, log_variance = raw.unbind(-2)
        std = (0.5 * soft_bound(log_variance, self.low, self.high)).exp()
        return Independent(Normal(mean, std, validate_args=False), 1, validate_args=False)

    def start(self, mean: Tensor) -> Tensor:
        return torch.stack([mean, torch.zeros_like(mean)])


def largest_log_variance(rate: float) -> float:
    """The l < 0 with (e^l - 1 - l) / 2 = rate: KL(N(m, e^l), N(0, 1)) is at least `rate` where the log-variance is below l."""
    low, high = -1.0 - 2 * rate, 0.0  # e^l >= 0 puts the root above the first, where the function is at least the rate
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if math.expm1(middle) - middle > 2 * rate else (low, middle)
    return low


def _high_for(limit: float) -> float:
    """The upper bound with which `soft_bound` never passes `limit`: it settles a little above the bound itself."""
    low, _ = LOG_VARIANCE
    return low + math.log(math.expm1(limit - low))


class FullGaussian(Family):
    """A Gaussian with every covariance: raw (D + D + D (D - 1) / 2) holds the mean, the log-diagonal of L and what is below.

    The log-diagonal stays within (-8, 4), the bounds of the diagonal Gaussian's standard deviations.
    """

    below: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.event_shape = (dim,)
        self.register_buffer("below", torch.tril_indices(dim, dim, -1), persistent=False)

    @property
    def raw_shape(self) -> tuple[int, ...]:
        (dim,) = self.event_shape
        return (dim + dim * (dim + 1) // 2,)

    def forward(self, raw: Tensor) -> Distribution:
        (dim,) = self.event_shape
        mean, log_diagonal, rest = raw.split([dim, dim, raw.shape[-1] - 2 * dim], -1)
        lower = torch.diag_embed(soft_bound(log_diagonal, -8.0, 4.0).exp())
        lower[..., self.below[0], self.below[1]] = rest
        return FullGaussianDistribution(mean, lower)

    def start(self, mean: Tensor) -> Tensor:
        return torch.cat([mean, mean.new_zeros(self.raw_shape[0] - len(mean))])

    def raw_of(self, mean: Tensor, scale_tril: Tensor) -> Tensor:
        """The raw values (*, D + D (D + 1) / 2) of Gaussians that are known, the diagonal of L between the bounds."""
        log_diagonal = unbounded(scale_tril.diagonal(dim1=-2, dim2=-1).log(), -8.0, 4.0)
        return torch.cat([mean, log_diagonal, scale_tril[..., self.below[0], self.below[1]]], -1)


class Flow(Family):
    """A flow on top of a diagonal Gaussian: raw holds mean, log-variance and `context` numbers that bend the flow.

    Args:
        dim: D. In one dimension the flow is a stack of splines, in more of couplings.
        context: numbers h of the raw output that the couplings see; 0 for a flow that is the same for every raw value.
        layers: couplings, each of which moves every other dimension.
        hidden: widths of the couplings' networks. They are the flow's own parameters, the one case of a family with some.

    The log-variance stays within (-16, 8), as the diagonal Gaussian's.
    """

    def __init__(self, dim: int, context: int = 16, layers: int = 4, hidden: tuple[int, ...] = (64,)) -> None:
        super().__init__()
        self.event_shape, self.context = (dim,), context
        self.couplings = spline_couplings(dim, context, layers, hidden)

    @property
    def raw_shape(self) -> tuple[int, ...]:
        return (2 * self.event_shape[0] + self.context,)

    def forward(self, raw: Tensor) -> Distribution:
        (dim,) = self.event_shape
        mean, log_variance, context = raw.split([dim, dim, self.context], -1)
        std = (0.5 * soft_bound(log_variance, *LOG_VARIANCE)).exp()
        return FlowDistribution(mean, std, self.couplings(context if self.context else None))

    def start(self, mean: Tensor) -> Tensor:
        return torch.cat([mean, mean.new_zeros(self.raw_shape[0] - len(mean))])


class Box(Family):
    """A Normal truncated to (-BOX, BOX) in every dimension: raw holds a location and a log-scale.

    Within the box, the location is BOX tanh(raw / BOX), and the log-scale, raw - 1.5, stays within (-8, log(8 BOX)); at its
    widest it is the uniform distribution to 1e-5 nats. It starts at a scale of 0.22, because a posterior as wide as the
    box hardly feels where it is, and so learns late.
    """

    parameters_per_element = 2

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.event_shape = (dim,)

    def forward(self, raw: Tensor) -> Distribution:
        location, log_scale = raw.unbind(-2)
        scale = soft_bound(log_scale - 1.5, -8.0, math.log(8 * BOX)).exp()
        return Independent(TruncatedNormal(BOX * torch.tanh(location / BOX), scale, -BOX, BOX), 1, validate_args=False)

    def start(self, mean: Tensor) -> Tensor:
        return torch.stack([mean, torch.zeros_like(mean)])


class Point(Family):
    """The posterior of a plain autoencoder: a point mass at the raw output."""

    parameters_per_element = 1

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.event_shape = (dim,)

    def forward(self, raw: Tensor) -> Distribution:
        return Delta(raw.squeeze(-2))

    def start(self, mean: Tensor) -> Tensor:
        return mean[None]


class Mixture(Family):
    """sum_k w_k p_k(z): raw (components, 1 + size of the component's raw) holds a log-weight and the raw value of each.

    Args:
        component: the family of every component.
        components: how many. They start at N(mean, I), so that no two are alike.
    """

    def __init__(self, component: Family, components: int) -> None:
        super().__init__()
        if components < 1:
            raise UsageError(f"mixture of {components} components: expected at least 1")
        self.component, self.components, self.event_shape = component, components, component.event_shape

    @property
    def raw_shape(self) -> tuple[int, ...]:
        return (self.components, 1 + math.prod(self.component.raw_shape))

    def forward(self, raw: Tensor) -> Distribution:
        log_weights = Categorical(logits=raw[..., 0], validate_args=False)
        parts = self.component(raw[..., 1:].unflatten(-1, self.component.raw_shape))
        return mixture(log_weights, parts)

    def start(self, mean: Tensor) -> Tensor:
        starts = [self.component.start(mean + torch.randn_like(mean)).flatten() for _ in range(self.components)]
        return torch.cat([mean.new_zeros(self.components, 1), torch.stack(starts)], 1)


POSTERIORS: dict[str, type[Family]] = {"diagonal": DiagonalGaussian, "full": FullGaussian, "flow": Flow, "box": Box}
"""The posteriors by name."""


def make_posterior(name: str, dim: int) -> Family:
    """The family of posteriors called `name` over `dim` latent dimensions. Raises UsageError on an unknown name."""
    if name not in POSTERIORS:
        raise UsageError(f"posterior {name!r}: expected one of {', '.join(POSTERIORS)}")
    return POSTERIORS[name](dim)  # type: ignore[call-arg]  # every one takes its dimension first
