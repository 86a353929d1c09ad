"""FactorVAE: a VAE, and a critic that measures the total correlation of its codes.

Kim & Mnih, "Disentangling by factorising", ICML 2018.

    z ~ p(z) = N(0, I),  x ~ p(x | z),  q(z | x) diagonal Gaussian: the VAE's
    loss = -ELBO + gamma * TC,   TC = KL(q(z), prod_d q(z_d)) ~ E_q(z) [f(z)]
    f(z): the logit of a critic that tells draws of q(z) from draws whose dimensions were permuted over the batch

Two players take turns at each batch: encoder and decoder by the first line, the critic by its classification.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vaekit.data.schema import Schema
from vaekit.distributions.families import Sigma
from vaekit.distributions.posteriors import DiagonalGaussian
from vaekit.errors import UsageError
from vaekit.models.base import LatentModel, Model
from vaekit.models.parts import (
    ActivationName,
    LikelihoodName,
    NetworkName,
    check_latent_dim,
    condition_size,
    make_coders,
)
from vaekit.models.recipes import recipe
from vaekit.networks import MLP
from vaekit.objectives import Draw, Terms, factor
from vaekit.objectives.critic import criticism
from vaekit.priors import StandardNormal
from vaekit.updates import Update


class FactorVAE(Model):
    """A VAE with a critic of its codes: every verb is the VAE's, and training has two players.

    Args:
        vae: the model itself.
        critic: codes (*, D) -> logits (*, 1).
        critic_learning_rate: of the critic's Adam, whose betas are (0.5, 0.9) as in the paper.
    """

    def __init__(self, vae: LatentModel, critic: nn.Module, critic_learning_rate: float) -> None:
        super().__init__()
        self.vae, self.critic, self.critic_learning_rate = vae, critic, critic_learning_rate
        self.latent_dim, self.has_likelihood = vae.latent_dim, vae.has_likelihood
        self.condition_dim = vae.condition_dim

    def criticise(self, z: Tensor) -> Tensor:
        """f(z), (*,) for codes (*, D)."""
        return self.critic(z).squeeze(-1)

    def updates(self, objective: Callable[..., Terms]) -> list[Update]:
        """The VAE by `objective`, then the critic; neither moves the other's parameters."""
        return [
            Update(objective, self.vae.parameters()),
            Update(criticism, self.critic.parameters(), learning_rate=self.critic_learning_rate, optimizer=_adam),
        ]

    def posterior(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        return self.vae.posterior(x, c)

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        return self.vae.decode(z, c)

    def draw(self, x: Tensor, c: Tensor | None = None, samples: int = 1, q: Distribution | None = None) -> Draw:
        return self.vae.draw(x, c, samples, q)

    def sample(self, n: int, c: Tensor | None = None, *, noise: bool = False) -> Tensor:
        return self.vae.sample(n, c, noise=noise)

    def prior_codes(self, n: int, c: Tensor | None = None) -> Tensor:
        """n draws from the prior, (n, D)."""
        return self.vae.prior_codes(n, c)

    def reconstruct(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return self.vae.reconstruct(x, c)

    def encode(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return self.vae.encode(x, c)


def _adam(parameters: list[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, learning_rate, betas=(0.5, 0.9))


@recipe(objective=factor)
def factorvae(
    schema: Schema,
    *,
    latent_dim: int = 16,
    network: NetworkName = "auto",
    hidden: tuple[int, ...] | None = None,
    activation: ActivationName = "relu",
    likelihood: LikelihoodName = "auto",
    sigma: Sigma | None = None,
    critic_width: int = 256,
    critic_layers: int = 3,
    critic_learning_rate: float = 1e-4,
    conditional: bool = False,
) -> FactorVAE:
    """A VAE with a diagonal Gaussian posterior and a standard normal prior, and a critic of its codes.

    Args:
        latent_dim: dimensions of the code.
        network: kind of encoder and decoder; auto takes mlp up to 1,024 values an example, conv above.
        hidden: layer widths (mlp) or channels per stage (conv, resnet) of the encoder, mirrored in the decoder.
        activation: between the layers.
        likelihood: p(x|z); auto: bernoulli for binary data, discretized-logistic for levels of gray, else gaussian.
        sigma: scale of gaussian and student-t (default shared) or discretized-logistic (default element): a number, shared,
            element; for gaussian also optimal.
        critic_width: units in each hidden layer of the critic (the paper has 1,000).
        critic_layers: hidden layers of the critic (the paper has 5).
        critic_learning_rate: of the critic's Adam.
        conditional: tell encoder and decoder the class of each example, or its conditions, as `cvae` does.
    """
    check_latent_dim(latent_dim)
    for name, value in (("critic_width", critic_width), ("critic_layers", critic_layers)):
        if value < 1:
            raise UsageError(f"{name} {value}: expected at least 1")
    if not 0 < critic_learning_rate < math.inf:
        raise UsageError(f"critic_learning_rate {critic_learning_rate}: expected a positive number")
    told = condition_size(schema, "factorvae") if conditional else 0
    family = DiagonalGaussian(latent_dim)
    encoder, decoder = make_coders(schema, family, network, hidden, activation, likelihood, sigma, told=told)
    autoencoder = LatentModel(encoder, decoder, StandardNormal(latent_dim), latent_dim, condition_dim=told)
    critic = MLP((latent_dim,), (1,), (critic_width,) * critic_layers, "relu")
    return FactorVAE(autoencoder, critic, critic_learning_rate)
