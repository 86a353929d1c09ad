"""A normalising flow: noise, bent by an invertible map, then moved and scaled.

    z = mu + sigma * T^-1(eps),   eps ~ N(0, I),   T a stack of spline couplings
    log p(z) = log N(T(u); 0, I) + log |det dT/du| - sum_d log sigma_d,   u = (z - mu) / sigma

Rezende & Mohamed, "Variational inference with normalizing flows", ICML 2015; Durkan, Bekasov, Murray & Papamakarios,
"Neural spline flows", NeurIPS 2019 (rational-quadratic splines on [-5, 5], the identity outside). The couplings are
zuko's, which is imported when the first flow is made.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

_BINS = 8
_POINTS = 32
"""Pairs of noise and its negative behind a flow's mean."""


class Flow(Distribution):
    """z = loc + scale * transform^-1(eps).

    Args:
        loc, scale: (*batch, D).
        transform: an invertible map (*, D) -> (*, D) in the manner of zuko (`call_and_ladj`, `inv`), from data to noise.

    `mean` and `variance` have no closed form: they are averages over the same 64 fixed points of noise (a Sobol sequence
    and its negatives), hence the same every time, and exact where the transform is linear.
    """

    arg_constraints = {"loc": constraints.real_vector}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc: Tensor, scale: Tensor, transform: Any) -> None:
        self.loc, self.scale, self.transform = loc, scale, transform
        self.noise_dim = loc.shape[-1]
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=False)

    def _at_fixed_points(self) -> Tensor:
        points = fixed_points(self.noise_dim).to(self.loc)
        return self.from_noise(points.view(-1, *[1] * (self.loc.dim() - 1), self.noise_dim))

    @property
    def mean(self) -> Tensor:
        return self._at_fixed_points().mean(0)

    @property
    def variance(self) -> Tensor:
        return self._at_fixed_points().var(0, correction=0)

    def from_noise(self, noise: Tensor) -> Tensor:
        """Standard normal noise (*, *batch, D) -> samples of that shape."""
        whole = torch.broadcast_shapes(noise.shape, self.loc.shape)
        return self.loc + self.scale * self.transform.inv(noise.to(self.loc).expand(whole))

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        shape = (*sample_shape, *self.loc.shape)
        return self.from_noise(torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device))

    def log_prob(self, value: Tensor) -> Tensor:
        noise, log_det = self.transform.call_and_ladj((value - self.loc) / self.scale)
        base = -0.5 * (noise.square() + math.log(2 * math.pi)).sum(-1)
        return base + log_det - self.scale.log().sum(-1)


@lru_cache
def fixed_points(dim: int) -> Tensor:
    """(2 * 32, dim) points spread like standard normal noise: mean 0 and variance 1 exactly, always the same."""
    unit = torch.quasirandom.SobolEngine(dim, scramble=True, seed=0).draw(_POINTS, dtype=torch.float64)
    half = torch.special.ndtri(unit.clamp(1e-6, 1 - 1e-6))
    return torch.cat([half, -half]) / half.square().mean(0).sqrt()


def spline_couplings(dim: int, context: int, layers: int, hidden: tuple[int, ...]) -> nn.Module:
    """A module whose `forward(context (*, C) or None)` is an invertible map of (*, D), near the identity at first.

    In one dimension there is nothing to couple: each layer is a spline of its own, its knots a function of the context.
    """
    validates = Distribution._validate_args  # type: ignore[attr-defined]
    from zuko.flows.coupling import GeneralCouplingTransform
    from zuko.lazy import LazyComposedTransform
    from zuko.transforms import MonotonicRQSTransform

    # zuko switches torch's argument checks off for the whole process as it is imported
    Distribution.set_default_validate_args(validates)
    parts: list[Any] = []
    for layer in range(layers):
        mask = torch.arange(dim) % 2 == layer % 2
        spline: dict[str, Any] = {"univariate": MonotonicRQSTransform, "shapes": [(_BINS,), (_BINS,), (_BINS - 1,)]}
        networks: dict[str, Any] = (
            {} if dim == 1 and not context else {"hidden_features": hidden, "activation": nn.SiLU}
        )
        parts.append(GeneralCouplingTransform(dim, context, mask, **spline, **networks))
        _start_small(parts[-1])
    return LazyComposedTransform(*parts)


@torch.no_grad()
def _start_small(part: Any) -> None:
    """Bring a spline near the identity: its raw knots near 0."""
    small = [part.hyper[-1].weight, part.hyper[-1].bias] if hasattr(part, "hyper") else part.phi
    for value in small:
        value.mul_(0.1)
