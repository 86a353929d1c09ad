"""`inference.fit`: a distribution fitted to a log-density.

import torch, vaekit as vk
result = vk.inference.fit(lambda z: -z.square().sum(-1) / 2, dim=2, q="full")
result.q.mean, result.elbo, result.log_evidence, result.effective_samples
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vaekit.data import Batch
from vaekit.distributions.families import Family
from vaekit.distributions.posteriors import DiagonalGaussian, Flow, FullGaussian, Mixture
from vaekit.errors import UsageError
from vaekit.evaluation.estimate import Estimate, mean_of
from vaekit.inference.target import LogDensity, Target, checked, forward_kl, reverse_kl
from vaekit.objectives import Terms
from vaekit.objectives.elbo import Gradient
from vaekit.priors import Learned
from vaekit.training import History, Update
from vaekit.training import fit as train

Name = Literal["mean-field", "full", "mixture", "flow"]

_EPOCHS = 50
"""Records in a history."""

_GIVEN_BATCH = 1024
"""Given samples a step; fewer are taken all at once."""


@dataclass(frozen=True)
class Fitted:
    """What `fit` found.

    Args:
        q: the fitted distribution, without gradient.
        module: the module whose `forward()` is q, with its parameters.
        elbo: E_q[log f - log q], a lower bound of log Z, short of it by KL(q, p); None without a log-density.
        log_evidence: log Z by importance sampling, log mean f / q. Its standard error is that of the mean of the weights
            seen, and means little where `effective_samples` is small: a q that misses a mode does not see its weights.
        effective_samples: (sum w)^2 / sum w^2 of the draws behind it, from 1 to their number.
        history: mean loss and ELBO over the steps, 50 records.
    """

    q: Distribution
    module: nn.Module
    elbo: Estimate | None
    log_evidence: Estimate | None
    effective_samples: float | None
    history: History


def fit(
    log_density: LogDensity | None,
    dim: int,
    q: Name | nn.Module = "mean-field",
    *,
    divergence: Literal["reverse", "forward"] = "reverse",
    gradient: Gradient = "path",
    given: Tensor | None = None,
    objective: Callable[..., Terms] | None = None,
    components: int = 5,
    start_scale: float = 1.0,
    samples: int = 64,
    steps: int = 2000,
    learning_rate: float | None = None,
    evaluation_samples: int = 10_000,
    dtype: torch.dtype | None = None,
    seed: int = 0,
) -> Fitted:
    """Fit q to the density f, of which log f is known up to a constant.

    Args:
        log_density: z (n, D) -> log f(z) (n,) by torch; may be left out (None) where `given` has draws of p.
        dim: D.
        q: "mean-field" (a diagonal Gaussian), "full" (a Gaussian with every covariance), "mixture" (of those), "flow"
            (neural spline flow), or a module whose `forward()` is a Distribution; a module is trained in place.
        divergence: "reverse" minimises KL(q, p), "forward" KL(p, q), by self-normalised importance weights of draws of q
            or by `given`.
        gradient: of the reverse KL: "path" (its noise vanishes as q approaches p), "reparameterised", or "score" for a
            log-density that torch cannot differentiate.
        given: draws (n, D) of p, for example of a Markov chain; only with divergence="forward".
        objective: (model, batch) -> Terms in place of the divergence, for example `partial(vk.iwae, samples=10)`.
        components: of a mixture.
        start_scale: q starts as N(0, start_scale^2 I), or near it. Where p's mass may lie: too small, and a forward KL
            sees none of it.
        samples: draws a step (of each component of a mixture by "path" and "reparameterised").
        steps: of Adam, its learning rate falling to 0 as a cosine; rounded up to a multiple of 50, or of the passes
            over `given`.
        learning_rate: at first; left out, 0.05, for a flow 0.005.
        evaluation_samples: draws behind `elbo` and `log_evidence`.
        dtype: of z; left out, torch's default, or that of the module's first parameter.
        seed: of every random number; the process's own random state is left as it was.

    Raises:
        UsageError: arguments or a log-density that cannot be right, before anything is trained where that can be seen.
        TrainingError: the loss or a weight is not finite; a module has its last good weights.
    """
    _check(dim, divergence, given, objective, samples, steps, start_scale, evaluation_samples)
    if log_density is None and given is None:
        raise UsageError("inference.fit: log_density None: needs a log-density, or draws in given")
    by_draws = divergence == "forward" or gradient == "score"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = _module(q, dim, components, start_scale, dtype)
        _try(module, log_density, dim, needs_gradient=not by_draws)
    at_zero = log_density if log_density is not None else _no_density
    target = Target(module, at_zero, bounded_below=divergence == "reverse" and objective is None)
    loss = objective or partial(reverse_kl, samples=samples, gradient=gradient)
    if divergence == "forward":
        loss = partial(forward_kl, samples=samples) if given is None else _cross_entropy
    rate = learning_rate if learning_rate is not None else 0.005 if q == "flow" else 0.05
    history = _train(target, loss, given, steps, rate, seed)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        bound, evidence, effective = (None,) * 3 if log_density is None else _evidence(target, evaluation_samples)
        frozen = deepcopy(module).requires_grad_(False)  # q stays what it is when the module is trained further
        return Fitted(frozen(), module, bound, evidence, effective, history)


def _train(
    target: Target, loss: Callable[..., Terms], given: Tensor | None, steps: int, rate: float, seed: int
) -> History:
    """`vaekit.fit` over rows that mean nothing, one a step, or over the given draws."""
    like = next(target.parameters())
    if given is None:
        rows, size = torch.zeros(-(-steps // _EPOCHS), 1, dtype=like.dtype), 1
    else:
        rows, size = given.detach().to(like), min(len(given), _GIVEN_BATCH)
    return train(
        cast(Any, target),
        rows,
        updates=[Update(loss)],
        epochs=-(-steps // -(-len(rows) // size)),
        batch_size=size,
        learning_rate=rate,
        learning_rate_decay="cosine",
        seed=seed,
        device="cpu" if like.device.type == "cpu" else "auto",
        progress=False,
    )


def _cross_entropy(model: Target, batch: Batch) -> Terms:
    """-log q at draws of p: KL(p, q) up to the entropy of p."""
    loss = -model.posterior(batch.x).log_prob(batch.x)
    return Terms(loss, torch.zeros_like(loss), loss)


def _no_density(z: Tensor) -> Tensor:
    """In the place of a log-density that nothing asks for."""
    return z.new_zeros(len(z))


def _evidence(target: Target, count: int) -> tuple[Estimate, Estimate, float]:
    """ELBO, log Z and effective sample size from `count` draws of q."""
    q = target.posterior(torch.empty(1, 0))
    z = q.sample(torch.Size((count,)))
    log_w = (checked(target._log_density[0], z, bounded_below=False) - q.log_prob(z)).detach().double().cpu()
    log_z = torch.logsumexp(log_w, 0) - math.log(count)
    w = (log_w - log_z).exp()  # of mean 1, so that its standard error is that of log Z
    error = float(w.std(correction=1)) / math.sqrt(count)
    evidence = Estimate(float(log_z), error, count, "nats", "log Z, importance sampling from q", count)
    bound = mean_of(log_w, "nats", "E_q[log f - log q], lower bound of log Z", count)
    return bound, evidence, float(w.sum().square() / w.square().sum())


def _module(q: Name | nn.Module, dim: int, components: int, scale: float, dtype: torch.dtype | None) -> nn.Module:
    if isinstance(q, nn.Module):
        return q if dtype is None else q.to(dtype)
    families: dict[str, Callable[[], Family]] = {
        "mean-field": lambda: DiagonalGaussian(dim),
        "full": lambda: FullGaussian(dim),
        "mixture": lambda: Mixture(FullGaussian(dim), components),
        "flow": lambda: Flow(dim, context=0),
    }
    if q not in families:
        raise UsageError(f"q {q!r}: expected a module or one of {', '.join(families)}")
    module = Learned(families[q]())
    with torch.no_grad():
        _start(module.family, module.raw, scale)
    return module.to(torch.get_default_dtype() if dtype is None else dtype)


def _start(family: Family, raw: Tensor, scale: float) -> None:
    """Write the raw value of N(0, scale^2 I) in place; a mixture's M parts fill it, each M^(1 / D) times as narrow."""
    (dim,) = family.event_shape
    if isinstance(family, Mixture):
        unit = torch.quasirandom.SobolEngine(dim, scramble=True, seed=0).draw(len(raw)).clamp(1e-4, 1 - 1e-4)
        for part, place in zip(raw[:, 1:], torch.special.ndtri(unit), strict=True):
            _start(family.component, part.view(family.component.raw_shape), scale * len(raw) ** (-1 / dim))
            part[:dim] = scale * place
        return
    mean, width = (raw[0], raw[1]) if isinstance(family, DiagonalGaussian) else (raw[:dim], raw[dim : 2 * dim])
    mean.zero_()
    width.fill_(math.log(scale) * (1 if isinstance(family, FullGaussian) else 2))  # of a deviation, or of a variance


