"""What the code carries: codes, the KL of each dimension, and the dimensions that are used at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaekit.errors import UsageError
from vaekit.evaluation.estimate import Estimate, mean_of
from vaekit.evaluation.rows import at_rest, batches, check_likelihood, check_rows, seeded_posterior
from vaekit.models.base import Model

ACTIVE = 0.01
"""Variance over the data of the posterior's mean above which a dimension counts as active (Burda et al., ICLR 2016)."""


def codes(model: Model, rows: Any) -> Tensor:
    """The posterior's mean of every example, (n, D), on the CPU."""
    split = check_rows(rows)
    with at_rest(model):
        return torch.cat([model.encode(x).cpu() for x in batches(model, split)])


def kl_per_dim(model: Model, rows: Any, *, seed: int = 0) -> list[Estimate]:
    """KL(q(z_d|x), p(z_d)) of every latent dimension in nats. Raises UsageError where it has no closed form."""
    check_likelihood(model, "kl_per_dim")
    split = check_rows(rows)
    parts = []
    with at_rest(model):
        for x in batches(model, split):
            part = model.draw(x, None, 1, seeded_posterior(model, x, seed)).kl_per_dim
            if part is None:
                raise UsageError("kl_per_dim: this posterior and prior have no KL in closed form for each dimension")
            parts.append(part.cpu())
    return [mean_of(column, "nats", "closed-form KL") for column in torch.cat(parts).T]


def active_units(model: Model, rows: Any, *, threshold: float = ACTIVE) -> Estimate:
    """Number of dimensions whose posterior mean varies over the data by more than `threshold`."""
    z = codes(model, rows)
    how = f"variance of the posterior mean above {threshold:g}"
    count = float(len(active_of(z, threshold)))
    return Estimate(count, _bootstrap_error(z.double().numpy(), threshold), len(z), "dimensions", how)


def active_dimensions(model: Model, rows: Any, *, threshold: float = ACTIVE) -> list[int]:
    """The active dimensions, the most variable first."""
    return active_of(codes(model, rows), threshold)


def active_of(z: Tensor, threshold: float = ACTIVE) -> list[int]:
    """The dimensions of codes (n, D) that vary by more than `threshold`, the most variable first."""
    variance = z.double().var(0) if len(z) > 1 else torch.zeros(z.shape[1])
    return [int(d) for d in torch.argsort(variance, descending=True) if variance[d] > threshold]


def _bootstrap_error(z: np.ndarray, threshold: float, rounds: int = 200) -> float:
    """Standard error of the count over resamplings of the examples (Efron's bootstrap), by multinomial weights."""
    n = len(z)
    weights = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=rounds) / n
    variance = weights @ z**2 - (weights @ z) ** 2
    return float((variance > threshold).sum(1).std())
