"""What the code carries: codes, the KL of each dimension, and the dimensions that are used at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaekit.errors import UsageError
from vaekit.evaluation.estimate import Estimate, mean_of
from vaekit.evaluation.rows import ROWS, at_rest, batches, check_examples, check_likelihood, seeded_posterior
from vaekit.models.base import Model
from vaekit.objectives.draw import check_count

ACTIVE = 0.01
"""Variance over the data of the posterior's mean above which a dimension counts as active (Burda et al., ICLR 2016): in units of
the prior, N(0, I). The code of a model without a likelihood has no unit, and there it is a part of the largest variance."""


def codes(model: Model, rows: Any) -> Tensor:
    """The posterior's mean of every example, (n, D), on the CPU."""
    split = check_examples(model, rows)
    with at_rest(model):
        return torch.cat([model.encode(*batch).cpu() for batch in batches(model, split)])


def kl_per_dim(model: Model, rows: Any, *, samples: int = 10, seed: int = 0) -> list[Estimate]:
    """KL(q(z_d|x), p(z_d)) of every latent dimension in nats. Raises UsageError where it has no closed form.

    In a code of layers it is the KL given the layers drawn before, averaged over `samples` draws of them.
    """
    found, layered = _rates(model, rows, "kl_per_dim", samples, seed)
    if found is None:
        raise UsageError("kl_per_dim: this posterior and prior have no KL in closed form for each dimension")
    how = "closed-form KL given the layers before" if layered else "closed-form KL"
    return [mean_of(column, "nats", how, samples if layered else None) for column in found.T]


def kl_per_layer(model: Model, rows: Any, *, samples: int = 10, seed: int = 0) -> list[Estimate]:
    """Every layer's part of KL(q(z|x), p(z)) in nats, the bottom layer first, from `samples` draws of z an example.

    They sum to the KL. A part is a KL given the layers drawn before where the prior draws in the posterior's order, else
    the mean of log q - log p, which may be negative. Raises UsageError for a code without layers.
    """
    found, _ = _rates(model, rows, "kl_per_layer", samples, seed)
    if found is None:
        raise UsageError("kl_per_layer: this model's code is not divided into layers")
    return [mean_of(column, "nats", "a layer's part of the KL at draws of the others", samples) for column in found.T]


def _rates(model: Model, rows: Any, name: str, samples: int, seed: int) -> tuple[Tensor | None, bool]:
    """`name` of the draws of every row, (n, parts), None where the model has no such thing; and whether it has layers."""
    check_likelihood(model, name)
    check_count("samples", samples)
    split, parts = check_examples(model, rows), []
    with at_rest(model):
        one = model.draw(*next(batches(model, split, 1)))
        layered = one.kl_per_layer is not None
        if getattr(one, name) is None:
            return None, layered
        draws = samples if layered else 1  # without layers the KL does not depend on the draws
        for batch in batches(model, split, max(1, ROWS // draws)):
            parts.append(getattr(model.draw(*batch, draws, seeded_posterior(model, batch, seed)), name).cpu())
    return torch.cat(parts), layered


def active_units(model: Model, rows: Any, *, threshold: float = ACTIVE) -> Estimate:
    """Number of dimensions whose posterior mean varies over the data by more than `threshold`.

    Without a likelihood the threshold is a part of the largest variance of a dimension.
    """
    split = check_examples(model, rows)
    z = codes(model, split)
    above = _variance_of(model, z, threshold)
    what = f"variance of the posterior mean over the {split.name} rows above {threshold:g}"
    how = what if model.has_likelihood else f"{what} of the largest"
    count = float(len(active_of(model, z, threshold)))
    error = _bootstrap_error(z.double().numpy(), above) if len(z) > 1 else None
    return Estimate(count, error, len(z), "dimensions", how)


def active_dimensions(model: Model, rows: Any, *, threshold: float = ACTIVE) -> list[int]:
    """The active dimensions, the most variable first; for the threshold see `active_units`."""
    return active_of(model, codes(model, rows), threshold)


def _variance_of(model: Model, z: Tensor, threshold: float) -> float:
    """The variance that an active dimension of codes z (n, D) exceeds."""
    if model.has_likelihood or len(z) < 2:
        return threshold
    return threshold * float(z.double().var(0).max())


def active_of(model: Model, z: Tensor, threshold: float = ACTIVE) -> list[int]:
    """The active dimensions of codes z (n, D) of a model, the most variable first; for the threshold see `active_units`."""
    above = _variance_of(model, z, threshold)
    variance = z.double().var(0) if len(z) > 1 else torch.zeros(z.shape[1])
    return [int(d) for d in torch.argsort(variance, descending=True) if variance[d] > above]


def _bootstrap_error(z: np.ndarray, threshold: float, rounds: int = 200) -> float:
    """Standard error of the count over resamplings of the examples (Efron's bootstrap), by multinomial weights."""
    n = len(z)
    weights = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=rounds) / n
    variance = weights @ z**2 - (weights @ z) ** 2
    return float((variance > threshold).sum(1).std())
