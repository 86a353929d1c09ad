"""A code whose class is not known: q(z | x) = sum_y q(y | x) q(z | x, y), drawn from standard normal noise.

One number of the noise chooses the class y, by the quantile function of q(y | x) at Phi(noise); the others are eps of
z = m_y + s_y eps. A draw has no gradient by reparameterisation: the choice of y is a step.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily, Normal


class ClassMixture(MixtureSameFamily):
    """Diagonal Gaussians over D dimensions, one for each of C classes, weighted: batch shape (B,), event shape (D,).

    Args:
        log_weights: (B, C) log q(y | x).
        parts: q(z | x, y), `Independent(Normal, 1)` of batch shape (B, C).
    """

    def __init__(self, log_weights: Tensor, parts: Distribution) -> None:
        super().__init__(Categorical(logits=log_weights, validate_args=False), parts, validate_args=False)
        self.noise_dim = parts.event_shape.numel() + 1

    def from_noise(self, noise: Tensor) -> Tensor:
        """noise (*, B, D + 1) -> samples (*, B, D)."""
        normal = cast(Normal, cast(Independent, self.component_distribution).base_dist)
        level = self.mixture_distribution.probs.cumsum(-1)
        u = torch.special.ndtr(noise[..., :1].to(level))
        # rounding may leave the last level below 1, and u above it
        chosen = (u > level).sum(-1).clamp_max(level.shape[-1] - 1)
        at = chosen[..., None, None].expand(*chosen.shape, 1, normal.loc.shape[-1])
        loc, scale = (
            t.expand(*chosen.shape, *t.shape[-2:]).gather(-2, at).squeeze(-2) for t in (normal.loc, normal.scale)
        )
        return loc + scale * noise[..., 1:].to(loc)
