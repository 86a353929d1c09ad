"""The ladder variational autoencoder: any number of stochastic layers, inferred from the top down.

Sonderby, Raiko, Maaloe, Sonderby & Winther, "Ladder variational autoencoders", NeurIPS 2016; shared top-down inference as
in Kingma et al., "Improved variational inference with inverse autoregressive flow", NeurIPS 2016.

    z_L ~ N(0, I),   z_l ~ p(z_l | z_{l+1}) = N(m_l(z_{l+1}), diag s_l^2(z_{l+1})),   x ~ p(x | z_1)

    bottom-up, without noise        d_1 = f_1(x),  d_l = f_l(d_{l-1});   (n_l, t_l^2) = head_l(d_l)
    top-down, sharing p's networks  q(z_L | x) = N(n_L, t_L^2)
                                    q(z_l | z_{l+1}, x) = N(n_l, t_l^2) N(m_l, s_l^2) / constant
                                      variance 1 / (t_l^-2 + s_l^-2),  mean weighted by the precisions t_l^-2 and s_l^-2

    log p(x) >= E_q[log p(x | z_1)] - KL(q(z_L | x), p(z_L)) - sum_{l < L} E_q[KL(q(z_l | z_{l+1}, x), p(z_l | z_{l+1}))]

q and p draw their layers in one order, so every rate is a KL in closed form given the layer above, and free bits apply to
each dimension. With one layer it is the VAE. The paper's batch normalisation is left out: an example's score would depend
on its company.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from vaekit.conditional import Conditional, Parametric, Standardise
from vaekit.data.schema import Schema
from vaekit.distributions.chain import Chain, Step
from vaekit.distributions.families import Sigma
from vaekit.distributions.posteriors import DiagonalGaussian
from vaekit.models.base import LatentModel
from vaekit.models.layers import FromBottom, TopDown, layer_sizes, make_top_down
from vaekit.models.parts import (
    ActivationName,
    Architecture,
    LikelihoodName,
    NetworkName,
    condition_scale,
    condition_size,
    make_decoder,
)
from vaekit.models.recipes import recipe
from vaekit.networks import MLP, build_network
from vaekit.networks.joined import Joined
from vaekit.networks.mlp import activation_module
from vaekit.objectives import elbo


class LadderPosterior(Conditional):
    """q(z | x), top-down, each layer the product of what x says of it and the prior's conditional.

    Args:
        stages: f_l, from x to d_1 and from d_{l-1} to d_l, the bottom first.
        heads: N(n_l, t_l^2) from d_l, the bottom first.
        prior: the model's prior; its parameters stay its own.
    """

    def __init__(self, stages: list[nn.Module], heads: list[Conditional], prior: TopDown) -> None:
        super().__init__()
        self.stages, self.heads = nn.ModuleList(stages), nn.ModuleList(heads)
        self._shared = (prior,)  # in a tuple, so that the prior is registered once, where the model has it

    def forward(self, *given: Tensor) -> Distribution:
        (prior,), below = self._shared, given
        said = []
        for stage, head in zip(self.stages, self.heads, strict=True):
            below = (stage(*below),)  # only the first is told a condition
            said.append(head(*below))
        steps = [partial(_shared_step, q, p) for q, p in zip(said[-2::-1], prior.steps, strict=True)]
        return Chain(said[-1], steps, prior.sizes, top_down=True)


def _shared_step(said: Independent, prior: Step, above: Tensor) -> Distribution:
    return product(said, prior(above))


def product(a: Distribution, b: Distribution) -> Independent:
    """The Gaussian proportional to the product of two diagonal Gaussians (*, D)."""
    first, second = a.base_dist, b.base_dist  # type: ignore[attr-defined]
    total = first.variance + second.variance
    share = second.variance / total  # the precision of a in that of the product
    loc = share * first.loc + (1 - share) * second.loc
    scale = first.scale * second.scale / total.sqrt()
    return Independent(Normal(loc, scale, validate_args=False), 1, validate_args=False)


@recipe(objective=elbo)
def ladder(
    schema: Schema,
    *,
    layers: int | None = None,
    latent_dims: tuple[int, ...] | None = None,
    latent_dim: int | None = None,
    network: NetworkName = "auto",
    hidden: tuple[int, ...] | None = None,
    activation: ActivationName = "relu",
    likelihood: LikelihoodName = "auto",
    sigma: Sigma | None = None,
    conditional: bool = False,
) -> LatentModel:
    """A ladder of layers of codes, with inference from the top down that shares the prior's networks.

    Args:
        layers: stochastic layers; left out, 3 or as many as latent_dims.
        latent_dims: dimensions of each layer from the bottom up, as 16,8,4; left out, latent_dim is divided so that each
            layer has about half as many as the one below it.
        latent_dim: dimensions of all layers together; left out, 28.
        network: kind of encoder and decoder; auto takes mlp up to 1,024 values an example, conv above.
        hidden: layer widths (mlp) or channels per stage (conv, resnet) of the encoder, mirrored in the decoder; the
            networks between layers of codes have half the widths.
        activation: between the layers.
        likelihood: p(x|z1); auto: bernoulli for binary data, discretized-logistic for levels of gray, else gaussian.
        sigma: scale of gaussian (default shared) and discretized-logistic (default element): a number, shared, element.
        conditional: tell encoder and decoder the class of each example, or its conditions, as `cvae` does.
    """
    sizes = layer_sizes(latent_dims, latent_dim, layers, dims=28, depth=3)
    architecture = Architecture.resolve(schema, network, hidden, activation)
    prior = make_top_down(sizes, architecture)
    told = condition_size(schema, "ladder") if conditional else 0
    decoder = make_decoder(schema, architecture, sizes[0], likelihood, sigma, told=told)
    encoder = _make_posterior(schema, architecture, prior, told)
    return LatentModel(encoder, FromBottom(decoder, sizes[0]), prior, sum(sizes), condition_dim=told)


def _make_posterior(schema: Schema, architecture: Architecture, prior: TopDown, told: int) -> LadderPosterior:
    """Without hidden layers every head is linear in x; else the way up is the encoder's, then one layer a stage."""
    a, sizes = architecture, prior.sizes
    if not a.hidden:
        size = schema.size + told
        flat: nn.Module = nn.Identity() if told else nn.Flatten(-len(schema.shape))  # Joined has made it flat
        stages: list[nn.Module] = [_seen(schema, told, flat, False), *(nn.Identity() for _ in sizes[1:])]
        linear = [Parametric(MLP((size,), (2, d), ()), DiagonalGaussian(d)) for d in sizes]
        return LadderPosterior(stages, _near_the_prior(linear), prior)
    mlp = a.network == "mlp"
    widths = [max(1, (a.hidden[-1] if mlp else 4 * max(a.hidden)) >> at) for at in range(len(sizes))]
    shape = schema.shape
    if told:
        shape = (schema.size + told,) if mlp else (shape[0] + told, *shape[1:])
    first = build_network(a.network, shape, (widths[0],), a.hidden[:-1] if mlp else a.hidden, a.activation)
    stages = [_seen(schema, told, nn.Sequential(first, activation_module(a.activation)), not mlp)]
    for before, after in pairwise(widths):
        stages.append(nn.Sequential(nn.Linear(before, after), activation_module(a.activation)))
    heads = [Parametric(MLP((w,), (2, d), ()), DiagonalGaussian(d)) for w, d in zip(widths, sizes, strict=True)]
    return LadderPosterior(stages, _near_the_prior(heads), prior)


def _seen(schema: Schema, told: int, network: nn.Module, planes: bool) -> nn.Module:
    """`network` of x, or of x and a condition of length `told`, each brought to scale first."""
    before = Standardise(schema.shift, schema.scale) if schema.support == "real" else nn.Identity()
    if not told:
        return nn.Sequential(before, network)
    return Joined(network, len(schema.shape), planes, before, condition_scale(schema))


def _near_the_prior(heads: list[Parametric]) -> list[Conditional]:
    """The heads, those below the top starting with t^2 = 20 and n 20 times as large as a new layer has it.

    q then starts with a KL near 0 and a mean that x moves about as far as a VAE's. With t^2 near s^2 it would start at
    0.1 nats of each dimension, and learn to be rid of them before it learns to use them.
    """
    start = 20.0
    with torch.no_grad():
        for head in heads[:-1]:
            out = head.network.out
            assert isinstance(out, nn.Linear)
            half = out.out_features // 2
            out.weight[:half] *= start
            out.bias[:half] *= start
            out.bias[half:] += math.log(start)
    return list(heads)
