"""KL(q, p) in closed form, per dimension where both factorise."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor
from torch.distributions import Distribution, Independent, kl_divergence


@runtime_checkable
class Layered(Protocol):
    """A distribution over a code in layers, whose KL is known given draws z (K, B, D) from it (`distributions/chain.py`)."""

    def kl_per_dim(self, p: Distribution, z: Tensor) -> Tensor | None:
        """(B, D), or None where a dimension's part is no KL."""
        ...

    def kl_per_layer(self, p: Distribution, z: Tensor) -> Tensor | None:
        """(B, L), or None where p has no such layers."""
        ...


def closed_kl_per_dim(q: Distribution, p: Distribution, z: Tensor | None = None) -> Tensor | None:
    """KL of each latent dimension, (B, D), where q and p are `Independent` over one dimension and torch knows the pair.

    With z (K, B, D), draws from q, also where q is `Layered`: an average over the draws, unbiased.
    """
    if z is not None and isinstance(q, Layered):
        return q.kl_per_dim(p, z)
    if not (isinstance(q, Independent) and isinstance(p, Independent)):
        return None
    if q.reinterpreted_batch_ndims != 1 or p.reinterpreted_batch_ndims != 1:
        return None
    try:
        return kl_divergence(q.base_dist, p.base_dist)
    except NotImplementedError:
        return None


def closed_kl(q: Distribution, p: Distribution, z: Tensor | None = None) -> Tensor | None:
    """KL(q, p) in nats, (B,), or None where there is no closed form; z as for `closed_kl_per_dim`."""
    per_dim = closed_kl_per_dim(q, p, z)
    if per_dim is not None:
        return per_dim.sum(-1)
    if z is not None and isinstance(q, Layered):
        layers = q.kl_per_layer(p, z)
        return None if layers is None else layers.sum(-1)
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        return None
