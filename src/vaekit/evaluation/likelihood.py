"""How well a model describes examples: the ELBO with its terms, and log p(x) by importance sampling.

ELBO            E_q[log p(x|z)] - KL(q(z|x), p(z))              <= log p(x)
IWAE bound      E log 1/K sum_k p(x, z_k) / q(z_k|x)            between the two, rising with K
log p(x) by IS  the same average, read as an estimate: its weights are unbiased for p(x), and its bias in nats
                vanishes like 1/K (Burda, Grosse & Salakhutdinov, ICLR 2016)
effective draws (sum_k w_k)^2 / sum_k w_k^2, between 1 and K: how many of the K weights count (Kong, 1992)
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vaekit.data import Batch
from vaekit.errors import UsageError
from vaekit.evaluation.estimate import Estimate, mean_of, median_of
from vaekit.evaluation.memory import bytes_per_draw
from vaekit.evaluation.rows import (
    MEMORY,
    ROWS,
    at_rest,
    batch_at,
    batches,
    check_examples,
    check_likelihood,
    largest,
    seeded_posterior,
)
from vaekit.evaluation.threads import shared_out
from vaekit.evaluation.weighing import FIRST_LOOK, Weights, standard_errors, weigh
from vaekit.models.base import Model
from vaekit.objectives import elbo as elbo_objective
from vaekit.objectives.draw import check_count
from vaekit.priors import leaves_box

_CACHE = 12 * 2**20
"""Bytes of a chunk that a processor's cache holds most of: on two Xeons a draw took 5.7 us with it, 7.5 with 32 MiB and 9.8
with 4. An accelerator is better off with as much as there is."""

_CACHE_AMONG_THREADS = 24 * 2**20
"""The same where threads take turns with the interpreter, which they must after every chunk's every operation: on two cores
4.1 us with it, 4.7 to 7.3 with 12 MiB."""

_FEWEST = 64
"""Draws that are worth a chunk, in the cache or not."""

MOST_BIAS = 0.05
"""Nats that the median example's log p(x) may be too low by before the figure is not to be trusted."""

TOO_FEW = "too few effective draws to trust it"
"""Said by a mean log p(x) whose weights are carried by a few draws."""

_CODED, _ONE_CODE = "code length -log p(codes)", "bound by the one code of q(z|x), not log p(x)"
_CLOSED, _SAMPLED, _LAYERED = "closed-form KL", "sampled KL", "KL by layers, in closed form where there is one"


def elbo(model: Model, rows: Any, *, samples: int = 10, memory: int = MEMORY, seed: int = 0) -> dict[str, Estimate]:
    """The evidence lower bound at beta = 1 and its terms.

    Args:
        rows: a Split, or an array or tensor (n, *shape).
        samples: L, draws of z for each example.
        memory: bytes that the largest intermediate results may take at a time.
        seed: of the draws.

    Returns:
        Estimates in nats: "elbo" = -("kl" + "distortion").
    """
    return elbo_figures(elbo_per_example(model, rows, samples=samples, memory=memory, seed=seed), samples)


def elbo_figures(found: Bound, samples: int) -> dict[str, Estimate]:
    """The means of what `elbo_per_example` found."""
    rate, distortion, how = found
    return {
        "elbo": mean_of(-(rate + distortion), "nats", f"evidence lower bound, {how}", samples),
        "kl": mean_of(rate, "nats", how, None if how in (_CLOSED, _CODED) else samples),
        "distortion": mean_of(distortion, "nats", "-E_q[log p(x|z)]", samples),
    }


class Bound(NamedTuple):
    """Rate and distortion of each example in nats, (n,) float64 each, and how the rate was found; the ELBO is minus both."""

    rate: Tensor
    distortion: Tensor
    how: str


