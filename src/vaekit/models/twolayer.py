"""Two stochastic layers with bottom-up inference.

Rezende, Mohamed & Wierstra, ICML 2014 (deep latent Gaussian model); Burda, Grosse & Salakhutdinov, "Importance weighted
autoencoders", ICLR 2016 (its two-layer model).

    z2 ~ p(z2) = N(0, I)
    z1 ~ p(z1 | z2) = N(m1(z2), diag s1^2(z2))
    x  ~ p(x | z1) = likelihood(decoder(z1))
    q(z1, z2 | x) = q(z1 | x) q(z2 | z1),   both diagonal Gaussian
    log p(x) >= E_q[log p(x | z1)] - E_q[log q(z1 | x) - log p(z1 | z2)] - E_q[KL(q(z2 | z1), p(z2))]

The first of the two rates has no closed form and may be negative: q(z1 | x) is compared with p(z1 | z2), not with the
marginal p(z1). Hence no KL of single dimensions, and no free bits: train a `ladder` for those.
"""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution

from vaekit.conditional import Conditional
from vaekit.data.schema import Schema
from vaekit.distributions.chain import Chain
from vaekit.distributions.families import Sigma
from vaekit.distributions.posteriors import DiagonalGaussian
from vaekit.errors import UsageError
from vaekit.models.base import LatentModel
from vaekit.models.layers import FromBottom, gaussian_step, layer_sizes, make_top_down
from vaekit.models.parts import (
    ActivationName,
    Architecture,
    LikelihoodName,
    NetworkName,
    condition_size,
    make_decoder,
    make_encoder,
)
from vaekit.models.recipes import recipe
from vaekit.objectives import elbo


class BottomUp(Conditional):
    """q(z1, z2 | x) = q(z1 | x) q(z2 | z1)."""

    def __init__(self, lower: Conditional, upper: Conditional, sizes: tuple[int, int]) -> None:
        super().__init__()
        self.lower, self.upper, self.sizes = lower, upper, sizes

    def forward(self, *given: Tensor) -> Distribution:
        return Chain(self.lower(*given), [self.upper], self.sizes, top_down=False)


@recipe(objective=elbo)
def two_layer(
    schema: Schema,
    *,
    latent_dims: tuple[int, ...] | None = None,
    latent_dim: int | None = None,
    network: NetworkName = "auto",
    hidden: tuple[int, ...] | None = None,
    activation: ActivationName = "relu",
    likelihood: LikelihoodName = "auto",
    sigma: Sigma | None = None,
    conditional: bool = False,
) -> LatentModel:
    """Two layers of codes, z2 over z1, with inference from the bottom up.

    Args:
        latent_dims: dimensions of z1 and z2, as 100,50; left out, latent_dim is divided so that z2 has half as many as z1.
        latent_dim: dimensions of both layers together; left out, 24.
        network: kind of encoder and decoder; auto takes mlp up to 1,024 values an example, conv above.
        hidden: layer widths (mlp) or channels per stage (conv, resnet) of the encoder, mirrored in the decoder; the
            networks between z1 and z2 have half the widths.
        activation: between the layers.
        likelihood: p(x|z1); auto: bernoulli for binary data, discretized-logistic for levels of gray, else gaussian.
        sigma: scale of gaussian (default shared) and discretized-logistic (default element): a number, shared, element.
        conditional: tell q(z1|x) and the decoder the class of each example, or its conditions, as `cvae` does.
    """
    sizes = layer_sizes(latent_dims, latent_dim, None, dims=24, depth=2)
    if len(sizes) != 2:
        raise UsageError(f"two_layer: latent_dims {sizes}: expected two layers; a ladder has any number")
    lower, upper = sizes
    architecture = Architecture.resolve(schema, network, hidden, activation)
    told = condition_size(schema, "two_layer") if conditional else 0
    encoder = make_encoder(schema, architecture, DiagonalGaussian(lower), told=told)
    decoder = make_decoder(schema, architecture, lower, likelihood, sigma, told=told)
    return LatentModel(
        BottomUp(encoder, gaussian_step(lower, upper, architecture), (lower, upper)),
        FromBottom(decoder, lower),
        make_top_down(sizes, architecture),
        sum(sizes),
        condition_dim=told,
    )
