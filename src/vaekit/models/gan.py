"""The generative adversarial network: a generator that is trained until a critic cannot tell its examples from the data.

Goodfellow, Pouget-Abadie, Mirza, Xu, Warde-Farley, Ozair, Courville & Bengio, "Generative adversarial nets", NeurIPS 2014;
conditional: Mirza & Osindero, 2014.

    z ~ p(z) = N(0, I) or uniform,   x = G(z),  or G(z, c)
    f(x), or f(x, c): the critic; D = sigmoid(f) is its probability that x is real
    G   minimises -log D(G(z)),   f   minimises -log D(x) - log (1 - D(G(z)))       (others: objectives/adversarial.py)

G is the network that a VAE decodes with, f the one it encodes with, with one output. There is no p(x | z) and no q(z | x),
hence no likelihood and no code of an example. Samples are those of the generator's moving average over its steps t,

    a_t = d_t a_(t-1) + (1 - d_t) w_t,   d_t = min(ema, t / (9 + t)),

which quarrels less with the critic of the day (Yazici et al., "The unusual effectiveness of averaging in GAN training",
ICLR 2019).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import Literal, NoReturn, cast, get_args

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vaekit.conditional import Conditional
from vaekit.data import Batch
from vaekit.data.schema import Schema
from vaekit.distributions.posteriors import Point
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
from vaekit.objectives import Draw, Terms
from vaekit.objectives.adversarial import adversarial, critic_loss, criticism, rules_of
from vaekit.optimizers import adam
from vaekit.priors import make_prior
from vaekit.updates import Update

NoisePriorName = Literal["normal", "uniform"]


class GAN(Model):
    """Generator, critic and prior. `decode` and `sample` use the moving average of the generator, which is saved with it.

    Args:
        generator: z, or (z, c) -> all mass at one example.
        critic: x, or (x, c) -> all mass at one number (1,).
        prior: p(z).
        scale: of the data, a number or one a column: slopes of the critic are taken where it is 1.
        critic_steps: steps of the critic for each step of the generator.
        ema: largest weight that the moving average gives to what it was; 0 is the generator itself.
        betas: of both players' Adam.
        critic_learning_rate: of the critic; None is the generator's.
    """

    has_likelihood = False
    has_posterior = False
    averaged_steps: Tensor
    unit: Tensor

    def __init__(
        self,
        generator: Conditional,
        critic: Conditional,
        prior: Conditional,
        latent_dim: int,
        *,
        scale: float | tuple[float, ...] = 1.0,
        critic_steps: int = 1,
        ema: float = 0.999,
        betas: tuple[float, float] = (0.5, 0.999),
        critic_learning_rate: float | None = None,
        condition_dim: int = 0,
    ) -> None:
        super().__init__()
        _check_numbers(critic_steps, ema, betas, critic_learning_rate)
        self.generator, self.critic, self.prior = generator, critic, prior
        self.averaged = copy.deepcopy(generator).requires_grad_(False)
        self.latent_dim, self.condition_dim = latent_dim, condition_dim
        self.critic_steps, self.ema, self.betas, self.critic_learning_rate = (
            critic_steps,
            ema,
            betas,
            critic_learning_rate,
        )
        self.register_buffer("averaged_steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("unit", torch.tensor(scale), persistent=False)

    @property
    def can_sample(self) -> bool:
        return True

    def generate(self, n: int, c: Tensor | None = None) -> Tensor:
        """n examples (n, *shape) of the generator as it stands, with its gradient."""
        z = self.prior_codes(n)
        return (self.generator(z) if c is None else self.generator(z, c)).mean

    def criticise(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """f(x), (B,): higher for what looks real."""
        return (self.critic(x) if c is None else self.critic(x, c)).mean.squeeze(-1)

    def slope(self, gradient: Tensor) -> Tensor:
        """The size (B,) of a gradient df/dx (B, *shape) by x on scale 1."""
        return (gradient * self.unit).flatten(1).norm(dim=1)

    def average(self) -> None:
        """Take the generator's weights into the moving average."""
        self.averaged_steps += 1
        t = int(self.averaged_steps)
        share = 1 - min(self.ema, t / (9 + t)) if self.ema else 1.0
        for kept, new in zip(self.averaged.parameters(), self.generator.parameters(), strict=True):
            kept.lerp_(new, share)

    def updates(self, objective: Callable[..., Terms]) -> list[Update]:
        """The generator by `objective`, and the critic by the other side of the same game."""
        rules = rules_of(objective)
        optimizer = partial(adam, betas=self.betas)
        bound = None if rules["clip"] is None else partial(clip_weights, bound=rules["clip"])
        generator = Update(
            objective, self.generator.parameters(), self.critic_steps, optimizer=optimizer, name="generator",
            after=lambda model: cast(GAN, model).average(), watch=partial(_watched, loss=rules["loss"]),
        )  # fmt: skip
        critic = Update(
            partial(criticism, **rules), self.critic.parameters(), learning_rate=self.critic_learning_rate,
            optimizer=optimizer, name="critic", after=bound,
        )  # fmt: skip
        return [generator, critic]

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        """All mass at the example (*, *shape) of codes (*, D)."""
        return self.averaged(z) if c is None else self.averaged(z, c)

    @torch.no_grad()
    def prior_codes(self, n: int, c: Tensor | None = None) -> Tensor:
        """n draws from the prior, (n, D)."""
        return self.prior().sample(torch.Size((n,)))

    @torch.no_grad()
    def sample(self, n: int, c: Tensor | None = None, *, noise: bool = False) -> Tensor:
        return self.decode(self.prior_codes(n), c).mean

    def posterior(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        return _no_posterior("posterior")

    def draw(self, x: Tensor, c: Tensor | None = None, samples: int = 1, q: Distribution | None = None) -> Draw:
        return _no_posterior("draw")

    def reconstruct(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return _no_posterior("reconstruct")

    def encode(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return _no_posterior("encode")


def _no_posterior(verb: str) -> NoReturn:
    raise UsageError(
        f"{verb}: this model has no posterior, a GAN cannot encode; evaluation.invert searches for a code, and vaegan and aae "
        "have an encoder"
    )


@torch.no_grad()
def clip_weights(model: nn.Module, bound: float) -> None:
    """Bring every weight of the model's critic into [-bound, bound] (Arjovsky et al., ICML 2017)."""
    for weight in cast(GAN, model).critic.parameters():
        weight.clamp_(-bound, bound)


def _watched(model: nn.Module, batch: Batch, loss: str) -> dict[str, Tensor]:
    """What the critic makes of held-out rows beside as many samples, (B,), its penalty left out."""
    players = cast(GAN, model)
    real = players.criticise(*batch)
    fake = players.criticise(players.sample(len(batch.x), batch.c), batch.c)
    return {"wasserstein": real - fake} if loss == "wasserstein" else {"critic_loss": critic_loss(real, fake, loss)}


def _check_numbers(
    critic_steps: int, ema: float, betas: tuple[float, float], critic_learning_rate: float | None
) -> None:
    if critic_steps < 1:
        raise UsageError(
            f"critic_steps {critic_steps}: expected at least 1 step of the critic for each of the generator"
        )
    if not 0 <= ema < 1:
        raise UsageError(f"ema {ema}: expected a weight from 0 (no average) to below 1")
    if not all(0 <= beta < 1 for beta in betas):
        raise UsageError(f"Adam's betas {betas}: expected numbers from 0 to below 1")
    if critic_learning_rate is not None and not 0 < critic_learning_rate < math.inf:
        raise UsageError(f"critic_learning_rate {critic_learning_rate}: expected a positive number")


def check_noise_prior(name: str, prior: str) -> None:
    """Raise UsageError unless the model's prior is one that a critic's game is played with."""
    if prior not in get_args(NoisePriorName):
        raise UsageError(f"model {name}: prior {prior!r}: expected normal or uniform")


def make_gan(
    name: str,
    schema: Schema,
    latent_dim: int,
    prior: str,
    network: str,
    hidden: tuple[int, ...] | None,
    activation: str,
    conditional: bool,
    *,
    critic_steps: int,
    ema: float,
    betas: tuple[float, float],
    critic_learning_rate: float | None,
) -> GAN:
    """Generator and critic for a schema, in the sizes of a VAE's decoder and encoder."""
    check_latent_dim(latent_dim)
    check_noise_prior(name, prior)
    told = condition_size(schema, name) if conditional else 0
    architecture = Architecture.resolve(schema, network, hidden, activation)
    # the critic sees to it that a class is drawn as it is told; told loudly, it drowns the code, and a class has one example
    generator = make_decoder_of(schema, architecture, latent_dim, Values(schema), told=told, loudness=1.0)
    critic = make_encoder(schema, architecture, Point(1), told=told, loudness=1.0)
    return GAN(
        generator, critic, make_prior(prior, latent_dim), latent_dim, scale=schema.scale, critic_steps=critic_steps,
        ema=ema, betas=betas, critic_learning_rate=critic_learning_rate, condition_dim=told,
    )  # fmt: skip


@recipe(objective=adversarial, training={"patience": 0})
def gan(
    schema: Schema,
    *,
    latent_dim: int = 16,
    prior: NoisePriorName = "normal",
    network: NetworkName = "auto",
    hidden: tuple[int, ...] | None = None,
    activation: ActivationName = "relu",
    critic_steps: int = 1,
    ema: float = 0.999,
    beta1: float = 0.5,
    beta2: float = 0.999,
    critic_learning_rate: float | None = None,
    conditional: bool = False,
) -> GAN:
    """A generative adversarial network. Its losses are keywords of the objective `adversarial`.

    Args:
        latent_dim: dimensions of the code.
        prior: p(z): normal, or uniform on a box of the same variance.
        network: kind of generator and critic; auto takes mlp up to 1,024 values an example, conv above.
        hidden: layer widths (mlp) or channels per stage (conv, resnet) of the critic, mirrored in the generator.
        activation: between the layers.
        critic_steps: steps of the critic for each step of the generator.
        ema: largest weight that the generator's moving average, from which samples are made, gives to what it was; 0 takes
            the generator itself.
        beta1, beta2: of both players' Adam.
        critic_learning_rate: of the critic's Adam; left out, that of the generator.
        conditional: tell generator and critic the class of each example, or its conditions.
    """
    return make_gan(
        "gan", schema, latent_dim, prior, network, hidden, activation, conditional, critic_steps=critic_steps, ema=ema,
        betas=(beta1, beta2), critic_learning_rate=critic_learning_rate,
    )  # fmt: skip
