"""The sides of games in models that have an encoder too: the adversarial autoencoder and the VAE-GAN.

Makhzani, Shlens, Jaitly, Goodfellow & Frey, "Adversarial autoencoders", 2015: the game is about codes.

    encoder   -log D(z),  z ~ q(z | x)          critic   -log D(z') - log (1 - D(z)),  z' ~ p(z)

Larsen, Sonderby, Larochelle & Winther, "Autoencoding beyond pixels using a learned similarity metric", ICML 2016: the game
is about examples, and F are the features that its critic f looks at last.

    encoder   KL(q(z | x), p(z)) - log N(F(x); F(G(z)), s^2 I)
    decoder   -gamma log N(F(x); F(G(z)), s^2 I) - log D(G(z)) - log D(G(z')),   z ~ q(z | x), z' ~ p(z)
    critic    -log D(x) - 1/2 log (1 - D(G(z))) - 1/2 log (1 - D(G(z'))) + w/2 |df(x)/dx|^2

The halves, which the paper leaves out, let a critic that cannot tell made from real stand at D = 1/2; the penalty, which it
leaves out too, keeps the game from being over before it has begun (`objectives/adversarial.py`: r1).
"""

from __future__ import annotations

import math
from functools import partial
from typing import Protocol, cast

import torch
from torch import Tensor
from torch.distributions import Distribution

from vaekit.data import Batch
from vaekit.objectives.adversarial import critic_loss, generator_loss, slope_penalty
from vaekit.objectives.draw import Drawing, Terms

_LOSS = "non-saturating"


class Encoded(Protocol):
    """A model with an encoder, a prior and a critic: of codes, or of examples and with features of scale `sigma`."""

    sigma: float

    def posterior(self, x: Tensor, c: Tensor | None = None) -> Distribution: ...

    def prior_codes(self, n: int, c: Tensor | None = None) -> Tensor: ...

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution: ...

    def criticise(self, x: Tensor, c: Tensor | None = None) -> Tensor: ...

    def features(self, x: Tensor, c: Tensor | None = None) -> Tensor: ...

    def slope(self, gradient: Tensor) -> Tensor: ...


def code_game(model: Drawing, batch: Batch) -> Terms:
    """The encoder's side of the game about codes: it falls as the critic takes codes of data for draws of the prior."""
    players = cast(Encoded, model)
    z = players.posterior(*batch).rsample()
    return _plain(generator_loss(players.criticise(z, batch.c), _LOSS))


def code_criticism(model: Drawing, batch: Batch) -> Terms:
    """The critic's side of the game about codes; the codes are fixed, no gradient reaches the encoder."""
    players = cast(Encoded, model)
    with torch.no_grad():
        z = players.posterior(*batch).rsample()
    drawn = players.prior_codes(len(z), batch.c)
    return _plain(critic_loss(players.criticise(drawn, batch.c), players.criticise(z, batch.c), _LOSS))


def feature_log_density(players: Encoded, x: Tensor, made: Tensor, c: Tensor | None) -> Tensor:
    """log N(F(x); F(made), sigma^2 I), (*,) in nats, for made (*, *shape) beside x (B, *shape)."""
    real, fake = players.features(x, c), players.features(made, c)
    return -0.5 * (((fake - real) / players.sigma).square() + math.log(2 * math.pi * players.sigma**2)).sum(-1)


def feature_game(model: Drawing, batch: Batch, *, gamma: float) -> Terms:
    """The decoder's side of the game about examples, as distortion the part of the features."""
    players = cast(Encoded, model)
    rebuilt, drawn = _made(players, batch)
    distortion = -feature_log_density(players, batch.x, rebuilt, batch.c)
    value = sum(generator_loss(players.criticise(made, batch.c), _LOSS) for made in (rebuilt, drawn))
    return Terms(gamma * distortion + value, torch.zeros_like(distortion), distortion)


def feature_criticism(model: Drawing, batch: Batch, *, weight: float) -> Terms:
    """The critic's side of the game about examples, as rate its penalty; no gradient reaches encoder or decoder."""
    players = cast(Encoded, model)
    with torch.no_grad():
        made = _made(players, batch)
    real, halves = players.criticise(*batch), [players.criticise(x, batch.c) for x in made]
    value = 0.5 * torch.stack([critic_loss(real, fake, _LOSS) for fake in halves]).sum(0)
    f = partial(players.criticise, c=batch.c)
    charge = weight * slope_penalty(f, players.slope, batch.x, batch.x, "r1") if weight else torch.zeros_like(value)
    return Terms(value + charge, charge, value)


def _made(players: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
    """G(z) with z ~ q(z | x), and G(z') with z' ~ p(z)."""
    with torch.no_grad():
        codes = players.posterior(*batch).rsample(), players.prior_codes(len(batch.x), batch.c)
    rebuilt, drawn = (players.decode(z, batch.c).mean for z in codes)
    return rebuilt, drawn


def _plain(loss: Tensor) -> Terms:
    return Terms(loss, torch.zeros_like(loss), loss)
