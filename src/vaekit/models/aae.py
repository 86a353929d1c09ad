"""The adversarial autoencoder: an autoencoder whose codes a critic cannot tell from draws of the prior.

Makhzani, Shlens, Jaitly, Goodfellow & Frey, "Adversarial autoencoders", 2015.

    z = encoder(x),   x' = decoder(z) = E[x | z],   z' ~ p(z) = N(0, I) or uniform
    encoder and decoder   -log p(x | z)
    critic                -log D(z') - log (1 - D(z)),   D = sigmoid(f)
    encoder               -log D(z)

Three players take turns at each batch, the autoencoder's with its own optimiser, so that the game about codes weighs what its
learning rate makes it weigh, not the number of pixels. Where q(z), the codes of all data together, comes to be p(z), draws of
p(z) decode to samples. The posterior of an example is one code: there is no ELBO and no log p(x).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vaekit.conditional import Conditional, Parametric, Told
from vaekit.data import Batch
from vaekit.data.schema import Schema
from vaekit.distributions.families import Sigma
from vaekit.distributions.posteriors import Point
from vaekit.errors import UsageError
from vaekit.models.base import LatentModel, Model
from vaekit.models.gan import NoisePriorName, check_noise_prior
from vaekit.models.parts import (
    ActivationName,
    LikelihoodName,
    NetworkName,
    check_latent_dim,
    condition_scale,
    condition_size,
    make_coders,
)
from vaekit.models.recipes import recipe
from vaekit.networks import MLP
from vaekit.networks.joined import Joined
from vaekit.objectives import Draw, Terms, reconstruction
from vaekit.objectives.encoded_games import code_criticism, code_game
from vaekit.optimizers import adam
from vaekit.priors import make_prior
from vaekit.updates import Update


class AAE(Model):
    """An autoencoder with a critic of its codes and a prior to sample from.

    Args:
        autoencoder: encoder and decoder, without a prior of its own.
        critic: z, or (z, c) -> all mass at one number (1,).
        prior: p(z).
        game_learning_rate: of the critic, and of the encoder where it plays against it; None is that of the autoencoder.
    """

    has_likelihood = False

    def __init__(
        self,
        autoencoder: LatentModel,
        critic: Conditional,
        prior: Conditional,
        game_learning_rate: float | None = None,
    ) -> None:
        super().__init__()
        self.autoencoder, self.critic, self.prior = autoencoder, critic, prior
        self.game_learning_rate = game_learning_rate
        self.latent_dim, self.condition_dim = autoencoder.latent_dim, autoencoder.condition_dim

    @property
    def can_sample(self) -> bool:
        return True

    def criticise(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """f(z), (*,) for codes (*, D): higher for what looks drawn from the prior."""
        return (self.critic(z) if c is None else self.critic(z, c)).mean.squeeze(-1)

    def updates(self, objective: Callable[..., Terms]) -> list[Update]:
        """The autoencoder by `objective`, the critic, and the encoder against the critic."""
        encoder, decoder = self.autoencoder.encoder, self.autoencoder.decoder
        game = {"learning_rate": self.game_learning_rate, "optimizer": partial(adam, betas=(0.5, 0.999))}
        return [
            Update(objective, chain(encoder.parameters(), decoder.parameters())),
            Update(code_criticism, self.critic.parameters(), name="critic", watch=_watched, **game),  # type: ignore[arg-type]
            Update(code_game, encoder.parameters(), name="encoder", **game),  # type: ignore[arg-type]
        ]

    def posterior(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        return self.autoencoder.posterior(x, c)

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        return self.autoencoder.decode(z, c)

    def draw(self, x: Tensor, c: Tensor | None = None, samples: int = 1, q: Distribution | None = None) -> Draw:
        return self.autoencoder.draw(x, c, samples, q)

    @torch.no_grad()
    def prior_codes(self, n: int, c: Tensor | None = None) -> Tensor:
        """n draws from the prior, (n, D)."""
        return self.prior().sample(torch.Size((n,)))

    @torch.no_grad()
    def sample(self, n: int, c: Tensor | None = None, *, noise: bool = False) -> Tensor:
        p = self.decode(self.prior_codes(n), c)
        return p.sample() if noise else p.mean

    def reconstruct(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return self.autoencoder.reconstruct(x, c)

    def encode(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return self.autoencoder.encode(x, c)


def _watched(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """The critic's loss on held-out rows, (B,): log 4 where it cannot tell their codes from draws of the prior."""
    return {"critic_loss": code_criticism(cast(AAE, model), batch).loss}


def _code_critic(schema: Schema, latent_dim: int, hidden: tuple[int, ...], told: int) -> Conditional:
    network = MLP((latent_dim + told,), (1,), hidden)
    if not told:
        return Parametric(network, Point(1))
    return Told(Parametric(Joined(network, 1, planes=False), Point(1)), condition_scale(schema))


@recipe(objective=reconstruction, training={"patience": 0})
def aae(
    schema: Schema,
    *,
    latent_dim: int = 16,
    prior: NoisePriorName = "normal",
    network: NetworkName = "auto",
    hidden: tuple[int, ...] | None = None,
    activation: ActivationName = "relu",
    likelihood: LikelihoodName = "auto",
    sigma: Sigma | None = None,
    critic_width: int = 256,
    critic_layers: int = 2,
    game_learning_rate: float | None = None,
    conditional: bool = False,
) -> AAE:
    """An adversarial autoencoder: its codes are brought to the prior by a critic.

    Args:
        latent_dim: dimensions of the code.
        prior: p(z): normal, or uniform on a box of the same variance.
        network: kind of encoder and decoder; auto takes mlp up to 1,024 values an example, conv above.
        hidden: layer widths (mlp) or channels per stage (conv, resnet) of the encoder, mirrored in the decoder.
        activation: between the layers.
        likelihood: p(x|z); auto: bernoulli for binary data, discretized-logistic for levels of gray, else gaussian.
        sigma: scale of gaussian and student-t (default shared) or discretized-logistic (default element): a number, shared,
            element; for gaussian also optimal.
        critic_width: units in each hidden layer of the critic of codes.
        critic_layers: hidden layers of that critic.
        game_learning_rate: of the critic's Adam, and of the encoder's where it plays against the critic; left out, that of the
            autoencoder, with its decay: an encoder that still plays when the decoder has come to rest would leave it behind.
        conditional: tell encoder, decoder and critic the class of each example, or its conditions.
    """
    check_latent_dim(latent_dim)
    for name, value in (("critic_width", critic_width), ("critic_layers", critic_layers)):
        if value < 1:
            raise UsageError(f"{name} {value}: expected at least 1")
    if game_learning_rate is not None and not 0 < game_learning_rate < math.inf:
        raise UsageError(f"game_learning_rate {game_learning_rate}: expected a positive number")
    check_noise_prior("aae", prior)
    told = condition_size(schema, "aae") if conditional else 0
    encoder, decoder = make_coders(schema, Point(latent_dim), network, hidden, activation, likelihood, sigma, told=told)
    critic = _code_critic(schema, latent_dim, (critic_width,) * critic_layers, told)
    autoencoder = LatentModel(encoder, decoder, None, latent_dim, condition_dim=told)
    return AAE(autoencoder, critic, make_prior(prior, latent_dim), game_learning_rate)
