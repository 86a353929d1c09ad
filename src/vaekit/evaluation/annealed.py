"""log p(x) by annealed importance sampling, and between two bounds on simulated data by running it both ways.

Neal, "Annealed importance sampling", Statistics and Computing 2001; Wu, Burda, Salakhutdinov & Grosse, "On the
quantitative analysis of decoder-based generative models", ICLR 2017; Grosse, Ghahramani & Adams, "Sandwiching the marginal
likelihood using bidirectional Monte Carlo", 2015.

    log f_b(z) = log f_0(z) + b r(z),   f_0 = p(z) or q(z|x),   r(z) = log p(x, z) - log f_0(z),   0 = b_0 < ... < b_T = 1
    z_0 ~ f_0,   z_t ~ a move that keeps f_{b_t},   log w = sum_t (b_t - b_{t-1}) r(z_{t-1})
    forward    E w = p(x):       log 1/K sum_k w_k      <= log p(x) on average
    reverse    E 1/w = 1/p(x):   -log 1/K sum_k 1/w_k   >= log p(x) on average, from z_{T-1} ~ p(z|x) back to z_0

The chains are those of `chains.py`.

Started from a q(z|x) that is narrower than p(z|x), as that of an untrained encoder may be, w has so heavy a tail that most of its
mean is in chains that never come: the estimate is then too low by more than the spread of the weights or their effective
number show (a nat at T = 1, a tenth at T = 60 on such a model, with 4,000 chains). The prior, which covers p(z|x), has no such trap.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor

from vaekit.data import Batch
from vaekit.errors import UsageError
from vaekit.evaluation.chains import PILOTS, Path, Start, forward, reverse, row, schedule
from vaekit.evaluation.estimate import Estimate, mean_of
from vaekit.evaluation.figures import Figures, Question
from vaekit.evaluation.likelihood import Importance, effective_draws, importance_sampling
from vaekit.evaluation.memory import bytes_per_draw
from vaekit.evaluation.rows import MEMORY, ROWS, at_rest, batches, check_examples, check_likelihood, largest
from vaekit.models.base import LatentModel, Model
from vaekit.models.factorvae import FactorVAE


def annealed_log_weights(
    model: Model,
    rows: Any,
    *,
    chains: int = 16,
    temperatures: int = 500,
    leapfrog: int = 10,
    start: Start = "prior",
    memory: int = MEMORY,
    seed: int = 0,
) -> Tensor:
    """log w of every chain and example, (K, n) float64 in nats: each w is an unbiased estimate of p(x).

    Args:
        rows: a Split, or an array or tensor (n, *shape).
        chains: K, independent chains for each example.
        temperatures: T, steps from f_0 to the posterior; T = 1 is importance sampling from f_0.
        leapfrog: leapfrog steps of each transition.
        start: f_0 is the "prior", or the "posterior" q(z|x), which needs fewer temperatures where it is good.
        memory: bytes that the largest intermediate results may take at a time: rows are divided to fit, down to all chains
            of one row.
        seed: of the chains. A row's result depends on the row, the model and these arguments, not on its company.

    Raises UsageError for a model without a likelihood or without a continuous code. Neal (2001).
    """
    _check(model, chains, temperatures, leapfrog, start, memory)
    split, betas, found = check_examples(model, rows), schedule(temperatures), []
    model = _played(model)
    with at_rest(model):
        size = _rows_at_a_time(model, largest(model, split), chains, memory)
        for batch in batches(model, split, size):
            path = Path(model, batch, start)
            found.append(forward(path, betas, chains, leapfrog, seed)[0].cpu())
    return torch.cat(found, 1)


def annealed_importance_sampling_per_example(
    model: Model,
    rows: Any,
    *,
    chains: int = 16,
    temperatures: int = 500,
    leapfrog: int = 10,
    start: Start = "prior",
    memory: int = MEMORY,
    seed: int = 0,
) -> Tensor:
    """log p(x) of every example, (n,) float64 in nats; for the arguments see `annealed_log_weights`."""
    log_w = annealed_log_weights(
        model,
        rows,
        chains=chains,
        temperatures=temperatures,
        leapfrog=leapfrog,
        start=start,
        memory=memory,
        seed=seed,
    )
    return log_w.logsumexp(0) - math.log(chains)


def annealed_importance_sampling(
    model: Model,
    rows: Any,
    *,
    chains: int = 16,
    temperatures: int = 500,
    leapfrog: int = 10,
    start: Start = "prior",
    memory: int = MEMORY,
    seed: int = 0,
) -> Estimate:
    """Mean log p(x) in nats by annealed importance sampling, a lower bound on average that closes as T and K grow.

    For the arguments see `annealed_log_weights`. The standard error is over examples.
    """
    values = annealed_importance_sampling_per_example(
        model,
        rows,
        chains=chains,
        temperatures=temperatures,
        leapfrog=leapfrog,
        start=start,
        memory=memory,
        seed=seed,
    )
    return mean_of(values, "nats", _how("annealed importance sampling", start, temperatures, leapfrog), chains)


def bidirectional(
    model: Model,
    *,
    n: int = 100,
    conditions: Tensor | None = None,
    chains: int = 16,
    temperatures: int = 500,
    leapfrog: int = 10,
    start: Start = "prior",
    memory: int = MEMORY,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Two bounds on the mean log p(x) of examples simulated from the model, by annealing there and back.

    The z that an example was made from is an exact draw from p(z|x): reverse chains start there, and their bound is an upper
    one. The gap says how far annealed importance sampling with these arguments can be off on the model's own data
    (Grosse et al., 2015); it says nothing of real data that the model would never make.

    Args:
        n: examples to simulate.
        conditions: (n, C), for a model that takes conditions.
        chains, temperatures, leapfrog, start, memory, seed: see `annealed_log_weights`; both directions use the same.

    Returns:
        "lower", "upper" and "gap", their difference, in nats.
    """
    _check(model, chains, temperatures, leapfrog, start, memory)
    model = _played(model)
    _check_conditions(model, n, conditions)
    betas, lower, upper = schedule(temperatures), [], []
    with at_rest(model):
        z, whole = _simulated(model, n, conditions, seed)
        size = _rows_at_a_time(model, whole, chains, memory)
        for i in range(0, n, size):
            path = Path(model, row(whole, slice(i, i + size)), start)
            there, sizes = forward(path, betas, chains, leapfrog, seed)
            back = reverse(path, z[i : i + size].expand(chains, -1, -1), betas, sizes, leapfrog, seed)
            lower.append(there.cpu().logsumexp(0) - math.log(chains))
            upper.append(math.log(chains) - (-back.cpu()).logsumexp(0))
    below, above = torch.cat(lower), torch.cat(upper)
    how = _how("annealed importance sampling of simulated data", start, temperatures, leapfrog)
    return {
        "lower": mean_of(below, "nats", f"{how}, forward", chains),
        "upper": mean_of(above, "nats", f"{how}, reverse", chains),
        "gap": mean_of(above - below, "nats", f"{how}, reverse less forward", chains),
    }


