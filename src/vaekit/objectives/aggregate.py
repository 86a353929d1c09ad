"""Objectives about the aggregate posterior q(z) = 1/N sum_n q(z | x_n).

beta-TC: the KL taken apart and its parts weighed (Chen, Li, Grosse & Duvenaud, NeurIPS 2018)

    E KL(q(z|x), p(z)) =  E log q(z|x) / q(z)  +  E log q(z) / prod_d q(z_d)  +  sum_d E log q(z_d) / p(z_d)
                            mutual information      total correlation              KL of each dimension

q(z) of N rows is estimated from a batch of B. With w_ij the weight of row j for a draw z_i from q(z | x_i),

    log q(z_i) ~ log sum_j w_ij q(z_i | x_j)
    weighted     w_ij = 1 / (N B)
    stratified   w_ii = 1 / N,   w_ij = (N - 1) / (N (B - 1))  for the others

The second is unbiased for q(z_i) within the logarithm. The paper gives one of the other rows another weight than the
rest; this is the mean over which of them that is, so that the order of a batch plays no part.

MMD: distance of q(z) from the prior by a kernel (Gretton et al., JMLR 2012), in the InfoVAE (Zhao, Song & Ermon, 2017)
and the Wasserstein autoencoder (Tolstikhin et al., ICLR 2018)

    MMD^2 = E k(z, z') + E k(y, y') - 2 E k(z, y),   z, z' ~ q(z),  y, y' ~ p(z)
    with s = 2 D bandwidth^2:   rbf  k = exp(-|a - b|^2 / s),   imq  k = s / (s + |a - b|^2)
"""

from __future__ import annotations

import math
from typing import Literal, Protocol, cast

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from vaekit.data import Batch
from vaekit.distributions.seeded import unseeded
from vaekit.errors import UsageError
from vaekit.objectives.draw import Drawing, Inferring, Terms, check_count, rate_of

Sampling = Literal["stratified", "weighted"]
Kernel = Literal["rbf", "imq"]


class WithPrior(Drawing, Protocol):
    """A model whose prior can be drawn from."""

    def prior_codes(self, n: int, c: Tensor | None = None) -> Tensor:
        """n draws from p(z | c), (n, D)."""
        ...


def beta_tc(
    model: Drawing,
    batch: Batch,
    *,
    beta: float = 6.0,
    information: float = 1.0,
    dimensions: float = 1.0,
    samples: int = 1,
    sampling: Sampling = "stratified",
    dataset_size: int | None = None,
) -> Terms:
    """distortion + information * MI + beta * TC + dimensions * dimension-wise KL; with all three 1, minus the ELBO.

    Args:
        beta: weight of the total correlation.
        information: weight of the mutual information of code and row number (alpha of the paper).
        dimensions: weight of the sum of each dimension's KL from the prior (gamma of the paper).
        samples: L, draws of z for each example.
        sampling: how q(z) is estimated from a batch, "stratified" or "weighted".
        dataset_size: N, rows of the training data; `fit` sets it.

    Needs a posterior that factorises over dimensions. The three parts use the whole batch, so this loss depends on its
    company, as the paper's does; the rate, their sum, does not.
    """
    check_count("samples", samples)
    for name, value in (("beta", beta), ("information", information), ("dimensions", dimensions)):
        if not 0 <= value < math.inf:
            raise UsageError(f"{name} {value}: expected a number of at least 0")
    if dataset_size is None or dataset_size < len(batch.x):
        raise UsageError(
            f"beta_tc: dataset_size {dataset_size}: expected N, the number of training rows (`fit` sets it)"
        )
    inferring = cast(Inferring, model)
    q = inferring.posterior(batch.x, batch.c)
    draw = inferring.draw(batch.x, batch.c, samples, q)
    rate, distortion = rate_of(draw, "sampled"), -draw.log_px.mean(0)
    log_qz, log_pz = cast(Tensor, draw.log_qz), cast(Tensor, draw.log_pz)
    joint, product = aggregate_densities(q, draw.z, dataset_size, sampling)
    charged = information * (log_qz - joint) + beta * (joint - product) + dimensions * (product - log_pz)
    return Terms(distortion + charged.mean(0), rate, distortion)


