"""The autoencoder: a code that lets the example be written down again, and no more.

Hinton & Salakhutdinov, "Reducing the dimensionality of data with neural networks", Science 2006.

    z = encoder(x),   loss = -log p(x | z)

With a Gaussian of fixed sigma = 1 the loss is half the squared error plus a constant. There is no prior, hence no
log p(x) and no ELBO. With a second stage, a distribution fitted to the codes after training, it can be sampled from:
Ghosh, Sajjadi, Vergari, Black & Schoelkopf, "From variational to deterministic autoencoders", ICLR 2020.
"""

from __future__ import annotations

from vaekit.data.schema import Schema
from vaekit.distributions.families import Sigma
from vaekit.distributions.posteriors import Point
from vaekit.models.base import LatentModel
from vaekit.models.parts import (
    ActivationName,
    LikelihoodName,
    NetworkName,
    SecondStageName,
    check_latent_dim,
    condition_scale,
    condition_size,
    make_coders,
)
from vaekit.models.recipes import recipe
from vaekit.networks.sparse import KSparse
from vaekit.objectives import reconstruction
from vaekit.priors import make_second_stage


@recipe(objective=reconstruction)
def autoencoder(
    schema: Schema,
    *,
    latent_dim: int = 16,
    k_sparse: int | None = None,
    second_stage: SecondStageName = "none",
    prior_components: int = 10,
    network: NetworkName = "auto",
    hidden: tuple[int, ...] | None = None,
    activation: ActivationName = "relu",
    likelihood: LikelihoodName = "auto",
    sigma: Sigma | None = None,
    conditional: bool = False,
) -> LatentModel:
    """A plain autoencoder. Its denoising, sparse and contractive forms are keywords of the objective `reconstruction`.

    Args:
        latent_dim: dimensions of the code.
        k_sparse: elements of a code that stay, those of the largest magnitude; the others are set to 0 (Makhzani & Frey,
            ICLR 2014). Left out, all stay.
        second_stage: a distribution that is fitted to the codes after training, so that there is something to sample from.
        prior_components: Gaussians of a mixture as second stage.
        network: kind of encoder and decoder; auto takes mlp up to 1,024 values an example, conv above.
        hidden: layer widths (mlp) or channels per stage (conv, resnet) of the encoder, mirrored in the decoder.
        activation: between the layers.
        likelihood: p(x|z); auto: bernoulli for binary data, discretized-logistic for levels of gray, else gaussian.
        sigma: scale of gaussian and student-t (default shared) or discretized-logistic (default element): a number, shared,
            element; for gaussian also optimal.
        conditional: tell encoder and decoder the class of each example, or its conditions, as `cvae` does.
    """
    check_latent_dim(latent_dim)
    told = condition_size(schema, "autoencoder") if conditional else 0
    sparse = None if k_sparse is None else KSparse(k_sparse, latent_dim)
    encoder, decoder = make_coders(
        schema, Point(latent_dim), network, hidden, activation, likelihood, sigma, told=told, after=sparse
    )
    scale = condition_scale(schema) if told else None
    second = make_second_stage(second_stage, latent_dim, prior_components, told, scale)
    return LatentModel(encoder, decoder, None, latent_dim, second, told)
