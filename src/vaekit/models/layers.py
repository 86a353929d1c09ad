"""What models with several layers of codes share: their sizes, the top-down prior, and a decoder that sees the bottom layer.

p(z) = p(z_L) prod_{l < L} p(z_l | z_{l+1}),   p(z_L) = N(0, I),   p(z_l | z_{l+1}) = N(mu_l(z_{l+1}), sigma_l^2(z_{l+1}))
x ~ p(x | z_1)
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.distributions import Distribution

from vaekit.conditional import Conditional, Parametric
from vaekit.distributions.chain import Chain
from vaekit.distributions.posteriors import DiagonalGaussian
from vaekit.errors import UsageError
from vaekit.models.parts import Architecture
from vaekit.networks import MLP
from vaekit.priors import StandardNormal


class TopDown(Conditional):
    """The prior p(z_L) p(z_{L-1} | z_L) ... p(z_1 | z_2).

    Args:
        sizes: dimensions of each layer, the bottom layer z_1 first.
        steps: p(z_l | z_{l+1}) in the order of drawing, from z_L down to z_1.
    """

    def __init__(self, sizes: tuple[int, ...], steps: list[Conditional]) -> None:
        super().__init__()
        self.sizes, self.top, self.steps = sizes, StandardNormal(sizes[-1]), nn.ModuleList(steps)

    def forward(self, *given: Tensor) -> Distribution:
        return self.chain()

    def chain(self) -> Chain:
        """The prior as the distribution it is, batch shape ()."""
        return Chain(self.top(), self.steps, self.sizes, top_down=True)  # type: ignore[arg-type]


class FromBottom(Conditional):
    """p(x | z_1): a decoder of the first `size` dimensions of the code, those of the bottom layer."""

    def __init__(self, decoder: Conditional, size: int) -> None:
        super().__init__()
        self.decoder, self.size = decoder, size

    def forward(self, *given: Tensor) -> Distribution:
        z, *others = given
        return self.decoder(z[..., : self.size], *others)


def between(architecture: Architecture) -> tuple[int, ...]:
    """Hidden sizes of a network from one layer of codes to the next: half the encoder's; none where it is linear."""
    if architecture.network == "mlp":
        return tuple(max(1, width // 2) for width in architecture.hidden)
    return (2 * max(architecture.hidden),)


def gaussian_step(size_in: int, size_out: int, architecture: Architecture) -> Parametric:
    """A diagonal Gaussian over one layer of codes given another."""
    network = MLP((size_in,), (2, size_out), between(architecture), architecture.activation)
    return Parametric(network, DiagonalGaussian(size_out))


def make_top_down(sizes: tuple[int, ...], architecture: Architecture) -> TopDown:
    """The prior over layers of these sizes, the bottom layer first."""
    down = sizes[::-1]
    return TopDown(sizes, [gaussian_step(a, b, architecture) for a, b in pairwise(down)])


def layer_sizes(
    latent_dims: tuple[int, ...] | None, latent_dim: int | None, layers: int | None, *, dims: int, depth: int
) -> tuple[int, ...]:
    """Dimensions of each layer, the bottom layer first; each layer about half the one below it unless they are given.

    Args:
        latent_dims, latent_dim, layers: what the user asked for: each layer, all together, how many.
        dims, depth: all together and how many, where that is left open.

    >>> layer_sizes(None, None, None, dims=28, depth=3)
    (16, 8, 4)
    """
    if latent_dims is None:
        return _halved(dims if latent_dim is None else latent_dim, depth if layers is None else layers)
    sizes = tuple(latent_dims)
    if not sizes or min(sizes) < 1:
        raise UsageError(f"latent_dims {sizes}: expected at least 1 in each layer, the bottom layer first")
    if latent_dim not in (None, sum(sizes)):
        raise UsageError(f"latent_dim {latent_dim}: latent_dims {sizes} are {sum(sizes)} together; leave it out")
    if layers not in (None, len(sizes)):
        raise UsageError(f"layers {layers}: latent_dims {sizes} are {len(sizes)} layers; leave it out")
    return sizes


def _halved(total: int, layers: int) -> tuple[int, ...]:
    if layers < 1:
        raise UsageError(f"layers {layers}: expected at least 1")
    if total < layers:
        raise UsageError(f"latent_dim {total}: expected at least 1 in each of {layers} layers")
    upper = [max(1, (total << (layers - 1 - at)) // ((1 << layers) - 1)) for at in range(1, layers)]
    return (total - sum(upper), *upper)
