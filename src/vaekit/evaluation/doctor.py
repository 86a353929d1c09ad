"""The doctor: what is wrong with a trained model, each finding with its number, its cause and a fix.

    posterior_collapse    KL_d < 0.01 nats and Var_x E_q[z_d] <= 0.01 in more than 3/4 of the dimensions
                                                                               Burda et al., ICLR 2016; Lucas et al., NeurIPS 2019
    unused_dimensions     the same in fewer of them: a note
    aggregate_posterior   |m_d - mu_d| > 0.5 sigma_d, or v_d / sigma_d^2 outside [1/2, 2], with m, v the moments of q(z) and
                          mu, sigma^2 those of p(z)                            Rosca, Lakshminarayanan & Mohamed, 2018
    posterior_variance    log Var q(z_d|x) within 1 of the family's bounds, -16 and 8, for more than 1 % of the examples
    likelihood_support    examples that p(x|z) cannot produce, or a density on values that are levels
    likelihood_scale      E |x - E[x|z]|^2 / E Var[x|z] outside [1/4, 4]       Rybkin, Daniilidis & Levine, ICML 2021
    warm_up               the weight of the KL had not arrived when the training ended
    effective_beta        the loss was not minus the ELBO, but a weighted one
    overfitting           ELBO(train) - ELBO(validation) above 3 s.e. and a quarter of what was gained since the first epoch, of
                          20 validation rows or more
    underfitting          slope of the last quarter's validation ELBO above 3 s.e., worth more than the ELBO's own s.e.
    dead_codes            codebook entries that occur, below half of what equally frequent entries would show
    importance_sampling   bias (1 / e - 1 / K) / 2 above 0.05 nats, e the median of (sum_k w_k)^2 / sum_k w_k^2   Kong, 1992
    memorisation          a sample's nearest row is a training row, each row counted alike, in over 60 % (`repeating.py`)

Thresholds are those of the table, and a difference must also stand clear of its own noise. At most 2,000 rows of a split
are looked at, drawn with the seed; copies are sought among all training rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from vaekit.data import Dataset
from vaekit.errors import UsageError
from vaekit.evaluation.course import effective_beta, overfitting, underfitting, warm_up
from vaekit.evaluation.findings import Case, Finding
from vaekit.evaluation.outcome import dead_codes, importance_sampling, memorised
from vaekit.evaluation.rows import at_rest, check_dataset
from vaekit.evaluation.symptoms import (
    aggregate_posterior,
    likelihood_scale,
    likelihood_support,
    posterior_collapse,
    posterior_variance,
)
from vaekit.models.base import Model
from vaekit.models.examples import check_classes

CHECKS: tuple[Callable[[Case], Finding | None], ...] = (
    posterior_collapse,
    aggregate_posterior,
    posterior_variance,
    likelihood_support,
    likelihood_scale,
    warm_up,
    effective_beta,
    overfitting,
    underfitting,
    dead_codes,
    importance_sampling,
    memorised,
)
"""Every check, in the order in which their findings are told."""

_OF_NUMBERS = (likelihood_support, likelihood_scale, memorised)
"""Checks that ask how far apart two examples are, or in which range they lie; sentences have neither."""


def diagnose(
    model: Model,
    data: Dataset,
    *,
    history: Iterable[Mapping[str, Any]] = (),
    config: Mapping[str, Any] | None = None,
    evaluation: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> list[Finding]:
    """What is wrong with a model; an empty list where nothing was found.

    Args:
        data: what the model was trained on, with validation and test rows where there are any.
        history: what `fit` returned, or the records of metrics.jsonl; without it nothing is said of the training's course.
        config: options of the run, as in config.yaml: objective, beta, warm_up, epochs and the like.
        evaluation: figures in the form of evaluation.json.
        seed: of the choice of rows and of all draws.

    A check that does not apply to a model is left out. Raises RunError where a weight is not finite, UsageError for data that are
    no Dataset, DataError where they have other classes than the model.
    """
    check_dataset(data, "diagnose")
    check_classes(model, data.schema, "diagnose")
    case = Case(model, data, list(history), config or {}, evaluation or {}, seed)
    found = []
    with at_rest(model):
        for check in (c for c in CHECKS if data.schema.kind != "text" or c not in _OF_NUMBERS):
            torch.manual_seed(seed)
            with contextlib.suppress(NotImplementedError, UsageError):  # no such moment, density or closed form
                found.append(check(case))
    return [finding for finding in found if finding is not None]
