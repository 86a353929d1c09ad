"""FactorVAE's two losses: the total correlation by a critic that tells q(z) from the product of its marginals.

Kim & Mnih, "Disentangling by factorising", ICML 2018.

    TC(z) = KL(q(z), prod_d q(z_d)) ~ E_q(z) [log D(z) - log (1 - D(z))] = E_q(z) [f(z)],   f the critic's logit
    autoencoder   minus ELBO + gamma * f(z)
    critic        -1/2 log D(z) - 1/2 log (1 - D(z')),   z' with each dimension permuted over the batch
"""

from __future__ import annotations

import math
from typing import Literal, Protocol, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from vaekit.data import Batch
from vaekit.errors import UsageError
from vaekit.objectives.draw import Drawing, Terms, check_count, rate_of


class WithCritic(Drawing, Protocol):
    """A model with a critic of its codes."""

    def criticise(self, z: Tensor) -> Tensor:
        """f(z), (*,) for codes (*, D): the logit of z being drawn from q(z), not from the product of its marginals."""
        ...


def factor(
    model: Drawing,
    batch: Batch,
    *,
    gamma: float = 6.0,
    samples: int = 1,
    kl: Literal["auto", "closed", "sampled"] = "auto",
) -> Terms:
    """Minus the ELBO and gamma times the critic's estimate of the total correlation: the autoencoder's side of a FactorVAE.

    Args:
        gamma: weight of the total correlation.
        samples: L, draws of z for each example.
        kl: "closed" where there is a closed form, or "sampled".

    `fit` trains the critic by turns (`Model.updates`) and moves it in its own turn only.
    """
    check_count("samples", samples)
    if not 0 <= gamma < math.inf:
        raise UsageError(f"gamma {gamma}: expected a number of at least 0")
    critic = _critic(model)
    draw = model.draw(batch.x, batch.c, samples)
    rate, distortion = rate_of(draw, kl), -draw.log_px.mean(0)
    return Terms(distortion + rate + gamma * critic.criticise(draw.z).mean(0), rate, distortion)


def criticism(model: Drawing, batch: Batch) -> Terms:
    """The critic's loss in nats, log 2 where it cannot tell the two apart. The codes are fixed: no gradient reaches them.

    The permuted codes are another draw of the batch's rows; the paper takes other rows.
    """
    with torch.no_grad():
        z, other = model.draw(batch.x, batch.c, 2).z
        permuted = permute_dimensions(other)
    critic = _critic(model)
    loss = (F.softplus(-critic.criticise(z)) + F.softplus(critic.criticise(permuted))) / 2
    return Terms(loss, torch.zeros_like(loss), loss)


def permute_dimensions(z: Tensor) -> Tensor:
    """z (B, D) with each dimension in an order of its own: draws from the product of the marginals."""
    order = torch.rand_like(z, dtype=torch.float32).argsort(0)
    return z.gather(0, order)


def _critic(model: Drawing) -> WithCritic:
    if not callable(getattr(model, "criticise", None)):
        raise UsageError("factor: needs a model with a critic; take model factorvae")
    return cast(WithCritic, model)
