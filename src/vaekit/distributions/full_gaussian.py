"""The Gaussian with a full covariance, by its Cholesky factor.

    z = m + L eps,   eps ~ N(0, I),   covariance L L',   L lower triangular with a positive diagonal
    KL(N(m, L L'), N(n, P P')) = 1/2 (|P^-1 L|_F^2 + |P^-1 (m - n)|^2 - D) + sum_d (log P_dd - log L_dd)

|P^-1 L|_F^2 is the trace of the prior's precision times the posterior's covariance, the last sum half the difference of
the log-determinants. torch's own MultivariateNormal has no KL to a product of Normals and does not take noise.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, constraints, register_kl


class FullGaussian(Distribution):
    """N(loc, scale_tril scale_tril').

    Args:
        loc: (*batch, D) the mean.
        scale_tril: (*batch, D, D) lower triangular, its diagonal positive.
    """

    arg_constraints = {"loc": constraints.real_vector, "scale_tril": constraints.lower_cholesky}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc: Tensor, scale_tril: Tensor) -> None:
        self.loc, self.scale_tril = loc, scale_tril
        self.noise_dim = loc.shape[-1]
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return self.scale_tril.square().sum(-1)

    @property
    def covariance_matrix(self) -> Tensor:
        """(*batch, D, D)."""
        return self.scale_tril @ self.scale_tril.mT

    def from_noise(self, noise: Tensor) -> Tensor:
        """Standard normal noise (*, *batch, D) -> samples of that shape."""
        return self.loc + (self.scale_tril @ noise.to(self.loc).unsqueeze(-1)).squeeze(-1)

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        shape = (*sample_shape, *self.loc.shape)
        return self.from_noise(torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device))

    def log_prob(self, value: Tensor) -> Tensor:
        noise = _solve(self.scale_tril, value - self.loc)
        return -0.5 * (noise.square() + math.log(2 * math.pi)).sum(-1) - _half_log_det(self.scale_tril)


def _solve(tril: Tensor, value: Tensor) -> Tensor:
    """tril^-1 value for tril (*b, D, D) and value (*, *b, D): one solve with many right-hand sides for each matrix."""
    many = value.reshape(-1, *tril.shape[:-1]).movedim(0, -1)
    return torch.linalg.solve_triangular(tril, many, upper=False).movedim(-1, 0).reshape(value.shape)


def _half_log_det(tril: Tensor) -> Tensor:
    return tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def _moments(d: Distribution) -> tuple[Tensor, Tensor]:
    """(loc, scale_tril) of a FullGaussian or of independent Normals."""
    if isinstance(d, FullGaussian):
        return d.loc, d.scale_tril
    if isinstance(d, Independent) and isinstance(d.base_dist, Normal) and d.reinterpreted_batch_ndims == 1:
        return d.base_dist.loc, torch.diag_embed(d.base_dist.scale)
    raise NotImplementedError


@register_kl(FullGaussian, FullGaussian)  # type: ignore[untyped-decorator]
@register_kl(FullGaussian, Independent)  # type: ignore[untyped-decorator]
@register_kl(Independent, FullGaussian)  # type: ignore[untyped-decorator]
def _kl(q: Distribution, p: Distribution) -> Tensor:
    """KL(q, p) in nats, (*batch)."""
    (m, lower), (n, prior) = _moments(q), _moments(p)
    trace = torch.linalg.solve_triangular(prior, lower, upper=False).square().sum((-2, -1))
    distance = torch.linalg.solve_triangular(prior, (m - n).unsqueeze(-1), upper=False).square().sum((-2, -1))
    return 0.5 * (trace + distance - m.shape[-1]) + _half_log_det(prior) - _half_log_det(lower)
