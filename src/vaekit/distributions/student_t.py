"""Student's t: a normal whose precision is itself drawn, so that an outlier costs a logarithm and not a square.

Used as a likelihood by Takahashi et al., "Student-t variational autoencoder for robust density estimation", IJCAI 2018.

    x = mu + s * eps / sqrt(g),   eps ~ N(0, 1),   g ~ Gamma(nu / 2, nu / 2)
    log p(x) = log Gamma((nu + 1) / 2) - log Gamma(nu / 2) - 1/2 log(pi nu) - log s - (nu + 1) / 2 log(1 + y^2 / nu),
    y = (x - mu) / s;   E[x] = mu for nu > 1,   Var[x] = s^2 nu / (nu - 2) for nu > 2
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

_STEPS = 10
"""Steps by which the argument of the asymptotic series is raised: its error is below 1e-12 from there on."""


def log_gamma_ratio(a: Tensor) -> Tensor:
    """log Gamma(a + 1/2) - log Gamma(a) for a > 0, without the cancellation of two large numbers in single precision.

    By Gamma(a + 1) = a Gamma(a) the argument is raised, and there the ratio has the series 1/2 log a - 1/(8 a) + ...
    """
    raised = a + _STEPS
    steps = a[..., None] + torch.arange(_STEPS, dtype=a.dtype, device=a.device)
    inverse = 1 / raised
    square = inverse.square()
    series = inverse * (-1 / 8 + square * (1 / 192 + square * (-1 / 640 + square * 17 / 14336)))
    return 0.5 * raised.log() + series - torch.log1p(0.5 / steps).sum(-1)


class StudentT(Distribution):
    """Elementwise; `degrees` nu > 0, `loc` mu and `scale` s > 0 broadcast together.

    A single `degrees` for all elements keeps its gamma functions a single number. `mean` is the centre, also for nu <= 1,
    where there is no mean; `variance` is infinite for nu <= 2.
    """

    arg_constraints = {
        "degrees": constraints.positive,
        "loc": constraints.real,
        "scale": constraints.positive,
    }
    support = constraints.real

    def __init__(self, degrees: Tensor, loc: Tensor, scale: Tensor) -> None:
        self.degrees, self.loc, self.scale = degrees, loc, scale
        super().__init__(torch.broadcast_shapes(degrees.shape, loc.shape, scale.shape), validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.loc.expand(self.batch_shape)

    @property
    def variance(self) -> Tensor:
        nu = self.degrees
        ratio = torch.where(nu > 2, nu / (nu - 2), math.inf)
        return (self.scale.square() * ratio).expand(self.batch_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        nu = self.degrees
        constant = log_gamma_ratio(nu / 2) - 0.5 * (math.pi * nu).log()
        y = (value - self.loc) / self.scale
        return constant - self.scale.log() - (nu + 1) / 2 * torch.log1p(y.square() / nu)

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        with torch.no_grad():
            shape = (*sample_shape, *self.batch_shape)
            half = (self.degrees / 2).expand(shape).contiguous()
            noise = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
            return self.loc + self.scale * noise * (half / torch._standard_gamma(half)).sqrt()