@torch.no_grad()
def _try(module: nn.Module, log_density: LogDensity | None, dim: int, needs_gradient: bool) -> None:
    """Ask q for draws and the log-density for their value once, so that a mistake is seen before the training."""
    try:
        q = module()
    except TypeError as error:
        raise UsageError(
            f"q: {type(module).__name__}() without arguments must give a Distribution ({error})"
        ) from error
    if not isinstance(q, Distribution) or (q.batch_shape, q.event_shape) != ((), (dim,)):
        got = f"{tuple(q.batch_shape)} and {tuple(q.event_shape)}" if isinstance(q, Distribution) else type(q).__name__
        raise UsageError(f"q: expected a Distribution of batch shape () and event shape ({dim},), got {got}")
    if not any(p.requires_grad for p in module.parameters()):
        raise UsageError("q: the module has no parameter to fit")
    if log_density is None:
        return
    z = q.sample(torch.Size((dim + 2,)))  # neither one nor D rows, which a wrong shape could be taken for
    with torch.enable_grad():
        value = checked(log_density, z.requires_grad_(needs_gradient), bounded_below=False)
    if needs_gradient and not value.requires_grad:
        raise UsageError(
            "log_density: its value has no gradient by z; write it with torch functions, or take gradient='score' or "
            "divergence='forward'"
        )


