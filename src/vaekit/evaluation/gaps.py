"""Where a bound loses: the approximation gap and the amortisation gap (Cremer, Li & Duvenaud, ICML 2018).

    log p(x) - L(q) = [log p(x) - L(q*)]  +  [L(q*) - L(q)],     L(q) = E_q log p(x, z) / q(z)
      inference gap   approximation gap      amortisation gap

q is the encoder's Gaussian, q* the best diagonal Gaussian for that one example, found from q with the decoder fixed. A large
first term asks for a richer posterior, a large second one for a better encoder. log p(x) - L(q) = KL(q, p(z | x)).

q* is sought by Adam on mean and log-variance, by gradients along the path alone (Roeder, Wu & Duvenaud, NeurIPS 2017),
whose noise vanishes where q* is exact; elsewhere it leaves q* short by a few thousandths of a nat (0.002 on the linear
models of the tests), which count as approximation gap. With K fresh draws from q*,

    log p(x) ~ log 1/K sum_k w_k,   L(q*) ~ 1/K sum_k log w_k,   w_k = p(x, z_k) / q*(z_k)

so the approximation gap is at least 0 for every example, by Jensen. Where q* is far from p(z | x) the first average falls
short of log p(x) in expectation, and the approximation gap with it.
"""

from __future__ import annotations

import math
from typing import Any, TypeGuard

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from vaekit.data import Batch
from vaekit.distributions.seeded import RowSeeded, row_seeds
from vaekit.distributions.wrapped import PathDerivative
from vaekit.errors import UsageError
from vaekit.evaluation.estimate import Estimate, mean_of
from vaekit.evaluation.figures import Figures, Question
from vaekit.evaluation.memory import bytes_per_draw
from vaekit.evaluation.rows import MEMORY, at_rest, batch_at, check_examples, check_likelihood, largest
from vaekit.models.base import Model
from vaekit.models.recipes import Origin

_DRAWS = 8
"""Draws of z for each example in a step of the search."""

_HELD = 8
"""How much more a draw takes in the search than in an evaluation: every layer's output is kept for the gradient."""

_RATE = 0.05
"""Adam's first step size; it falls to 0 along half a cosine, so that the search ends without noise."""


