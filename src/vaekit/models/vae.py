"""The variational autoencoder.

Kingma & Welling, "Auto-encoding variational Bayes", ICLR 2014; Rezende, Mohamed & Wierstra, ICML 2014.

    z ~ p(z) = N(0, I)
    x ~ p(x | z) = likelihood(decoder(z))
    q(z | x) = N(mu(x), diag(sigma^2(x))),   z = mu + sigma * eps,   eps ~ N(0, I)
    log p(x) >= E_q[log p(x | z)] - KL(q(z | x), p(z)),
    KL = 1/2 sum_d (mu_d^2 + sigma_d^2 - 1 - log sigma_d^2)

Posterior and prior are parts: `distributions/posteriors.py` and `priors.py` have the others, with their references.
"""

from __future__ import annotations

from vaekit.data.schema import Schema
from vaekit.distributions.families import Sigma
from vaekit.distributions.posteriors import make_posterior
from vaekit.models.base import LatentModel
from vaekit.models.parts import (
    ActivationName,
    LikelihoodName,
    NetworkName,
    PosteriorName,
    PriorName,
    SecondStageName,
    check_latent_dim,
    make_coders,
)
from vaekit.models.recipes import recipe
from vaekit.objectives import elbo
from vaekit.priors import check_support, make_prior, make_second_stage


@recipe(objective=elbo)
def vae(
    schema: Schema,
    *,
    latent_dim: int = 16,
    posterior: PosteriorName = "diagonal",
    prior: PriorName = "normal",
    prior_components: int = 10,
    second_stage: SecondStageName = "none",
    network: NetworkName = "auto",
    hidden: tuple[int, ...] | None = None,
    activation: ActivationName = "relu",
    likelihood: LikelihoodName = "auto",
    sigma: Sigma | None = None,
) -> LatentModel:
    """A VAE; by default with a diagonal Gaussian posterior and a standard normal prior.

    Args:
        latent_dim: dimensions of the code.
        posterior: q(z|x); diagonal or full covariance Gaussian, a flow, or box for the uniform prior.
        prior: p(z); mixture, vamp and flow are learned with the rest; uniform needs posterior box.
        prior_components: Gaussians of a mixture (of the prior, of a second stage), or pseudo-inputs of a vamp prior.
        second_stage: a prior that is fitted to the codes after training, and sampled from in place of p(z).
        network: kind of encoder and decoder; auto takes mlp up to 1,024 values an example, conv above.
        hidden: layer widths (mlp) or channels per stage (conv, resnet) of the encoder, mirrored in the decoder;
            () is a linear network, on the command line `linear`.
        activation: between the layers.
        likelihood: p(x|z); auto: bernoulli for binary data, discretized-logistic for levels of gray, else gaussian.
        sigma: scale of gaussian and student-t (default shared) or discretized-logistic (default element): a number, shared,
            element; for gaussian also optimal.
    """
    check_latent_dim(latent_dim)
    check_support(posterior, prior)
    family = make_posterior(posterior, latent_dim)
    encoder, decoder = make_coders(schema, family, network, hidden, activation, likelihood, sigma)
    p = make_prior(prior, latent_dim, components=prior_components, encoder=encoder, schema=schema)
    return LatentModel(encoder, decoder, p, latent_dim, make_second_stage(second_stage, latent_dim, prior_components))
