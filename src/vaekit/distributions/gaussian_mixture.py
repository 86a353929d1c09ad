"""A mixture of M diagonal Gaussians over D dimensions, whose density at many points takes two matrix products.

    -2 log N(z; m, s) = sum z^2 / s^2 - 2 sum z m / s^2 + sum m^2 / s^2 + 2 sum log s + D log 2 pi

where torch's mixture compares every point with every component in every dimension, N * M * D numbers at a time. The squares
are large beside their difference, so they are taken in double precision.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily, Normal


def mixture(weights: Categorical, parts: Distribution) -> MixtureSameFamily:
    """sum_m w_m p_m, the components being the last batch dimension of `weights` and `parts`."""
    gaussian = isinstance(parts, Independent) and isinstance(parts.base_dist, Normal)
    alone = len(parts.batch_shape) == 1 and len(parts.event_shape) == 1
    kind = GaussianMixture if gaussian and alone and _has_doubles(parts.mean) else MixtureSameFamily
    return kind(weights, parts, validate_args=False)


class GaussianMixture(MixtureSameFamily):
    """One mixture of diagonal Gaussians, batch shape (): `parts` is `Independent(Normal, 1)` of batch shape (M,)."""

    def log_prob(self, value: Tensor) -> Tensor:
        """log p (*) of values (*, D)."""
        normal = cast(Normal, cast(Independent, self.component_distribution).base_dist)
        z, loc, scale = value.double(), normal.loc.double(), normal.scale.double()
        precision = scale.pow(-2)
        constant = (loc * loc * precision + 2 * scale.log()).sum(-1) + loc.shape[-1] * math.log(2 * math.pi)
        # one product of two halves each: [z^2, z] with [1 / s^2, -2 m / s^2]
        squares = torch.cat([z * z, z], -1) @ torch.cat([precision, -2 * loc * precision], -1).T
        weights = torch.log_softmax(self.mixture_distribution.logits.double(), -1)
        return torch.logsumexp(weights - 0.5 * (squares + constant), -1).to(value.dtype)


def _has_doubles(x: Tensor) -> bool:
    """Apple's accelerator has none."""
    return x.device.type != "mps"
