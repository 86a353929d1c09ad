"""A code in layers: a Markov chain of diagonal Gaussians, each a function of the layer drawn before it.

    top-down     r(z) = r(z_L) prod_{l < L} r(z_l | z_{l+1})        a prior, or a posterior that shares its order
    bottom-up    r(z) = r(z_1) prod_{l > 1} r(z_l | z_{l-1})        the usual inference network

The code z is all layers side by side, the bottom layer z_1 first, whatever the order in which they are drawn. The KL of
two chains splits into a term for each layer (Sonderby et al., NeurIPS 2016, equation 7):

    KL(q, p) = sum_l E_q[log q(z_l | before it in q) - log p(z_l | before it in p)]

Where p's layer l depends on nothing that q draws later, that term is a KL, known in closed form given the layers before:
all layers of two chains of the same order, the top layer of a bottom-up q. Averaged over draws of those layers it is
unbiased, at least 0 and has less noise than the difference of the log-densities. The other terms are that difference;
their expectation may be negative.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor
from torch.distributions import Distribution

from vaekit.distributions.divergence import closed_kl_per_dim

Step = Callable[[Tensor], Distribution]


class Chain(Distribution):
    """Layers of codes drawn one after the other; the event is all of them side by side, (D_1 + ... + D_L,).

    Args:
        first: the distribution of the layer drawn first, a diagonal Gaussian `Independent(Normal, 1)` of batch shape ()
            or (B,).
        steps: for every further layer, in the order of drawing, the function from the codes (*, D) of the layer before to
            such a Gaussian of batch shape (*).
        sizes: dimensions of each layer, the bottom layer first.
        top_down: whether the top layer is drawn first, or the bottom one.
    """

    has_rsample = True

    def __init__(self, first: Distribution, steps: Sequence[Step], sizes: Sequence[int], *, top_down: bool) -> None:
        self.first, self.steps, self.sizes, self.top_down = first, tuple(steps), tuple(sizes), top_down
        self.noise_dim = sum(self.sizes)
        super().__init__(first.batch_shape, torch.Size((self.noise_dim,)), validate_args=False)

    def _in_order(self, parts: Sequence[Tensor]) -> Sequence[Tensor]:
        """Parts of the bottom layer first as parts of the first drawn first, and back again."""
        return parts[::-1] if self.top_down else parts

    def _follow(self, draw: Callable[[Distribution, int], Tensor]) -> Tensor:
        """Every layer by `draw(its distribution given the layer before, its place in the order of drawing)`."""
        codes = [draw(self.first, 0)]
        for place, step in enumerate(self.steps, 1):
            codes.append(draw(step(codes[-1]), place))
        return torch.cat(tuple(self._in_order(codes)), -1)

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        shape = torch.Size(sample_shape)
        return self._follow(lambda d, place: d.rsample(shape if place == 0 else torch.Size()))

    def from_noise(self, noise: Tensor) -> Tensor:
        """noise (*, B, D) -> codes (*, B, D), reparameterised: layer l is loc_l + scale_l * its own part of the noise."""
        parts = self._in_order(noise.split(self.sizes, -1))
        return self._follow(lambda d, place: _loc(d) + d.base_dist.scale * parts[place].to(_loc(d)))  # type: ignore[attr-defined]

    @property
    def mean(self) -> Tensor:
        """(B, D) the chain followed at the mean of each layer: the mean itself in the layer drawn first only."""
        return self._follow(lambda d, _: d.mean)

    @property
    def variance(self) -> Tensor:
        """(B, D) the variance of each layer given the one before at `mean`."""
        given = self.conditionals(self.mean)
        return torch.cat([d.variance.expand(*self.batch_shape, -1) for d in given], -1)

    def conditionals(self, z: Tensor) -> list[Distribution]:
        """The distribution of every layer given the layer before as it is in z (*, D), the bottom layer first."""
        codes = self._in_order(z.split(self.sizes, -1))
        given = [self.first, *(step(code) for step, code in zip(self.steps, codes, strict=False))]
        return given[::-1] if self.top_down else given

    def log_prob_per_layer(self, value: Tensor) -> list[Tensor]:
        """log r(z_l | the layer before it) of every layer, (*) each, the bottom layer first."""
        parts = value.split(self.sizes, -1)
        return [d.log_prob(part) for d, part in zip(self.conditionals(value), parts, strict=True)]

    def log_prob(self, value: Tensor) -> Tensor:
        return torch.stack(torch.broadcast_tensors(*self.log_prob_per_layer(value))).sum(0)

    def below(self, z: Tensor, layer: int) -> Tensor:
        """z (*, D) with the layers under `layer` (counted from 0 at the bottom) put at their means given those above.

        Only for a top-down chain.
        """
        codes = list(z.split(self.sizes, -1))
        top = len(codes) - 1
        for under in range(layer - 1, -1, -1):
            codes[under] = self.steps[top - 1 - under](codes[under + 1]).mean
        return torch.cat(codes, -1)

    def kl_per_dim(self, p: Distribution, z: Tensor) -> Tensor | None:
        """KL(this, p) of every dimension, (B, D) in nats: closed given the layers before it in z, averaged over draws.

        Args:
            p: the other chain.
            z: (K, B, D) draws from this chain. The result is an unbiased estimate, exact in the layer drawn first.

        Returns:
            None where the two do not draw their layers in the same order: not every term is a KL then.
        """
        if not isinstance(p, Chain) or p.top_down != self.top_down:
            return None
        parts = [closed_kl_per_dim(a, b) for a, b in zip(self.conditionals(z), p.conditionals(z), strict=True)]
        full = [part.expand(*z.shape[:-1], -1) for part in parts if part is not None]
        return torch.cat(full, -1).mean(0) if len(full) == len(parts) else None

    def kl_per_layer(self, p: Distribution, z: Tensor) -> Tensor | None:
        """Every layer's term of KL(this, p), (B, L) in nats, the bottom layer first; they sum to an unbiased estimate of it.

        Arguments as for `kl_per_dim`; None where p is no chain. A term without a closed form is log q - log p at the draws.
        """
        if not isinstance(p, Chain):
            return None
        own, other, top = self.conditionals(z), p.conditionals(z), len(self.sizes) - 1
        terms = []
        for layer, part in enumerate(z.split(self.sizes, -1)):
            same = p.top_down == self.top_down or layer == (top if p.top_down else 0)
            closed = closed_kl_per_dim(own[layer], other[layer]) if same else None
            term = own[layer].log_prob(part) - other[layer].log_prob(part) if closed is None else closed.sum(-1)
            terms.append(term.expand(z.shape[:-1]).mean(0))
        return torch.stack(terms, -1)


def _loc(d: Distribution) -> Tensor:
    return d.base_dist.loc  # type: ignore[attr-defined]  # a diagonal Gaussian, as `Chain` asks for


def layer_slices(sizes: Sequence[int]) -> list[slice]:
    """Where each layer's dimensions stand in the code.

    >>> layer_slices((3, 1))
    [slice(0, 3, None), slice(3, 4, None)]
    """
    return [slice(a, b) for a, b in pairwise(accumulate(sizes, initial=0))]