def gaps(
    model: Model, rows: Any, *, most: int = 100, steps: int = 500, samples: int = 1000, seed: int = 0
) -> dict[str, Estimate]:
    """Approximation, amortisation and inference gap in nats; the first two sum to the third.

    Args:
        rows: a Split, or an array or tensor (n, *shape).
        most: rows that are used at most, chosen by `seed`.
        steps: of the search for each example's own q.
        samples: K, draws from each q behind the figures.
        seed: of the choice of rows and of the draws. A row's figures do not depend on its company.

    Returns:
        "approximation_gap", "amortisation_gap" and "inference_gap", with standard errors over rows. The search knows no
        bounds on the log-variance, the encoder does.

    Raises UsageError for a model without a likelihood or a code, or whose posterior is no diagonal Gaussian.
    """
    check_gaps(model, rows)
    for name, value in (("most", most), ("steps", steps), ("samples", samples)):
        if value < 1:
            raise UsageError(f"gaps: {name} {value}: expected at least 1")
    split = check_examples(model, rows)
    index = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed))[:most].sort().values
    found = []
    with at_rest(model):
        cost = bytes_per_draw(model, largest(model, split.take(index)))
        for chosen in index.split(max(1, MEMORY // (_HELD * _DRAWS * cost))):
            batch = batch_at(model, split, chosen)
            found.append(_gaps(model, batch, steps, samples, max(1, MEMORY // (cost * len(chosen))), seed))
    approximation, amortisation = torch.cat(found, 1)
    how = f"{steps} steps of Adam for each q*, K draws of each q"
    return {
        "approximation_gap": mean_of(approximation, "nats", f"{how}; log p(x) by importance from q*", samples),
        "amortisation_gap": mean_of(amortisation, "nats", how, samples),
        "inference_gap": mean_of(
            approximation + amortisation, "nats", f"{how}; log p(x) by importance from q*", samples
        ),
    }


def check_gaps(model: Model, rows: Any) -> None:
    """Raise UsageError for a model without a likelihood or a code, or whose posterior is no diagonal Gaussian."""
    check_likelihood(model, "gaps")
    if not model.latent_dim:
        raise UsageError("gaps: this model has no code, so its log p(x) is exact; leave them out")
    with at_rest(model):
        batch = batch_at(model, check_examples(model, rows), slice(0, 1))
        q = model.posterior(batch.x, batch.c)
    if not _is_diagonal(q):
        origin = getattr(model, "origin", None)
        offered = isinstance(origin, Origin) and "posterior" in origin.arguments
        advice = "take posterior diagonal" if offered else f"that of {type(model).__name__} is none; leave them out"
        raise UsageError(f"gaps: needs a diagonal Gaussian posterior; {advice}")


def gaps_of_some(asked: Question) -> Figures:
    """The gaps of as many rows as were asked for."""
    if not asked.gap_rows:
        return {}
    return dict(gaps(asked.model, asked.rows, most=asked.gap_rows, samples=asked.samples, seed=asked.seed))


def _gaps(model: Model, batch: Batch, steps: int, samples: int, chunk: int, seed: int) -> Tensor:
    """Approximation and amortisation gap of every row, (2, B) float64."""
    q = model.posterior(batch.x, batch.c)
    best = best_gaussian(model, batch, q, steps=steps, seed=seed)
    # the same noise for both, and other noise than the search's
    seeds = row_seeds(batch.x, seed + 1)
    _, bound = _log_weights(model, batch, RowSeeded(q, seeds), samples, chunk)
    log_px, highest = _log_weights(model, batch, RowSeeded(best, seeds), samples, chunk)
    return torch.stack([log_px - highest, highest - bound])


def best_gaussian(model: Model, batch: Batch, q: Distribution, *, steps: int = 500, seed: int = 0) -> Distribution:
    """The diagonal Gaussians q* (B,) over D latent dimensions of highest ELBO, one for each row, sought from q.

    No parameter of the model moves or gathers a gradient. Raises UsageError where q is no diagonal Gaussian.
    """
    if not _is_diagonal(q):
        raise UsageError("best_gaussian: expected a diagonal Gaussian to begin with")
    base = q.base_dist
    mean, log_variance = (t.detach().clone().requires_grad_() for t in (base.loc, 2 * base.scale.log()))
    adam = torch.optim.Adam([mean, log_variance], lr=_RATE)
    seeded = RowSeeded(q, row_seeds(batch.x, seed))
    with torch.enable_grad():
        for step in range(steps):
            seeded.become(_gaussian(mean, log_variance))
            log_w = model.draw(*batch, _DRAWS, PathDerivative(seeded)).log_w
            # rows are added up, so that each moves as it would alone
            mean.grad, log_variance.grad = torch.autograd.grad(-log_w.mean(0).sum(), (mean, log_variance))
            adam.param_groups[0]["lr"] = _RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
            adam.step()
    return _gaussian(mean.detach(), log_variance.detach())


def _is_diagonal(q: Distribution) -> TypeGuard[Independent]:
    """Whether q is independent Gaussians, one for each dimension of a code."""
    return isinstance(q, Independent) and isinstance(q.base_dist, Normal) and q.reinterpreted_batch_ndims == 1


def _gaussian(mean: Tensor, log_variance: Tensor) -> Distribution:
    return Independent(Normal(mean, (0.5 * log_variance).exp(), validate_args=False), 1, validate_args=False)


def _log_weights(model: Model, batch: Batch, q: Distribution, samples: int, chunk: int) -> tuple[Tensor, Tensor]:
    """log 1/K sum_k w_k and 1/K sum_k log w_k of every row, (B,) float64 each."""
    log_sum, total = torch.tensor(-math.inf).double(), torch.tensor(0.0).double()
    for start in range(0, samples, chunk):
        log_w = model.draw(*batch, min(chunk, samples - start), q).log_w.double().cpu()
        log_sum, total = torch.logaddexp(log_sum, log_w.logsumexp(0)), total + log_w.sum(0)
    return log_sum - math.log(samples), total / samples
