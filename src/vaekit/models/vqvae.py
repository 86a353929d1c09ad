"""The vector-quantised variational autoencoder.

van den Oord, Vinyals & Kavukcuoglu, "Neural discrete representation learning", NeurIPS 2017; residual levels: Lee et al.,
CVPR 2022; finite scalar quantisation in its place: Mentzer et al., ICLR 2024.

    k ~ p(k)                  N codes of L levels with K values each: uniform, then autoregressive
    z = sum_l e_{l, k_l}      the codes' vectors, D numbers at each position
    x ~ p(x | z) = likelihood(decoder(z))
    q(k | x)                  all mass on the nearest code k(x), so log q = 0
    log p(x) >= log p(x | z(k(x))) + log p(k(x))

The bound is what is left of log p(x) = log sum_k p(x, k) when one term of the sum is kept. More draws do not tighten it:
every draw from q is the same code. Under the uniform prior its rate is N L log K.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vaekit.conditional import Conditional, Parametric, Standardise
from vaekit.data.schema import Schema
from vaekit.distributions.families import Sigma
from vaekit.distributions.likelihoods import choose_likelihood, make_likelihood
from vaekit.distributions.point_code import PointCode
from vaekit.distributions.seeded import unseeded
from vaekit.errors import UsageError
from vaekit.models.autoregressive import CodePrior
from vaekit.models.base import Model
from vaekit.models.parts import ActivationName, Architecture, LikelihoodName, NetworkName, check_latent_dim
from vaekit.models.recipes import recipe
from vaekit.networks import build_network
from vaekit.networks.codebook import Codebook, CodebookName, Quantiser
from vaekit.networks.conv import ResidualBlock, plain_block
from vaekit.networks.fsq import FiniteScalar
from vaekit.networks.grid import GridDown, GridUp, grid_size
from vaekit.objectives import Draw
from vaekit.objectives.quantised import vq


class VQVAE(Model):
    """Encoder network, quantiser, decoder and a prior over codes. `latent_dim` counts all N * D numbers of z.

    Args:
        encoder: x (B, *shape) -> (B, N, D).
        quantiser: (B, N, D) -> codes and their vectors.
        decoder: z (*, N * D) -> p(x | z).
        prior: p(codes), over (N, L).
    """

    quantised = True

    def __init__(self, encoder: nn.Module, quantiser: Quantiser, decoder: Conditional, prior: CodePrior) -> None:
        super().__init__()
        self.encoder, self.quantiser, self.decoder, self.prior = encoder, quantiser, decoder, prior
        self.latent_dim = prior.positions * quantiser.dim

    def posterior(self, x: Tensor, c: Tensor | None = None) -> PointCode:
        return PointCode(self.quantiser(self.encoder(x) if c is None else self.encoder(x, c)))

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        """p(x | z) for any z (*, N * D), a sum of codebook vectors or not."""
        return self.decoder(z) if c is None else self.decoder(z, c)

    def draw(self, x: Tensor, c: Tensor | None = None, samples: int = 1, q: Distribution | None = None) -> Draw:
        """K equal draws: the code is decoded and priced once. `log_qz` is 0; the KL is the code length -log p(k)."""
        q = unseeded(self.posterior(x, c) if q is None else q)
        assert isinstance(q, PointCode)
        shape, codes = (samples, *q.batch_shape), q.codes
        log_px = self.decode(q.value, c).log_prob(x)
        return Draw(
            z=q.rsample(torch.Size((samples,))),
            log_px=log_px.expand(shape),
            log_pz=lambda: self.log_prior(codes, c).expand(shape),
            log_qz=lambda: torch.zeros_like(log_px).expand(shape),
            kl=lambda: -self.log_prior(codes, c),
        )

    @property
    def waits_for_prior(self) -> bool:
        """Whether the prior over codes is one that `vaekit.fit_prior` has yet to fit."""
        return self.prior.network is not None and not bool(self.prior.fitted)

    def log_prior(self, codes: Tensor, c: Tensor | None = None) -> Tensor:
        """codes (B, N, L) -> log p(codes) in nats, (B,)."""
        return (self.prior() if c is None else self.prior(c)).log_prob(codes)

    def codes(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """(B, N, L) int64, the codes of examples. Nothing learns from this call."""
        with torch.no_grad():
            return self.posterior(x, c).codes

    @torch.no_grad()
    def sample(self, n: int, c: Tensor | None = None, *, noise: bool = False) -> Tensor:
        prior = self.prior() if c is None else self.prior(c)
        z = self.quantiser.vectors_of(prior.sample(torch.Size((n,)))).flatten(-2)
        p = self.decode(z, c)
        return p.sample() if noise else p.mean

    @torch.no_grad()
    def reconstruct(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return self.decode(self.posterior(x, c).value, c).mean

    @torch.no_grad()
    def encode(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """The vectors of the codes, (B, N * D); `codes` has the codes themselves."""
        return self.posterior(x, c).value


@recipe(objective=vq)
def vqvae(
    schema: Schema,
    *,
    latent_dim: int = 8,
    code_vectors: int = 16,
    quantiser: Literal["vq", "fsq"] = "vq",
    codebook: CodebookName = "ema",
    codebook_size: int = 64,
    levels: int = 1,
    fsq_values: int = 5,
    prior: Literal["autoregressive", "uniform"] = "autoregressive",
    network: NetworkName = "auto",
    hidden: tuple[int, ...] | None = None,
    activation: ActivationName = "relu",
    likelihood: LikelihoodName = "auto",
    sigma: Sigma | None = None,
) -> VQVAE:
    """A VQ-VAE. Convolutional networks give a grid of codes, an mlp `code_vectors` of them.

    Args:
        latent_dim: dimensions of the vector at each position.
        code_vectors: positions of an mlp's code; a convolutional network has one for each place of its last stage.
        quantiser: vq looks up a learned codebook, fsq rounds each dimension to one of fsq_values values.
        codebook: how the codebook of vq is learned: gradient (of the codebook loss) or ema (exponential moving average).
        codebook_size: vectors in the codebook of vq, at each level.
        levels: residual levels of vq; each quantises what the ones before it left over.
        fsq_values: values of each dimension of fsq.
        prior: over the codes; autoregressive is fitted after training, and uniform until then.
        network: kind of encoder and decoder; auto takes mlp up to 1,024 values an example, conv above.
        hidden: layer widths (mlp) or channels per stage (conv, resnet) of the encoder, mirrored in the decoder.
        activation: between the layers.
        likelihood: p(x|z); auto: bernoulli for binary data, discretized-logistic for levels of gray, else gaussian.
        sigma: scale of gaussian (default shared) and discretized-logistic (default element): a number, shared, element.
    """
    check_latent_dim(latent_dim)
    if quantiser not in ("vq", "fsq") or prior not in ("autoregressive", "uniform"):
        raise UsageError(
            f"vqvae: expected quantiser vq or fsq, prior autoregressive or uniform, got {quantiser}, {prior}"
        )
    a = Architecture.resolve(schema, network, hidden, activation)
    positions = _positions(schema, a, code_vectors)
    codes: Quantiser = (
        Codebook(codebook_size, latent_dim, levels, codebook)
        if quantiser == "vq"
        else FiniteScalar(fsq_values, latent_dim)
    )
    return VQVAE(
        _encoder(schema, a, positions, latent_dim),
        codes,
        _decoder(schema, a, positions, latent_dim, likelihood, sigma),
        CodePrior(codes.size, positions, codes.levels, prior == "autoregressive"),
    )


_BLOCKS = {"conv": plain_block, "resnet": ResidualBlock}


def _positions(schema: Schema, a: Architecture, code_vectors: int) -> int:
    if a.network == "mlp":
        if code_vectors < 1:
            raise UsageError(f"code_vectors {code_vectors}: expected at least 1 position for a code")
        return code_vectors
    if not a.hidden or min(a.hidden) < 1:
        raise UsageError(f"hidden {a.hidden}: network {a.network} needs stages of at least 1 channel, e.g. 32,64")
    height, width = grid_size(schema.shape, a.hidden)
    return height * width


def _encoder(schema: Schema, a: Architecture, positions: int, dim: int) -> nn.Module:
    network = (
        build_network("mlp", schema.shape, (positions, dim), a.hidden, a.activation)
        if a.network == "mlp"
        else GridDown(schema.shape, dim, a.hidden, a.activation, _BLOCKS[a.network])
    )
    return nn.Sequential(Standardise(schema.shift, schema.scale), network) if schema.support == "real" else network


def _decoder(
    schema: Schema, a: Architecture, positions: int, dim: int, likelihood: str, sigma: Sigma | None
) -> Parametric:
    family = make_likelihood(choose_likelihood(likelihood, schema), schema, sigma)
    network = (
        build_network("mlp", (positions * dim,), family.raw_shape, a.upwards, a.activation)
        if a.network == "mlp"
        else GridUp(dim, family.raw_shape, a.hidden, a.activation, _BLOCKS[a.network])
    )
    if schema.mean is not None:
        with torch.no_grad():
            network.bias.copy_(family.start(schema.mean))  # type: ignore[operator, union-attr]  # both have a bias
    return Parametric(network, family)
