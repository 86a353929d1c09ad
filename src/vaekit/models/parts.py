"""What the recipes share: an encoder and a decoder for a schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from vaekit.conditional import Parametric, Standardise
from vaekit.data.schema import Schema
from vaekit.distributions.families import Family, Sigma
from vaekit.distributions.likelihoods import choose_likelihood, make_likelihood
from vaekit.errors import UsageError
from vaekit.networks import build_network, choose_network, default_hidden

NetworkName = Literal["auto", "mlp", "conv", "resnet"]
PosteriorName = Literal["diagonal", "full", "flow", "box"]
PriorName = Literal["normal", "uniform", "mixture", "vamp", "flow"]
SecondStageName = Literal["none", "mixture", "flow"]
ActivationName = Literal["relu", "tanh", "silu", "gelu", "gated", "none"]
LikelihoodName = Literal[
    "auto",
    "bernoulli",
    "continuous-bernoulli",
    "gaussian",
    "student-t",
    "discretized-logistic",
    "logistic-mixture",
    "beta-binomial",
    "categorical",
]


@dataclass(frozen=True)
class Architecture:
    """Kind, sizes and activation of an encoder and its mirrored decoder, resolved for a schema."""

    network: str
    hidden: tuple[int, ...]
    activation: str

    @classmethod
    def resolve(cls, schema: Schema, network: str, hidden: tuple[int, ...] | None, activation: str) -> Architecture:
        kind = choose_network(network, schema.shape)
        return cls(kind, default_hidden(kind, schema.shape) if hidden is None else tuple(hidden), activation)

    @property
    def upwards(self) -> tuple[int, ...]:
        """Hidden sizes of the decoder: an mlp's are mirrored, a convolutional network mirrors them itself."""
        return self.hidden[::-1] if self.network == "mlp" else self.hidden


def make_encoder(schema: Schema, architecture: Architecture, family: Family) -> Parametric:
    """q(z | x): a network from an example to the raw parameters of `family`."""
    a = architecture
    network = build_network(a.network, schema.shape, family.raw_shape, a.hidden, a.activation)
    if schema.support == "real":
        network = nn.Sequential(Standardise(schema.shift, schema.scale), network)
    return Parametric(network, family)


def make_decoder(
    schema: Schema, architecture: Architecture, latent_dim: int, likelihood: str, sigma: Sigma | None
) -> Parametric:
    """p(x | z): a network from a code to the raw parameters of the likelihood, its bias starting at the training mean."""
    a = architecture
    family = make_likelihood(choose_likelihood(likelihood, schema), schema, sigma)
    network = build_network(a.network, (latent_dim,), family.raw_shape, a.upwards, a.activation)
    if schema.mean is not None:
        with torch.no_grad():
            network.bias.copy_(family.start(schema.mean))  # type: ignore[operator, union-attr]  # every network has a bias
    return Parametric(network, family)


def make_coders(
    schema: Schema,
    posterior: Family,
    network: str,
    hidden: tuple[int, ...] | None,
    activation: str,
    likelihood: str,
    sigma: Sigma | None,
) -> tuple[Parametric, Parametric]:
    """Encoder q(z | x) of the family `posterior`, and the decoder p(x | z) that mirrors it."""
    architecture = Architecture.resolve(schema, network, hidden, activation)
    encoder = make_encoder(schema, architecture, posterior)
    return encoder, make_decoder(schema, architecture, posterior.event_shape[0], likelihood, sigma)


def check_latent_dim(latent_dim: int) -> None:
    """Raise UsageError unless there is at least one latent dimension."""
    if latent_dim < 1:
        raise UsageError(f"latent_dim {latent_dim}: expected at least 1")
