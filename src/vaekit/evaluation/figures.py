"""The figures of `evaluate`, a function for each group: it answers for the models it applies to, with {} for others."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from vaekit.data import Dataset, Split
from vaekit.distributions.likelihoods import DISCRETE, choose_likelihood
from vaekit.errors import UsageError
from vaekit.evaluation.codebook import codebook_usage
from vaekit.evaluation.estimate import Estimate, mean_of
from vaekit.evaluation.features import Features
from vaekit.evaluation.latent import active_units, kl_per_dim, kl_per_layer
from vaekit.evaluation.likelihood import (
    Bound,
    Importance,
    effective_draws,
    elbo_figures,
    elbo_per_example,
    importance_sampling,
    mean_log_likelihood,
)
from vaekit.evaluation.probes import probes
from vaekit.evaluation.rows import MEMORY, at_rest, batches, check_examples
from vaekit.models.base import Model
from vaekit.models.recipes import Origin
from vaekit.objectives import reconstruction

Figures = dict[str, Estimate | list[Estimate]]


@dataclass(frozen=True)
class Question:
    """What is asked: the figures of a `model` on `rows`; the arguments of `evaluate`."""

    model: Model
    data: Dataset
    rows: Split
    samples: int = 1000
    memory: int = MEMORY
    seed: int = 0
    features: Features | None = None
    two_sample: bool = False
    gap_rows: int = 0
    annealed_rows: int = 0
    temperatures: int = 500
    standard_error: float | None = None

    @cached_property
    def bound(self) -> Bound:
        """Rate and distortion of every row."""
        return elbo_per_example(self.model, self.rows, samples=self.bound_draws, memory=self.memory, seed=self.seed)

    @property
    def bound_draws(self) -> int:
        """L of the bound: one where all draws are the same code, or there is none."""
        return 1 if self.model.quantised or not self.model.latent_dim else 10

    @cached_property
    def importance(self) -> Importance:
        """log p(x) and effective draws of every row."""
        return importance_sampling(
            self.model,
            self.rows,
            samples=self.samples,
            standard_error=self.standard_error,
            memory=self.memory,
            seed=self.seed,
        )


def likelihood(asked: Question) -> Figures:
    """The bound and its terms, log p(x), and bits per dimension; for models with a likelihood."""
    model = asked.model
    if not model.has_likelihood:
        return {}
    figures: Figures = {}
    figures |= elbo_figures(asked.bound, asked.bound_draws)
    if not model.quantised:
        figures["log_likelihood"] = mean_log_likelihood(model, asked.importance, asked.samples)
        if model.latent_dim:
            figures["effective_samples"] = effective_draws(asked.importance, asked.samples)
    if _is_discrete(model):
        figures["bits_per_dim"] = _bits_per_dim(figures, asked.data.schema.size)
    return figures


def plain_distortion(asked: Question) -> Figures:
    """-log p(x|z) at the encoder's code, where the bound does not hold it already."""
    if asked.model.has_likelihood or not asked.model.has_posterior:
        return {}
    split = check_examples(asked.model, asked.rows)
    with at_rest(asked.model):
        values = [reconstruction(asked.model, batch).distortion.cpu() for batch in batches(asked.model, split)]
    return {"distortion": mean_of(torch.cat(values), "nats", f"-log p({asked.model.observes}|z) at the encoder's code")}


def reconstructed(asked: Question) -> Figures:
    """Squared error of reconstructions."""
    if not asked.model.has_posterior or asked.data.schema.kind == "text":
        return {}
    return {"reconstruction_error": reconstruction_error(asked.model, asked.rows)}


def code_usage(asked: Question) -> Figures:
    """Active units, or how much of a codebook is used."""
    if not asked.model.has_posterior:
        return {}
    figures: Figures = {}
    if asked.model.quantised:
        figures |= codebook_usage(asked.model, asked.rows)
    elif asked.model.latent_dim:
        figures["active_units"] = active_units(asked.model, asked.rows)
    return figures


def probed(asked: Question) -> Figures:
    """Accuracy of simple classifiers of the codes and of the examples, where there are labels."""
    if not asked.model.has_posterior or asked.data.schema.kind == "text":
        return {}
    return dict(probes(asked.model, Dataset(asked.data.schema, asked.data.train, test=asked.rows)))


def kl_parts(asked: Question) -> Figures:
    """The KL of each dimension and of each layer, where there is a closed form or a layer."""
    model, figures = asked.model, Figures()
    if not model.has_likelihood or not model.latent_dim:
        return figures
    with contextlib.suppress(UsageError):  # where no dimension has a closed form the total alone stands in "kl"
        figures["kl_per_dim"] = kl_per_dim(model, asked.rows, seed=asked.seed)
    with contextlib.suppress(UsageError):  # a code without layers has none
        figures["kl_per_layer"] = kl_per_layer(model, asked.rows, seed=asked.seed)
    return figures


def reconstruction_error(model: Model, rows: Any) -> Estimate:
    """Mean squared difference per element between an example and its reconstruction."""
    split = check_examples(model, rows)
    with at_rest(model):
        errors = [(model.reconstruct(x, c) - x).square().flatten(1).mean(1).cpu() for x, c in batches(model, split)]
    return mean_of(torch.cat(errors), "squared error", "mean over elements, code at the posterior mean")


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
    how = "minus the bound in bits / dimensions" if bound else f"-log2 p(x) / dimensions, {nats.estimator}"
    return nats.scaled(-1 / (size * math.log(2)), "bits/dim", how)
