"""The Normal truncated to an interval: a posterior that lives where a uniform prior does.

    p(z) = N(z; mu, sigma^2) / Z on [low, high],   Z = Phi(beta) - Phi(alpha),
    alpha = (low - mu) / sigma <= 0 <= beta = (high - mu) / sigma
    mean = mu + sigma (phi(alpha) - phi(beta)) / Z
    entropy = log(sqrt(2 pi e) sigma Z) + (alpha phi(alpha) - beta phi(beta)) / (2 Z)
    KL(q, Uniform(low, high)) = log(high - low) - entropy, which goes to 0 as sigma grows

Johnson, Kotz & Balakrishnan, "Continuous univariate distributions 1", 1994, chapter 13. Here mu lies in the interval, so
that Z is a sum of two masses and never a difference of two tails.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal, Uniform, constraints, register_kl
from torch.special import ndtri

_LOG_ROOT_2PI = 0.5 * math.log(2 * math.pi)


class TruncatedNormal(Distribution):
    """Normal(loc, scale) given that it falls between `low` and `high`, element by element.

    Args:
        loc: (*batch) within [low, high].
        scale: (*batch) of the Normal before it is truncated; positive.
        low, high: the ends of the interval.
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    has_rsample = True
    noise_dim = 1

    def __init__(self, loc: Tensor, scale: Tensor, low: float, high: float) -> None:
        self.loc, self.scale, self.low, self.high = loc, scale, low, high
        self.alpha, self.beta = (low - loc) / scale, (high - loc) / scale
        # erf keeps the mass of an interval about 0 to full relative precision, where 1 - Phi would not
        self.mass = 0.5 * (torch.erf(self.beta / math.sqrt(2)) - torch.erf(self.alpha / math.sqrt(2)))
        super().__init__(loc.shape, validate_args=False)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> constraints.Constraint:  # type: ignore[override]
        return constraints.interval(self.low, self.high)

    @property
    def _edges(self) -> tuple[Tensor, Tensor]:
        """phi(alpha) / Z and phi(beta) / Z."""
        return _phi(self.alpha) / self.mass, _phi(self.beta) / self.mass

    @property
    def mean(self) -> Tensor:
        left, right = self._edges
        return self.loc + self.scale * (left - right)

    @property
    def variance(self) -> Tensor:
        left, right = self._edges
        return self.scale.square() * (1 + self.alpha * left - self.beta * right - (left - right).square())

    def entropy(self) -> Tensor:
        left, right = self._edges
        return _LOG_ROOT_2PI + 0.5 + (self.scale * self.mass).log() + 0.5 * (self.alpha * left - self.beta * right)

    def log_prob(self, value: Tensor) -> Tensor:
        noise = (value - self.loc) / self.scale
        inside = (value >= self.low) & (value <= self.high)
        density = -0.5 * noise.square() - _LOG_ROOT_2PI - (self.scale * self.mass).log()
        return torch.where(inside, density, -math.inf)

    def from_noise(self, noise: Tensor) -> Tensor:
        """Standard normal noise (*, *batch) -> samples of that shape, increasing in the noise.

        The quantile is taken from whichever end is nearer, where a single-precision mass is still exact. Rounding could
        put a sample on the far side of an edge; it is kept on this one.
        """
        noise = noise.to(self.loc)
        right = noise > 0
        tail = _tail(-noise.abs()) * self.mass + _tail(torch.where(right, -self.beta, self.alpha))
        z = self.loc + torch.where(right, -1.0, 1.0) * self.scale * ndtri(tail)
        # torch's Uniform, whose support this is, leaves out its upper end
        return z.clamp(z.new_tensor(self.low), torch.nextafter(z.new_tensor(self.high), z.new_tensor(self.low)))

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        shape = (*sample_shape, *self.batch_shape)
        return self.from_noise(torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device))


def _tail(value: Tensor) -> Tensor:
    """Phi(value), which torch's own `ndtr` rounds to 1e-8 or so in single precision, however small it is."""
    return 0.5 * torch.erfc(-value / math.sqrt(2))


def _phi(value: Tensor) -> Tensor:
    return (-0.5 * value.square() - _LOG_ROOT_2PI).exp()


@register_kl(TruncatedNormal, Uniform)  # type: ignore[untyped-decorator]
def _kl_uniform(q: TruncatedNormal, p: Uniform) -> Tensor:
    """log(high - low) - entropy; infinite where q reaches outside."""
    inside = (p.low <= q.low) & (q.high <= p.high)
    return torch.where(inside, (p.high - p.low).log() - q.entropy(), math.inf)


@register_kl(TruncatedNormal, Normal)  # type: ignore[untyped-decorator]
def _kl_normal(q: TruncatedNormal, p: Normal) -> Tensor:
    second = (q.variance + (q.mean - p.loc).square()) / p.scale.square()
    return 0.5 * second + p.scale.log() + _LOG_ROOT_2PI - q.entropy()