def _check(
    dim: int,
    divergence: str,
    given: Tensor | None,
    objective: Callable[..., Terms] | None,
    samples: int,
    steps: int,
    start_scale: float,
    evaluation_samples: int,
) -> None:
    counts = {"dim": dim, "samples": samples, "steps": steps, "evaluation_samples": evaluation_samples}
    for name, value in counts.items():
        least = 2 if name == "evaluation_samples" else 1
        if not isinstance(value, int) or value < least:
            raise UsageError(f"inference.fit: {name} {value}: expected a whole number of at least {least}")
    if divergence not in ("reverse", "forward"):
        raise UsageError(f"divergence {divergence!r}: expected reverse or forward")
    if not 0 < start_scale < math.inf:
        raise UsageError(f"start_scale {start_scale}: expected a number above 0")
    if objective is not None and divergence != "reverse":
        raise UsageError("inference.fit: give either an objective or divergence='forward'")
    if given is None:
        return
    if divergence != "forward":
        raise UsageError("given: draws of p serve the forward KL; say divergence='forward'")
    if given.dim() != 2 or len(given) < 2 or given.shape[1] != dim or not bool(torch.isfinite(given).all()):
        raise UsageError(f"given: expected at least 2 finite draws of shape (n, {dim}), got {tuple(given.shape)}")
