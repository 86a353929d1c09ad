"""All figures of a model on held-out rows, in the one form that files, tables and reports share."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import torch

from vaekit.data import Dataset, Split
from vaekit.distributions.likelihoods import DISCRETE, choose_likelihood
from vaekit.errors import DataError, UsageError
from vaekit.evaluation.codebook import codebook_usage
from vaekit.evaluation.estimate import Estimate, mean_of
from vaekit.evaluation.latent import active_units, kl_per_dim, kl_per_layer
from vaekit.evaluation.likelihood import effective_draws, elbo, importance_sampling, mean_log_likelihood
from vaekit.evaluation.probes import probes
from vaekit.evaluation.rows import MEMORY, at_rest, batches, check_rows
from vaekit.models.base import Model
from vaekit.models.recipes import Origin
from vaekit.models.vqvae import VQVAE
from vaekit.objectives import reconstruction

Figures = dict[str, Estimate | list[Estimate]]


def evaluate(
    model: Model, data: Dataset, *, split: Split | None = None, samples: int = 1000, memory: int = MEMORY, seed: int = 0
) -> Figures:
    """Every figure that applies to the model and the data.

    Args:
        data: its training rows and labels serve the probes.
        split: the rows to evaluate; None takes `data.test`.
        samples: K of the importance-sampled log p(x).
        memory, seed: see `log_likelihood_per_example`.

    Returns:
        For a model with a likelihood elbo, log_likelihood, effective_samples, kl, distortion, active_units,
        bits_per_dim (where data and likelihood are discrete), kl_per_dim and, for a code in layers, kl_per_layer
        (lists); for others distortion and active_units; for all reconstruction_error, and the probes where there are
        labels. A model with quantised codes has perplexity and codes_used in place of active_units, and no
        log_likelihood: its posterior is one code, so more draws say no more than elbo does.
    """
    rows = data.test if split is None else split
    if rows is None:
        raise DataError("evaluate: the data have no test rows")
    figures: Figures = {}
    quantised = isinstance(model, VQVAE)
    if model.has_likelihood:
        figures |= elbo(model, rows, samples=1 if quantised else 10, memory=memory, seed=seed)
        if not quantised:
            found = importance_sampling(model, rows, samples=samples, memory=memory, seed=seed)
            figures["log_likelihood"] = mean_log_likelihood(model, found, samples)
            figures["effective_samples"] = effective_draws(found, samples)
        if _is_discrete(model):
            figures["bits_per_dim"] = _bits_per_dim(figures, data.schema.size)
    else:
        figures["distortion"] = _plain_distortion(model, rows)
    figures["reconstruction_error"] = reconstruction_error(model, rows)
    figures |= codebook_usage(model, rows) if quantised else {"active_units": active_units(model, rows)}
    figures |= probes(model, Dataset(data.schema, data.train, test=rows))
    if model.has_likelihood:
        with contextlib.suppress(UsageError):  # where no dimension has a closed form the total alone stands in "kl"
            figures["kl_per_dim"] = kl_per_dim(model, rows, seed=seed)
        with contextlib.suppress(UsageError):  # a code without layers has none
            figures["kl_per_layer"] = kl_per_layer(model, rows, seed=seed)
    return figures


def to_json(figures: Figures) -> dict[str, Any]:
    """The form of `evaluation.json`: a key per figure, `kl_per_dim` and `kl_per_layer` lists."""
    return {k: [e.to_json() for e in v] if isinstance(v, list) else v.to_json() for k, v in figures.items()}


def reconstruction_error(model: Model, rows: Any) -> Estimate:
    """Mean squared difference per element between an example and its reconstruction."""
    split = check_rows(rows)
    with at_rest(model):
        errors = [(model.reconstruct(x, c) - x).square().flatten(1).mean(1).cpu() for x, c in batches(model, split)]
    return mean_of(torch.cat(errors), "squared error", "mean over elements, code at the posterior mean")


def _plain_distortion(model: Model, rows: Any) -> Estimate:
    split = check_rows(rows)
    with at_rest(model):
        values = [reconstruction(model, batch).distortion.cpu() for batch in batches(model, split)]
    return mean_of(torch.cat(values), "nats", "-log p(x|z) at the encoder's code")


def _is_discrete(model: Model) -> bool:
    origin = getattr(model, "origin", None)
    if not isinstance(origin, Origin) or "likelihood" not in origin.arguments:
        return False
    return choose_likelihood(origin.arguments["likelihood"], origin.schema) in DISCRETE


def _bits_per_dim(figures: Figures, size: int) -> Estimate:
    """From log p(x), or from the bound where that is all there is."""
    bound = "log_likelihood" not in figures
    nats = figures["elbo" if bound else "log_likelihood"]
    assert isinstance(nats, Estimate)
    how = "minus the bound in bits / dimensions" if bound else "-log2 p(x) / dimensions, importance sampling"
    return nats.scaled(-1 / (size * math.log(2)), "bits/dim", how)
