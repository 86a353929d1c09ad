"""Bounds from importance weights w_k = p(x, z_k) / q(z_k|x), of which there are K in each of M groups.

    IWAE     L_K = log 1/K sum_k w_k                                        Burda, Grosse & Salakhutdinov, ICLR 2016
    MIWAE    L_{M,K} = 1/M sum_m log 1/K sum_k w_{m,k}                      Rainforth et al., "Tighter variational bounds
    CIWAE    beta L_{K,1} + (1 - beta) L_K: the mix of ELBO and IWAE        are not necessarily better", ICML 2018
    PIWAE    the generative net by L_{MK}, the inference net by L_{M,K}
    Renyi    L_alpha = 1 / (1 - alpha) log 1/K sum_k w_k^(1 - alpha)        Li & Turner, NeurIPS 2016

The plain gradient of L_K by the encoder's parameters phi has a signal-to-noise ratio that falls like 1 / sqrt(K). The
doubly reparameterised one (Tucker, Lawson, Gu & Maddison, ICLR 2019) has the same mean and does not fall:

    d L_K / dphi = E [sum_k v_k^2  d log w_k / dz_k  dz_k / dphi],   v_k = w_k / sum_j w_j
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, cast

import torch
from torch import Tensor
from torch.distributions import Distribution

from vaekit.data import Batch
from vaekit.distributions.wrapped import Given, PathDerivative
from vaekit.errors import UsageError
from vaekit.objectives.draw import Draw, Drawing, Inferring, Terms, check_count, rate_of
from vaekit.objectives.elbo import drawn

Gradient = Literal["reparameterised", "doubly"]

WRAPPERS: dict[str, Callable[[Distribution], Distribution] | None] = {
    "reparameterised": None,
    "doubly": PathDerivative,
}


def iwae(
    model: Drawing, batch: Batch, *, samples: int = 5, gradient: Gradient = "reparameterised", resampled: int = 0
) -> Terms:
    """Minus the importance-weighted bound of K = `samples` draws, log-mean-exp of the log-weights.

    Args:
        samples: K, importance samples for each example.
        gradient: of the encoder: "reparameterised", or "doubly" (DReG), of the same mean and with a signal-to-noise ratio
            that does not fall as K grows; it needs every random number of a draw to come from `model.posterior`.
        resampled: S, draws that the gradient goes through, taken from the K by their weights: of the same mean, noisier, and
            less work and memory where S is well below K. 0 takes all K, each as its weight says.
    """
    return miwae(model, batch, samples=samples, groups=1, gradient=gradient, resampled=resampled)


def miwae(
    model: Drawing,
    batch: Batch,
    *,
    samples: int = 8,
    groups: int = 8,
    gradient: Gradient = "reparameterised",
    resampled: int = 0,
) -> Terms:
    """Minus the mean of M = `groups` independent importance-weighted bounds of K = `samples` draws each.

    Args:
        samples: K, importance samples in each bound.
        groups: M, bounds that are averaged; M * K draws in all.
        gradient: of the encoder, "reparameterised" or "doubly"; see `iwae`.
        resampled: S, draws of each bound that the gradient goes through; see `iwae`.
    """
    check_count("samples", samples)
    check_count("groups", groups)
    if gradient not in WRAPPERS:
        raise UsageError(f"gradient {gradient!r}: expected one of {', '.join(WRAPPERS)}")
    if resampled < 0:
        raise UsageError(f"resampled {resampled}: expected a number of draws, 0 for all")
    if resampled:
        return _resampled(cast(Inferring, model), batch, samples, groups, gradient, resampled)
    draw = drawn(model, batch, groups * samples, WRAPPERS[gradient])
    if gradient == "doubly":
        _weigh_slope(draw, _weights(draw.log_w, groups))
    return _terms(draw, -_grouped(draw.log_w, groups).mean(0))


def ciwae(model: Drawing, batch: Batch, *, samples: int = 8, elbo_part: float = 0.5) -> Terms:
    """Minus a mix of two bounds on the same K = `samples` draws: elbo_part * ELBO + (1 - elbo_part) * IWAE.

    Args:
        samples: K, draws for each example.
        elbo_part: beta of the paper, between 0 (the IWAE bound) and 1 (the ELBO with a sampled KL).
    """
    check_count("samples", samples)
    if not 0 <= elbo_part <= 1:
        raise UsageError(f"elbo_part {elbo_part}: expected a part between 0 and 1")
    draw = drawn(model, batch, samples)
    bound = elbo_part * draw.log_w.mean(0) + (1 - elbo_part) * _grouped(draw.log_w, 1)[0]
    return _terms(draw, -bound)


def piwae(model: Drawing, batch: Batch, *, samples: int = 8, groups: int = 8) -> Terms:
    """Minus the IWAE bound of all M * K draws for the decoder and prior, the mean of M bounds of K draws for the encoder.

    The loss has the value of the first. Decoder and prior are evaluated twice, the second time at draws held fixed, where
    the encoder is not felt: there the weights 1/M v_{m,k} of the groups are exchanged for those of all draws together.

    Args:
        samples: K, draws in each bound that the encoder learns by.
        groups: M, the number of such bounds; the decoder learns by one bound of M * K draws.
    """
    check_count("samples", samples)
    check_count("groups", groups)
    inferring = cast(Inferring, model)
    q = inferring.posterior(batch.x, batch.c)
    draw = inferring.draw(batch.x, batch.c, groups * samples, q)
    held = inferring.draw(batch.x, batch.c, groups * samples, Given(q, draw.z.detach()))
    log_w = draw.log_w
    change = log_w.detach().softmax(0) - _weights(log_w, groups) / groups
    learning = _grouped(log_w, groups).mean(0) + (change * (held.log_px + cast(Tensor, held.log_pz))).sum(0)
    value = _grouped(log_w.detach(), 1)[0]
    return _terms(draw, -(value + learning - learning.detach()))


def renyi(model: Drawing, batch: Batch, *, samples: int = 10, alpha: float = 0.5) -> Terms:
    """Minus the variational Renyi bound of order alpha, on K = `samples` draws.

    Args:
        samples: K, draws for each example.
        alpha: order of the divergence: 1 is the ELBO with a sampled KL, 0 the IWAE bound, between them a bound between the
            two; below 0 no bound. Near 1 rounding grows like 1 / |1 - alpha|; 1 itself is exact.
    """
    check_count("samples", samples)
    if not math.isfinite(alpha):
        raise UsageError(f"alpha {alpha}: expected a number")
    draw = drawn(model, batch, samples)
    if alpha == 1:
        return _terms(draw, -draw.log_w.mean(0))
    centre = draw.log_w.detach().mean(0)  # so that near alpha = 1 small numbers are added, not large ones
    powers = (1 - alpha) * (draw.log_w - centre)
    return _terms(draw, -(centre + (torch.logsumexp(powers, 0) - math.log(samples)) / (1 - alpha)))


def _grouped(log_w: Tensor, groups: int) -> Tensor:
    """log 1/K sum_k w_{m,k}: (M * K, B) -> (M, B)."""
    split = log_w.unflatten(0, (groups, -1))
    return split.logsumexp(1) - math.log(split.shape[1])


def _weights(log_w: Tensor, groups: int) -> Tensor:
    """v_{m,k}, normalised in each group and held fixed: (M * K, B) -> (M * K, B)."""
    return log_w.detach().unflatten(0, (groups, -1)).softmax(1).flatten(0, 1)


def _weigh_slope(draw: Draw, weights: Tensor) -> None:
    """Multiply what reaches the draws' gradient by v_k, (K, B); it has met v_k once already, and there is no score."""
    if draw.z.requires_grad:
        weights = weights.reshape(*weights.shape, *[1] * (draw.z.dim() - 2))
        draw.z.register_hook(lambda slope: slope * weights)


