"""The evidence lower bound and its relatives, with three estimators of the same gradient.

    log p(x) >= E_q[log p(x|z)] - KL(q(z|x), p(z))                  Kingma & Welling, ICLR 2014
    loss = distortion + beta * rate                                 Higgins et al., "beta-VAE", ICLR 2017
    loss = distortion + beta * |rate - C|                           Burgess et al., 2018
    loss = distortion + beta * sum_d max(rate_d, free bits)         Kingma et al., NeurIPS 2016; see free_bits.py

The gradient of E_q[f(z)], f = -log p(x|z) + beta (log q(z|x) - log p(z)), with respect to the encoder's parameters phi:

    reparameterised    E_eps [df/dz dz/dphi + beta d log q(z|x) / dphi]
    path               E_eps [df/dz dz/dphi], the score's mean being 0: "sticking the landing", Roeder et al., NeurIPS 2017
    score              E_q [(f(z) - b) d log q(z|x) / dphi]: REINFORCE; b is the mean f of the other draws of the example
                       (leave-one-out: Mnih & Rezende, ICML 2016; Kool et al., 2019), 0 where there is one draw

With beta = 1 and no free bits or capacity the loss is minus the ELBO, constants included, with each of the three.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, cast, get_args

from torch import Tensor
from torch.distributions import Distribution

from vaekit.data import Batch
from vaekit.distributions.wrapped import PathDerivative, ScoreFunction
from vaekit.errors import UsageError
from vaekit.objectives.draw import Draw, Drawing, Inferring, Terms, check_count, rate_of
from vaekit.objectives.free_bits import Over, Per, free

Gradient = Literal["reparameterised", "path", "score"]

WRAPPERS: dict[str, Callable[[Distribution], Distribution] | None] = {
    "reparameterised": None,
    "path": PathDerivative,
    "score": ScoreFunction,
}
"""What each gradient makes of the posterior before anything is drawn from it."""


def elbo(
    model: Drawing,
    batch: Batch,
    *,
    beta: float = 1.0,
    samples: int = 1,
    kl: Literal["auto", "closed", "sampled"] = "auto",
    free_bits: float = 0.0,
    free_bits_per: Per = "dimension",
    free_bits_over: Over = "example",
    capacity: float | None = None,
    gradient: Gradient = "reparameterised",
) -> Terms:
    """Minus the evidence lower bound, with its KL weighted by beta.

    Args:
        beta: weight of the rate; 1 is the bound itself.
        samples: L, draws of z for each example.
        kl: "closed"; "sampled", E_q[log q(z|x) - log p(z)] by the draws; or "auto", closed where there is a closed form.
        free_bits: nats of the KL that cost nothing: below them it is held at this constant and has no gradient.
        free_bits_per: what they are counted for: each latent "dimension", or the whole "code".
        free_bits_over: whose KL is held against them: that of each "example", so that the loss does not depend on how a
            batch is split, or the mean over the "batch" (Kingma et al., NeurIPS 2016).
        capacity: C, nats that each example's rate is held at: beta weighs |rate - C| (Burgess et al., 2018, here for each
            example). Left out, the rate itself is charged.
        gradient: "reparameterised"; "path", without the score (its KL is sampled: a closed one has none); or "score",
            the REINFORCE estimator, which never differentiates log p(x|z) by z. The last two need every random number
            of a draw to come from `model.posterior`.

    Returns:
        Terms: loss = distortion + beta * what is charged of the rate; rate in nats without free bits or capacity;
        distortion -E_q[log p(x|z)].
    """
    check_count("samples", samples)
    _check(beta, free_bits, capacity, kl, gradient)
    kl = "sampled" if gradient == "path" else kl
    _check_free_bits(free_bits, free_bits_per, free_bits_over, kl)
    draw = drawn(model, batch, samples, WRAPPERS[gradient])
    distortion, rate = -draw.log_px.mean(0), rate_of(draw, kl)
    charged = rate if capacity is None else (rate - capacity).abs()
    if free_bits:
        charged = free(draw, rate, free_bits, free_bits_per, free_bits_over)
    loss = distortion + beta * charged
    if gradient == "score":
        sampled = kl == "sampled" or draw.kl is None
        if sampled and (capacity is not None or free_bits):
            named = "free_bits" if free_bits else "capacity"
            raise UsageError(f"{named}: the score gradient of a sampled KL is not linear in it; take another gradient")
        loss = loss + _score(draw, beta, sampled)
    return Terms(loss, rate, distortion)


def drawn(
    model: Drawing, batch: Batch, samples: int, wrap: Callable[[Distribution], Distribution] | None = None
) -> Draw:
    """K = `samples` draws of every row, from the posterior as `wrap` changes it."""
    if wrap is None:
        return model.draw(batch.x, batch.c, samples)
    inferring = cast(Inferring, model)
    return inferring.draw(batch.x, batch.c, samples, wrap(inferring.posterior(batch.x, batch.c)))


def _score(draw: Draw, beta: float, sampled: bool) -> Tensor:
    """(B,) zero, whose gradient is the score-function estimate; a sampled KL's own score, of mean 0, is taken out."""
    _ = draw.log_w  # refuses a model that has no densities
    log_qz, log_pz = cast(Tensor, draw.log_qz), cast(Tensor, draw.log_pz)
    cost = (-draw.log_px + (beta * (log_qz - log_pz) if sampled else 0.0)).detach()
    count = len(cost)
    if count > 1:  # less the mean of the other draws
        cost = (cost - cost.mean(0)) * (count / (count - 1))
    weight = cost - beta if sampled else cost
    return (weight * (log_qz - log_qz.detach())).mean(0)


def _check(beta: float, free_bits: float, capacity: float | None, kl: str, gradient: str) -> None:
    if not 0 <= beta < math.inf:
        raise UsageError(f"beta {beta}: expected a number of at least 0")
    if gradient not in WRAPPERS:
        raise UsageError(f"gradient {gradient!r}: expected one of {', '.join(WRAPPERS)}")
    if gradient == "path" and kl == "closed":
        raise UsageError("gradient 'path': a closed KL has no score to leave out; take kl auto or sampled")
    if capacity is not None and not 0 <= capacity < math.inf:
        raise UsageError(f"capacity {capacity}: expected a number of nats of at least 0")
    if capacity is not None and free_bits:
        raise UsageError("capacity and free_bits do not go together; leave one out")


def _check_free_bits(free_bits: float, per: str, over: str, kl: str) -> None:
    if not 0 <= free_bits < math.inf:
        raise UsageError(f"free_bits {free_bits}: expected a number of nats of at least 0")
    if per not in get_args(Per):
        raise UsageError(f"free_bits_per {per!r}: expected one of {', '.join(get_args(Per))}")
    if over not in get_args(Over):
        raise UsageError(f"free_bits_over {over!r}: expected one of {', '.join(get_args(Over))}")
    if free_bits and kl == "sampled" and (per == "dimension" or over == "example"):
        raise UsageError(
            f"free_bits {free_bits}: a sampled KL is too noisy to be held against them; take a closed one, or free bits "
            "per code over the batch"
        )
