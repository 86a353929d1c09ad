"""The autoencoder: a code that lets the example be written down again, and no more.

Hinton & Salakhutdinov, "Reducing the dimensionality of data with neural networks", Science 2006.

    z = encoder(x),   loss = -log p(x | z)

With a Gaussian of fixed sigma = 1 the loss is half the squared error plus a constant. There is no prior, hence no
log p(x), no ELBO and nothing to sample from.
"""

from __future__ import annotations

from vaekit.data.schema import Schema
from vaekit.distributions.families import Point, Sigma
from vaekit.models.base import LatentModel
from vaekit.models.parts import (
    ActivationName,
    Architecture,
    LikelihoodName,
    NetworkName,
    check_latent_dim,
    make_decoder,
    make_encoder,
)
from vaekit.models.recipes import recipe
from vaekit.objectives import reconstruction


@recipe(objective=reconstruction)
def autoencoder(
    schema: Schema,
    *,
    latent_dim: int = 16,
    network: NetworkName = "auto",
    hidden: tuple[int, ...] | None = None,
    activation: ActivationName = "relu",
    likelihood: LikelihoodName = "auto",
    sigma: Sigma | None = None,
) -> LatentModel:
    """A plain autoencoder.

    Args:
        latent_dim: dimensions of the code.
        network: kind of encoder and decoder; auto takes mlp up to 1,024 values an example, conv above.
        hidden: layer widths (mlp) or channels per stage (conv, resnet) of the encoder, mirrored in the decoder.
        activation: between the layers.
        likelihood: p(x|z); auto: bernoulli for binary data, discretized-logistic for levels of gray, else gaussian.
        sigma: scale of gaussian (default shared) and discretized-logistic (default element): a number, shared, element.
    """
    check_latent_dim(latent_dim)
    architecture = Architecture.resolve(schema, network, hidden, activation)
    encoder = make_encoder(schema, architecture, Point(latent_dim))
    decoder = make_decoder(schema, architecture, latent_dim, likelihood, sigma)
    return LatentModel(encoder, decoder, None, latent_dim)
