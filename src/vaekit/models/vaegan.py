"""The VAE-GAN: a VAE whose decoder is a generator, and whose likelihood is one of the features that a critic looks at.

Larsen, Sonderby, Larochelle & Winther, "Autoencoding beyond pixels using a learned similarity metric", ICML 2016.

    z ~ p(z) = N(0, I),   x' = G(z),   q(z | x) = N(mu(x), diag(sigma^2(x)))
    f(x) = head(F(x)): the critic and its features, D = sigmoid(f)
    p(F(x) | z) = N(F(G(z)), sigma^2 I)
    encoder   KL(q(z | x), p(z)) - log p(F(x) | z)
    decoder   -gamma log p(F(x) | z) - log D(G(z)) - log D(G(z')),   z' ~ p(z)
    critic    -log D(x) - 1/2 log (1 - D(G(z))) - 1/2 log (1 - D(G(z'))) + penalty/2 |df(x)/dx|^2

What stands where log p(x | z) stands in a VAE is a density of features that move with the critic, not of x: there is no
log p(x), and no epoch's value can be compared with another's. Codes, reconstructions and samples there are. The paper has
sigma = 1, at which features of the size that these networks have are not worth any code: on digits no dimension stayed active.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vaekit.conditional import Conditional
from vaekit.data import Batch
from vaekit.data.schema import Schema
from vaekit.distributions.divergence import closed_kl_per_dim
from vaekit.distributions.posteriors import DiagonalGaussian, Point
from vaekit.distributions.seeded import unseeded
from vaekit.distributions.values import Values
from vaekit.errors import UsageError
from vaekit.models.base import Model
from vaekit.models.parts import (
    ActivationName,
    Architecture,
    NetworkName,
    check_latent_dim,
    condition_size,
    make_decoder_of,
    make_encoder,
)
from vaekit.models.recipes import recipe
from vaekit.networks.mlp import activation_module
from vaekit.objectives import Draw, Terms, elbo
from vaekit.objectives.encoded_games import feature_criticism, feature_game, feature_log_density
from vaekit.optimizers import adam
from vaekit.priors import StandardNormal
from vaekit.updates import Update

_WIDTH = 256
"""Features of a critic whose network has no hidden layer of its own to take them from."""


class VAEGAN(Model):
    """Encoder, generator and prior, with a critic of examples.

    Args:
        encoder: q(z | x), or q(z | x, c).
        decoder: z, or (z, c) -> all mass at one example.
        look: x, or (x, c) -> all mass at the critic's features (F,).
        head: features -> f (1,).
        sigma: scale of the features.
        gamma: weight of the features in the decoder's loss.
        penalty: weight of the critic's squared slopes at data, where these have `scale` 1.
        critic_learning_rate: of the critic; None is that of the others.
    """

    has_likelihood = False
    observes = "features of x"
    unit: Tensor

    def __init__(
        self,
        encoder: Conditional,
        decoder: Conditional,
        look: Conditional,
        head: nn.Module,
        latent_dim: int,
        *,
        sigma: float,
        gamma: float,
        penalty: float,
        scale: float | tuple[float, ...] = 1.0,
        critic_learning_rate: float | None = None,
        condition_dim: int = 0,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.prior = encoder, decoder, StandardNormal(latent_dim)
        self.look, self.head = look, head
        self.sigma, self.gamma, self.critic_learning_rate = sigma, gamma, critic_learning_rate
        self.penalty, self.latent_dim, self.condition_dim = penalty, latent_dim, condition_dim
        self.register_buffer("unit", torch.tensor(scale), persistent=False)

    @property
    def can_sample(self) -> bool:
        return True

    def features(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """F(x), (*, F) for examples (*, *shape)."""
        return (self.look(x) if c is None else self.look(x, c)).mean

    def criticise(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """f(x), (*,): higher for what looks real."""
        return self.head(self.features(x, c)).squeeze(-1)

    def slope(self, gradient: Tensor) -> Tensor:
        """The size (B,) of a gradient df/dx (B, *shape) by x on scale 1."""
        return (gradient * self.unit).flatten(1).norm(dim=1)

    def updates(self, objective: Callable[..., Terms]) -> list[Update]:
        """The encoder by `objective`, a bound; the decoder and the critic by the game."""
        optimizer = partial(adam, betas=(0.5, 0.999))
        critic = [*self.look.parameters(), *self.head.parameters()]
        game = partial(feature_game, gamma=self.gamma)
        return [
            Update(objective, self.encoder.parameters(), name="encoder", watch=_watched),
            Update(game, self.decoder.parameters(), optimizer=optimizer, name="decoder"),
            Update(
                partial(feature_criticism, weight=self.penalty),
                critic,
                learning_rate=self.critic_learning_rate,
                optimizer=optimizer,
                name="critic",
            ),
        ]

    def posterior(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        return self.encoder(x) if c is None else self.encoder(x, c)

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        """All mass at the example (*, *shape) of codes (*, D)."""
        return self.decoder(z) if c is None else self.decoder(z, c)

    def draw(self, x: Tensor, c: Tensor | None = None, samples: int = 1, q: Distribution | None = None) -> Draw:
        """K draws of z; `log_px` is the log-density of the critic's features of x."""
        q = self.posterior(x, c) if q is None else q
        z, p, plain = q.rsample(torch.Size((samples,))), self.prior(), unseeded(q)
        return Draw(
            z=z,
            log_px=feature_log_density(self, x, self.decode(z, c).mean, c),
            log_pz=lambda: p.log_prob(z),
            log_qz=lambda: q.log_prob(z),
            kl_per_dim=lambda: closed_kl_per_dim(plain, p, z),
        )

    @torch.no_grad()
    def prior_codes(self, n: int, c: Tensor | None = None) -> Tensor:
        """n draws from the prior, (n, D)."""
        return self.prior().sample(torch.Size((n,)))

    @torch.no_grad()
    def sample(self, n: int, c: Tensor | None = None, *, noise: bool = False) -> Tensor:
        return self.decode(self.prior_codes(n), c).mean

    @torch.no_grad()
    def reconstruct(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return self.decode(self.posterior(x, c).mean, c).mean

    @torch.no_grad()
    def encode(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return self.posterior(x, c).mean


def _watched(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Of held-out rows, (B,): the rate, the squared error of the reconstruction, and the critic's loss."""
    players = cast(VAEGAN, model)
    rate = closed_kl_per_dim(players.posterior(*batch), players.prior())
    assert rate is not None  # two diagonal Gaussians
    error = (players.reconstruct(*batch) - batch.x).square().flatten(1).mean(1)
    return {
        "rate": rate.sum(-1),
        "reconstruction_error": error,
        "critic_loss": feature_criticism(players, batch, weight=0.0).loss,
    }


def _critic(schema: Schema, architecture: Architecture, told: int) -> tuple[Conditional, nn.Module]:
    """The network that a VAE encodes with, in two parts: up to its last hidden layer, and from there to one number."""
    a, activation = architecture, activation_module(architecture.activation)
    flat = a.network == "mlp" and len(a.hidden) > 0
    width, before = (a.hidden[-1], a.hidden[:-1]) if flat else (_WIDTH, a.hidden)
    look = make_encoder(schema, replace(a, hidden=before), Point(width), told=told, after=activation, loudness=1.0)
    return look, nn.Linear(width, 1)


@recipe(objective=elbo, training={"patience": 0})
def vaegan(
    schema: Schema,
    *,
    latent_dim: int = 16,
    network: NetworkName = "auto",
    hidden: tuple[int, ...] | None = None,
    activation: ActivationName = "relu",
    feature_sigma: float = 0.1,
    gamma: float = 0.1,
    penalty: float = 1.0,
    critic_learning_rate: float | None = None,
    conditional: bool = False,
) -> VAEGAN:
    """A VAE-GAN: reconstructions are held to what a critic sees, not to each value. Its encoder's objective is `elbo`.

    Args:
        latent_dim: dimensions of the code.
        network: kind of encoder, decoder and critic; auto takes mlp up to 1,024 values an example, conv above.
        hidden: layer widths (mlp) or channels per stage (conv, resnet) of encoder and critic, mirrored in the decoder.
        activation: between the layers.
        feature_sigma: scale of the Gaussian over the critic's features; the smaller, the more a code is worth.
        gamma: weight of the features in the decoder's loss, against what the critic says of its examples.
        penalty: weight of the critic's squared slopes at data (r1); 0 for none, as in the paper.
        critic_learning_rate: of the critic's Adam; left out, that of the others.
        conditional: tell encoder, decoder and critic the class of each example, or its conditions.
    """
    check_latent_dim(latent_dim)
    if not 0 <= gamma < math.inf:
        raise UsageError(f"gamma {gamma}: expected a number of at least 0")
    if not 0 <= penalty < math.inf:
        raise UsageError(f"penalty {penalty}: expected a number of at least 0")
    if not 0 < feature_sigma < math.inf:
        raise UsageError(f"feature_sigma {feature_sigma}: expected a positive number")
    if critic_learning_rate is not None and not 0 < critic_learning_rate < math.inf:
        raise UsageError(f"critic_learning_rate {critic_learning_rate}: expected a positive number")
    told = condition_size(schema, "vaegan") if conditional else 0
    architecture = Architecture.resolve(schema, network, hidden, activation)
    encoder = make_encoder(schema, architecture, DiagonalGaussian(latent_dim), told=told)
    decoder = make_decoder_of(schema, architecture, latent_dim, Values(schema), told=told)
    return VAEGAN(
        encoder, decoder, *_critic(schema, architecture, told), latent_dim,
        sigma=feature_sigma, gamma=gamma, penalty=penalty, scale=schema.scale,
        critic_learning_rate=critic_learning_rate, condition_dim=told,
    )  # fmt: skip
