"""What the doctor checks of the use that is made of a model: codebook, log p(x) and samples; the table is in `doctor.py`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from vaekit.evaluation.codebook import Quantised, usage, vocabulary
from vaekit.evaluation.findings import Case, Finding, listed
from vaekit.evaluation.likelihood import MOST_BIAS, bias_of
from vaekit.evaluation.repeating import nearer_to_training, unit_of
from vaekit.evaluation.rows import batch_at, seeded_posterior
from vaekit.models.base import Model
from vaekit.networks.fsq import FiniteScalar


def dead_codes(case: Case) -> Finding | None:
    """Codebook entries that never occur."""
    if not case.model.quantised:
        return None
    size = vocabulary(case.model)
    levels = usage(case.model, case.train)
    used = [len(counts[0]) for counts in levels]
    # of so many draws from equally frequent entries, this many different ones are expected
    expected = size * -math.expm1(levels[0].sum() * math.log1p(-1 / size)) if size > 1 else 1.0
    if min(used) >= 0.5 * expected:
        return None
    return Finding(
        "dead_codes",
        {"used": used, "size": float(size), "expected": expected},
        f"only {listed(used)} of {size:,} codebook entries occur, where {expected:.0f} would if all were equally frequent",
        *_unused(case.model),
    )


def _unused(model: Model) -> tuple[str, str]:
    """Cause and fix of codebook entries that do not occur: learned vectors can be moved, rounded numbers cannot."""
    if isinstance(cast(Quantised, model).quantiser, FiniteScalar):
        return (
            "the numbers that the encoder rounds keep to a few of their values",
            "take fewer values or dimensions (fsq_values, latent_dim), which make a smaller codebook, or a lower learning rate",
        )
    return (
        "entries that no code came near were never moved",
        "restart dead entries and start them from the data, take a smaller codebook or a lower learning rate",
    )


def importance_sampling(case: Case) -> Finding | None:
    """Weights of which a few carry the whole estimate of log p(x)."""
    if not case.model.has_likelihood or case.model.quantised:
        return None
    draws = int((case.evaluation.get("log_likelihood") or {}).get("samples") or 200)
    known = case.evaluation.get("effective_samples")
    effective = known.get("value") if isinstance(known, Mapping) else None
    if effective is None:
        effective = float(_effective(case, draws).median())
    bias = bias_of(effective, draws)
    if bias <= MOST_BIAS:
        return None
    return Finding(
        "importance_sampling",
        {"effective_samples": float(effective), "samples": float(draws), "bias": bias},
        f"log p(x) from {draws:,} draws an example rests on {effective:.2g} effective ones, and is too low by {bias:.2g} "
        "nats or more",
        "q(z|x) is far from p(z|x), so a few lucky draws carry the estimate",
        "take more draws and see whether the estimate still rises, or a richer posterior; report the ELBO beside it",
    )


def memorised(case: Case) -> Finding | None:
    """Samples that are copies of training rows."""
    if not case.model.can_sample or case.data.test is None:
        return None
    held, n = case.held, len(case.held)
    c = batch_at(case.model, held, slice(None)).c
    fake = case.model.sample(n, c).cpu()
    # among all training rows: a copy is found only where its original is looked at
    train, unit = case.data.train.fixed(case.seed), unit_of(case.data.schema)
    share = nearer_to_training(fake, train, held.rows(slice(None)), unit=unit, seed=case.seed)[0]
    if share.standard_error is None or share.value < 0.6 + 3 * share.standard_error:
        return None
    return Finding(
        "memorisation",
        {"share": share.value, "standard_error": share.standard_error},
        f"the row nearest to a sample is one that was trained on in {100 * share.value:.0f} ± {100 * share.standard_error:.1g} "
        "of 100 cases, where it would be in 50 if samples owed no row more than another",
        "samples repeat training rows",
        "stop earlier, take a smaller network or more data; do not publish samples of private data",
    )


def _effective(case: Case, draws: int) -> Tensor:
    """(B,) effective draws of `draws` importance weights, for as many rows as 64,000 weights allow, 8 to 64."""
    batch = batch_at(case.model, case.held, slice(0, min(64, max(8, 64_000 // draws))))
    q = seeded_posterior(case.model, batch, case.seed)
    parts = [case.model.draw(*batch, min(100, draws - at), q).log_w for at in range(0, draws, 100)]
    log_w = torch.cat(parts).double()
    return (2 * log_w.logsumexp(0) - (2 * log_w).logsumexp(0)).exp()