def aggregate_densities(q: Distribution, z: Tensor, dataset_size: int, sampling: str) -> tuple[Tensor, Tensor]:
    """Estimates of log q(z) and sum_d log q(z_d) at draws z (K, B, D) from q, each (K, B)."""
    plain = unseeded(q)
    if not isinstance(plain, Independent) or plain.reinterpreted_batch_ndims != 1:
        raise UsageError("beta_tc: needs a posterior that factorises over dimensions; take the diagonal one")
    pairs = plain.base_dist.log_prob(z[:, :, None])  # (K, B, B, D): log q(z_id | x_j) at [k, i, j, d]
    log_w = log_weights(z.shape[1], dataset_size, sampling).to(z)
    joint = torch.logsumexp(log_w + pairs.sum(-1), 2)
    return joint, torch.logsumexp(log_w[:, :, None] + pairs, 2).sum(-1)


def log_weights(batch: int, dataset_size: int, sampling: str) -> Tensor:
    """log w_ij, (B, B) float64, of the rows j in the estimate of q(z_i). A batch of one row knows nothing of the others."""
    if sampling == "weighted":
        return torch.full((batch, batch), -math.log(dataset_size * batch), dtype=torch.float64)
    if sampling != "stratified":
        raise UsageError(f"sampling {sampling!r}: expected stratified or weighted")
    others = (dataset_size - 1) / (dataset_size * max(batch - 1, 1))
    return torch.full((batch, batch), others, dtype=torch.float64).fill_diagonal_(1 / dataset_size).log()


def mmd(
    model: Drawing,
    batch: Batch,
    *,
    weight: float = 100.0,
    beta: float = 0.0,
    kernel: Kernel = "imq",
    bandwidth: float = 1.0,
) -> Terms:
    """distortion + beta * rate + weight * MMD^2(q(z), p(z)): with beta = 0 a Wasserstein autoencoder, else an InfoVAE.

    Args:
        weight: lambda of the Wasserstein autoencoder, alpha + lambda - 1 of the InfoVAE.
        beta: weight of the KL, 1 - alpha of the InfoVAE.
        kernel: "imq" (inverse multiquadric, heavy tails) or "rbf" (Gaussian).
        bandwidth: of the kernel; 1 suits a standard normal prior.

    Each row is charged its part of the unbiased estimate between the batch's codes and as many draws of the prior: the
    mean over the batch is the U-statistic, which may be below 0. One row alone is charged nothing.
    """
    for name, value in (("weight", weight), ("beta", beta)):
        if not 0 <= value < math.inf:
            raise UsageError(f"{name} {value}: expected a number of at least 0")
    if not 0 < bandwidth < math.inf:
        raise UsageError(f"bandwidth {bandwidth}: expected a positive number")
    draw = model.draw(batch.x, batch.c, 1)
    rate, distortion = rate_of(draw), -draw.log_px.mean(0)
    prior = cast(WithPrior, model).prior_codes(len(batch.x), batch.c)
    distance = mmd_by_row(draw.z[0].flatten(1), prior.flatten(1), kernel, bandwidth)
    return Terms(distortion + beta * rate + weight * distance, rate, distortion)


def mmd_by_row(z: Tensor, y: Tensor, kernel: str = "imq", bandwidth: float = 1.0) -> Tensor:
    """Each row's part of the unbiased MMD^2 of z and y, both (n, D): (n,), whose mean is the U-statistic."""
    if kernel not in ("imq", "rbf"):
        raise UsageError(f"kernel {kernel!r}: expected imq or rbf")
    n, scale = len(z), 2 * z.shape[1] * bandwidth**2
    if n < 2:
        return 0.0 * z.sum(1)

    def k(a: Tensor, b: Tensor) -> Tensor:
        square = (a[:, None] - b[None]).square().sum(-1)
        return (-square / scale).exp() if kernel == "rbf" else scale / (scale + square)

    def within(a: Tensor) -> Tensor:
        return (k(a, a).sum(1) - 1) / (n - 1)  # without k(a_i, a_i) = 1

    across = k(z, y)
    return within(z) + within(y) - across.mean(1) - across.mean(0)