def _resampled(model: Inferring, batch: Batch, samples: int, groups: int, gradient: Gradient, resampled: int) -> Terms:
    """`miwae` with a gradient through `resampled` draws of each group.

    All draws are decoded without a gradient and weighed, and those that come out of the lot once more with one. Taken with
    probability v_k each, they need no weights: sum_k v_k dlog w_k is the mean of dlog w over them.
    """
    q, wrap = model.posterior(batch.x, batch.c), WRAPPERS[gradient]
    q = q if wrap is None else wrap(q)
    z = q.rsample(torch.Size((groups * samples,)))
    with torch.no_grad():
        every = model.draw(batch.x, batch.c, groups * samples, Given(q, z.detach()))
        log_w = every.log_w
    weights = _weights(log_w, groups)
    chosen = resample(weights, groups, resampled)
    spread = chosen.reshape(*chosen.shape, *[1] * (z.dim() - 2)).expand(-1, -1, *z.shape[2:])
    again = model.draw(batch.x, batch.c, groups * resampled, Given(q, z.gather(0, spread)))
    if gradient == "doubly":
        _weigh_slope(again, weights.gather(0, chosen))
    learning = again.log_w.mean(0)
    return _terms(every, -(_grouped(log_w, groups).mean(0) + learning - learning.detach()))


def resample(weights: Tensor, groups: int, count: int) -> Tensor:
    """Numbers of draws, (M * S, B): of each group's weights (M * K, B), summing to 1, `count` = S by systematic resampling.

    One uniform number puts S even marks on a group's weights laid end to end, so that each draw is taken S v_k times on
    average and never a whole time more or less (Douc, Cappe & Moulines, ISPA 2005).
    """
    ends = weights.unflatten(0, (groups, -1)).movedim(1, -1).cumsum(-1)
    ends = (ends / ends[..., -1:]).contiguous()
    marks = torch.rand(*ends.shape[:-1], 1, dtype=ends.dtype, device=ends.device)
    marks = (marks + torch.arange(count, dtype=ends.dtype, device=ends.device)) / count
    found = torch.searchsorted(ends, marks).clamp_(max=ends.shape[-1] - 1)  # rows whose weights are NaN find none
    found += ends.shape[-1] * torch.arange(groups, device=ends.device)[:, None, None]
    return found.movedim(-1, 1).flatten(0, 1)


def _terms(draw: Draw, loss: Tensor) -> Terms:
    return Terms(loss, rate_of(draw), -draw.log_px.mean(0))
