"""The variational autoencoder.

Kingma & Welling, "Auto-encoding variational Bayes", ICLR 2014; Rezende, Mohamed & Wierstra, ICML 2014.

    z ~ p(z) = N(0, I)
    x ~ p(x | z) = likelihood(decoder(z))
    q(z | x) = N(mu(x), diag(sigma^2(x))),   z = mu + sigma * eps,   eps ~ N(0, I)
    log p(x) >= E_q[log p(x | z)] - KL(q(z | x), p(z)),
    KL = 1/2 sum_d (mu_d^2 + sigma_d^2 - 1 - log sigma_d^2)
"""

from __future__ import annotations

from vaekit.conditional import StandardNormal
from vaekit.data.schema import Schema
from vaekit.distributions.families import DiagonalGaussian, Sigma
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
from vaekit.objectives import elbo


@recipe(objective=elbo)
def vae(
    schema: Schema,
    *,
    latent_dim: int = 16,
    network: NetworkName = "auto",
    hidden: tuple[int, ...] | None = None,
    activation: ActivationName = "relu",
    likelihood: LikelihoodName = "auto",
    sigma: Sigma | None = None,
) -> LatentModel:
    """A VAE with a diagonal Gaussian posterior and a standard normal prior.

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
    return LatentModel(
        make_encoder(schema, architecture, DiagonalGaussian(latent_dim)),
        make_decoder(schema, architecture, latent_dim, likelihood, sigma),
        StandardNormal(latent_dim),
        latent_dim,
    )