def annealed(asked: Question) -> Figures:
    """log p(x) of some rows by annealing, beside importance sampling of the same rows, and bounds on simulated examples.

    "annealed_log_likelihood" and "annealed_effective" (chains); "annealed_gain", what importance sampling falls short of it
    on the same rows; "simulated_lower", "simulated_upper" and "simulated_gap" of `bidirectional`.
    """
    if not asked.annealed_rows:
        return {}
    model, split, temperatures, memory, seed = asked.model, asked.rows, asked.temperatures, asked.memory, asked.seed
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed))
    some = split.take(order[: asked.annealed_rows].sort().values)
    log_w = annealed_log_weights(model, some, temperatures=temperatures, memory=memory, seed=seed)
    found = Importance(*mean_and_effective(log_w))
    text = _how("annealed importance sampling", "prior", temperatures, 10)
    sampled = importance_sampling(model, some, samples=asked.samples, memory=memory, seed=seed).log_px
    # simulated examples are told what as many rows are
    c = split.condition(order[: len(some)], model.condition_dim)
    both = bidirectional(model, n=len(some), conditions=c, temperatures=temperatures, memory=memory, seed=seed)
    figures: Figures = {
        "annealed_log_likelihood": mean_of(found.log_px, "nats", text, len(log_w)),
        "annealed_effective": effective_draws(found, len(log_w)),
        "annealed_gain": mean_of(
            found.log_px - sampled,
            "nats",
            f"{text}, less importance sampling with {asked.samples:,} draws, same rows",
            len(log_w),
        ),
    }
    return figures | {f"simulated_{name}": estimate for name, estimate in both.items()}


