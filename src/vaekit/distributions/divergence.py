"""KL(q, p) in closed form, per dimension where both factorise."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution, Independent, kl_divergence


def closed_kl_per_dim(q: Distribution, p: Distribution) -> Tensor | None:
    """KL of each latent dimension, (B, D), where q and p are `Independent` over one dimension and torch knows the pair."""
    if not (isinstance(q, Independent) and isinstance(p, Independent)):
        return None
    if q.reinterpreted_batch_ndims != 1 or p.reinterpreted_batch_ndims != 1:
        return None
    try:
        return kl_divergence(q.base_dist, p.base_dist)
    except NotImplementedError:
        return None


def closed_kl(q: Distribution, p: Distribution) -> Tensor | None:
    """KL(q, p) in nats, (B,), or None where there is no closed form."""
    per_dim = closed_kl_per_dim(q, p)
    if per_dim is not None:
        return per_dim.sum(-1)
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        return None
