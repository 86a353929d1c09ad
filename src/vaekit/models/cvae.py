"""The conditional variational autoencoder: a VAE that is told something of each example, its class above all.

Kingma, Mohamed, Rezende & Welling, "Semi-supervised learning with deep generative models", NeurIPS 2014 (M2 with every
label known); Sohn, Lee & Yan, "Learning structured output representation using deep conditional generative models",
NeurIPS 2015.

    z ~ p(z) = N(0, I), or p(z | c)
    x ~ p(x | z, c) = likelihood(decoder(z, c))
    q(z | x, c) = N(mu(x, c), diag(sigma^2(x, c)))
    log p(x | c) >= E_q[log p(x | z, c)] - KL(q(z | x, c), p(z | c))

c is the class as a one-hot vector, or the numbers that the data name as conditions (`Schema.condition_names`). Since c is
given, z is left with what c does not say: with its prior the same for every c, the style.
"""

from __future__ import annotations

from typing import Literal

from vaekit.conditional import Told
from vaekit.data.schema import Schema
from vaekit.distributions.families import Sigma
from vaekit.distributions.posteriors import DiagonalGaussian
from vaekit.models.base import LatentModel
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
from vaekit.objectives import elbo
from vaekit.priors import make_prior


@recipe(objective=elbo)
def cvae(
    schema: Schema,
    *,
    latent_dim: int = 16,
    prior: Literal["normal", "conditional", "mixture", "flow"] = "normal",
    prior_components: int = 10,
    network: NetworkName = "auto",
    hidden: tuple[int, ...] | None = None,
    activation: ActivationName = "relu",
    likelihood: LikelihoodName = "auto",
    sigma: Sigma | None = None,
) -> LatentModel:
    """A conditional VAE: encoder and decoder are told the class (or the data's conditions).

    Args:
        latent_dim: dimensions of the code.
        prior: normal is the same for every condition; conditional is a Gaussian, mixture and flow are p(z|c) of these
            forms, learned as functions of c.
        prior_components: Gaussians of the mixture.
        network: kind of encoder and decoder; auto takes mlp up to 1,024 values an example, conv above.
        hidden: layer widths (mlp) or channels per stage (conv, resnet) of the encoder, mirrored in the decoder.
        activation: between the layers.
        likelihood: p(x|z,c); auto: bernoulli for binary data, discretized-logistic for levels of gray, else gaussian.
        sigma: scale of gaussian (default shared) and discretized-logistic (default element): a number, shared, element.
    """
    check_latent_dim(latent_dim)
    size = condition_size(schema, "cvae")
    family = DiagonalGaussian(latent_dim)
    encoder, decoder = make_coders(schema, family, network, hidden, activation, likelihood, sigma, told=size)
    form = "normal" if prior == "conditional" else prior
    told = 0 if prior == "normal" else size
    p = make_prior(form, latent_dim, components=prior_components, condition_dim=told)
    p = Told(p, condition_scale(schema)) if told else p
    return LatentModel(encoder, decoder, p, latent_dim, condition_dim=size)