def mean_and_effective(log_w: Tensor) -> tuple[Tensor, Tensor]:
    """log 1/K sum_k w_k and (sum_k w_k)^2 / sum_k w_k^2 of weights (K, n), (n,) each."""
    total = log_w.logsumexp(0)
    return total - math.log(len(log_w)), (2 * total - (2 * log_w).logsumexp(0)).exp()


def _simulated(model: LatentModel, n: int, c: Tensor | None, seed: int) -> tuple[Tensor, Batch]:
    """Codes (n, D) from the prior and one example of each."""
    parameter = next(model.parameters())
    c = None if c is None else c.to(parameter)
    torch.manual_seed(seed)
    z = model.prior_codes(n, c)
    return z, Batch(model.decode(z, c).sample(), c)


def _rows_at_a_time(model: Model, batch: Batch, chains: int, memory: int) -> int:
    """Twice what a draw takes: a gradient keeps every layer's output."""
    return max(1, min(ROWS, memory // (2 * bytes_per_draw(model, batch) * max(chains, PILOTS))))


def _how(what: str, start: str, temperatures: int, leapfrog: int) -> str:
    law = "p(z)" if start == "prior" else "q(z|x)"
    return f"{what} from {law}, {temperatures:,} temperatures, {leapfrog} leapfrog steps"


def check_annealed(model: Model) -> None:
    """Raise UsageError for a model whose code has no density that could be annealed."""
    check_likelihood(model, "annealed importance sampling")
    if not model.latent_dim:
        raise UsageError("annealed importance sampling: this model has no code, so its log p(x) is exact; leave it out")
    if model.quantised:
        raise UsageError(
            f"annealed importance sampling: expected a continuous code with a prior density, got {type(model).__name__}; "
            "take elbo"
        )
    if not isinstance(_played(model), LatentModel):
        raise UsageError(
            f"annealed importance sampling: is not made for the code of {type(model).__name__}; take log_likelihood"
        )


def _played(model: Model) -> LatentModel:
    """The model itself; of a FactorVAE the VAE in it, whose density is its own: the critic only takes part in training."""
    return cast(LatentModel, model.vae if isinstance(model, FactorVAE) else model)


def _check(model: Model, chains: int, temperatures: int, leapfrog: int, start: str, memory: int) -> None:
    check_annealed(model)
    counts = {"chains": chains, "temperatures": temperatures, "leapfrog": leapfrog, "memory": memory}
    for name, value in counts.items():
        if value < 1:
            raise UsageError(f"annealed importance sampling: {name} {value}, expected at least 1")
    if start not in ("prior", "posterior"):
        raise UsageError(f"annealed importance sampling: start {start!r}, expected prior or posterior")


def _check_conditions(model: LatentModel, n: int, c: Tensor | None) -> None:
    if n < 1:
        raise UsageError(f"bidirectional: n {n}, expected at least 1 example")
    expected = (n, model.condition_dim) if model.condition_dim else None
    got = None if c is None else tuple(c.shape)
    if expected != got:
        raise UsageError(f"bidirectional: expected conditions {expected or 'None'}, got {got}; give as many rows as n")