def elbo_per_example(model: Model, rows: Any, *, samples: int = 10, memory: int = MEMORY, seed: int = 0) -> Bound:
    """The terms of the bound for every example; see `elbo` for the arguments."""
    check_likelihood(model, "elbo")
    _check_samples(samples, memory)
    split = check_examples(model, rows)
    rates, distortions, how = [], [], ""
    with at_rest(model):
        cost = bytes_per_draw(model, largest(model, split))
        for batch in batches(model, split, max(1, min(ROWS, memory // (cost * samples)))):
            seeded = _Seeded(model, seeded_posterior(model, batch, seed))
            terms = elbo_objective(seeded, batch, samples=samples)
            how = seeded.how
            rates.append(terms.rate.double().cpu())
            distortions.append(terms.distortion.double().cpu())
    return Bound(torch.cat(rates), torch.cat(distortions), how)


class _Seeded:
    """A model whose draws come from a given posterior: what an objective sees during an evaluation."""

    def __init__(self, model: Model, q: Any) -> None:
        self.model, self.q, self.how = model, q, ""

    def draw(self, x: Tensor, c: Tensor | None = None, samples: int = 1):  # type: ignore[no-untyped-def]
        draw = self.model.draw(x, c, samples, self.q)
        layered = draw.kl_per_layer is not None
        self.how = _SAMPLED if draw.kl is None else _LAYERED if layered else _CLOSED
        if self.model.quantised:
            self.how = _CODED
        return draw


def log_likelihood_per_example(
    model: Model,
    rows: Any,
    *,
    samples: int = 1000,
    standard_error: float | None = None,
    memory: int = MEMORY,
    seed: int = 0,
) -> Tensor:
    """log p(x) of every example by importance sampling from q(z|x), (n,) float64 in nats.

    Args:
        rows: a Split, or an array or tensor (n, *shape).
        samples: K, exactly that many draws for each example; with a `standard_error` at most so many.
        standard_error: nats. A row takes the first of 128, 256, 512, ... draws after which the standard error of its own
            log p(x) is no larger, and is judged by as many fresh ones: draws that told it to stop would flatter it.
            `importance_sampling` says how many it is judged by; the logarithm is too low by about standard_error^2 / 2.
        memory: bytes that the largest intermediate results may take at a time; rows and draws are divided to fit.
        seed: of the draws. A row's result depends on the row, the model, K and the seed, not on its company.
    """
    return importance_sampling(
        model, rows, samples=samples, standard_error=standard_error, memory=memory, seed=seed
    ).log_px


class Importance(NamedTuple):
    """What weighted draws say of each example.

    log_px: (n,) log p(x) in nats. effective: (n,) effective number of draws. draws: (n,) how many it rests on (as many were
    made before, to find that number), None where it is K for all. wanted: the standard error asked for. Tensors are float64.
    """

    log_px: Tensor
    effective: Tensor
    draws: Tensor | None = None
    wanted: float | None = None

    def made(self, samples: int) -> int:
        """Draws of the median example where at most `samples` were asked for."""
        return samples if self.draws is None else int(self.draws.median())


def importance_sampling(
    model: Model,
    rows: Any,
    *,
    samples: int = 1000,
    standard_error: float | None = None,
    memory: int = MEMORY,
    seed: int = 0,
) -> Importance:
    """log p(x) and effective draws of every example in one pass; see `log_likelihood_per_example` for the arguments."""
    check_likelihood(model, "log_likelihood")
    _check_samples(samples, memory)
    if standard_error is not None and not 0 < standard_error < math.inf:
        raise UsageError(f"standard_error {standard_error}: expected a number of nats above 0")
    split = check_examples(model, rows)
    with at_rest(model):
        first = largest(model, split)
        threads = _threads(model, first)
        at_once = _draws_at_once(model, first, memory, threads)
        least = samples if standard_error is None else min(max(1, samples // 2), FIRST_LOOK)

        def work(part: slice) -> Weights:
            return weigh(model, batch_at(model, split, part), samples, at_once, seed, standard_error)

        found = shared_out(work, len(split), max(1, min(ROWS, at_once // least)), threads)
    made = None if standard_error is None else torch.cat([w.made for w in found])
    return Importance(
        torch.cat([w.log_px for w in found]), torch.cat([w.effective for w in found]), made, standard_error
    )


def _threads(model: Model, first: Batch) -> int:
    """Threads that rows can be shared out among: one where the noise is torch's own, or an accelerator computes."""
    quick = first.x.device.type == "cpu" and seeded_posterior(model, first, 0).has_streams
    return torch.get_num_threads() if quick else 1


def _draws_at_once(model: Model, first: Batch, memory: int, threads: int) -> int:
    """Draws, of all rows together, that a thread takes through the decoder at a time; `first` is a row."""
    cost, own = bytes_per_draw(model, first), memory // threads
    best = _CACHE if threads == 1 else _CACHE_AMONG_THREADS
    within = min(own, max(best, _FEWEST * cost)) if first.x.device.type == "cpu" else own
    return max(1, within // cost)


def effective_sample_size(
    model: Model, rows: Any, *, samples: int = 1000, memory: int = MEMORY, seed: int = 0
) -> Estimate:
    """Effective draws of the median example, in draws; see `log_likelihood_per_example` for the arguments."""
    found = importance_sampling(model, rows, samples=samples, memory=memory, seed=seed)
    return effective_draws(found, samples)


def effective_draws(found: Importance, samples: int) -> Estimate:
    """Of the median example among those that `importance_sampling` found; its estimator says where they are too few."""
    made = samples if found.draws is None else round(float(found.draws.mean()))
    middle = median_of(found.effective, "draws", "median of (sum w)^2 / sum w^2", made)
    too_few = trust(middle.value, found.made(samples)) is not None
    return replace(middle, estimator=f"{middle.estimator}, too few to trust log p(x)") if too_few else middle


def bias_of(ess: float, samples: int) -> float:
    """Nats that the logarithm of the mean of K weights is too low by, about: (1 / ess - 1 / K) / 2."""
    return 0.5 * (1 / ess - 1 / samples)


def trust(ess: float, samples: int) -> str | None:
    """What is wrong where importance sampling had too few effective draws, None where it can be trusted.

    The logarithm of the mean of K weights is too low by about (1 / ess - 1 / K) / 2 nats (the delta method), and with few
    effective draws by more, since the large weights that are missing would have lowered ess: the limit is `MOST_BIAS`.

    Args:
        ess: effective draws of the median example.
        samples: K.
    """
    if samples == 1:
        return "importance sampling: one draw for each example says nothing of its own error; take more samples"
    bias = bias_of(ess, samples)
    if bias <= MOST_BIAS:
        return None
    return (
        f"importance sampling: the median example has {ess:.1f} effective draws of {samples:,}, so log p(x) is too low by "
        f"{bias:.2g} nats or more; take more samples, or annealed importance sampling"
    )


def log_likelihood(
    model: Model,
    rows: Any,
    *,
    samples: int = 1000,
    standard_error: float | None = None,
    memory: int = MEMORY,
    seed: int = 0,
) -> Estimate:
    """Mean log p(x) in nats by importance sampling; see `log_likelihood_per_example` for the arguments.

    Where the posterior is a single code (VQ-VAE) every draw is the same, and the figure is the bound, whatever K is; where
    it is a box and the prior is wider, it is one of the part of p(x) that lies in the box. Its estimator says so.
    """
    found = importance_sampling(model, rows, samples=samples, standard_error=standard_error, memory=memory, seed=seed)
    return mean_log_likelihood(model, found, samples)


def mean_log_likelihood(model: Model, found: Importance, samples: int) -> Estimate:
    """The mean over the examples of what `importance_sampling` found; its `samples` the mean number where rows stopped."""
    if not model.latent_dim:
        return mean_of(found.log_px, "nats", "exact, the model has no code")
    told = bool(model.condition_dim) and not model.condition_optional
    drawn = "importance sampling from q(z|x,c), of log p(x|c)" if told else "importance sampling from q(z|x)"
    how = _ONE_CODE if model.quantised else drawn + _short_of(model)
    if not model.quantised and trust(float(found.effective.median()), found.made(samples)) is not None:
        how += f", {TOO_FEW}"
    if found.draws is None or found.wanted is None:
        return mean_of(found.log_px, "nats", how, samples)
    least, most = (f"{int(k):,}" for k in (found.draws.min(), found.draws.max()))
    how += (
        f", stopped at s.e. {found.wanted:g} nats an example: {least} to {most} draws after as many to find the number"
    )
    over = int((standard_errors(found.effective, found.draws) > found.wanted).sum())
    how += f" ({over:,} came out above it)" if over else ""
    return mean_of(found.log_px, "nats", f"{how}, on average", round(float(found.draws.mean())))


def _short_of(model: Model) -> str:
    """What the estimator of log p(x) adds where the draws cannot reach all of p(z)."""
    parts = getattr(model, "encoder", None), getattr(model, "prior", None)
    boxed = isinstance(parts[0], nn.Module) and leaves_box(parts[0], parts[1])
    return ", a lower bound: p(z) reaches out of the box of q(z|x)" if boxed else ""


def iwae_bound(model: Model, rows: Any, *, samples: int = 50, memory: int = MEMORY, seed: int = 0) -> Estimate:
    """The importance-weighted bound of K = `samples` draws, in nats: at least the ELBO, at most log p(x)."""
    values = log_likelihood_per_example(model, rows, samples=samples, memory=memory, seed=seed)
    return mean_of(values, "nats", "importance-weighted bound", samples)


def _check_samples(samples: int, memory: int) -> None:
    check_count("samples", samples)
    if memory < 1:
        raise UsageError(f"memory {memory}: expected a positive number of bytes")
