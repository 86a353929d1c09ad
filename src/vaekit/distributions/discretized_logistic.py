"""The logistic distribution on an even grid of levels (Kingma et al., "Improved variational inference with inverse
autoregressive flow", NeurIPS 2016; Salimans et al., "PixelCNN++", ICLR 2017).

Level x in {0, h, 2h, ..., 1}, h = 1 / (levels - 1), has the logistic's mass of the bin (x - h/2, x + h/2); the first and
the last bin reach to minus and plus infinity. With a = (x + h/2 - mu) / s and b = (x - h/2 - mu) / s,

    sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(-h / s)),

so that the logarithm is exact in every tail and needs no floor.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.nn import functional as F


class DiscretizedLogistic(Distribution):
    """Elementwise over `levels` values from 0 to 1.

    Args:
        loc: centre mu, any shape; it may lie outside [0, 1].
        log_scale: log s, broadcastable to `loc`; the standard deviation of the underlying logistic is pi s / sqrt(3).
        levels: number of values, at least 2.
    """

    arg_constraints = {"loc": constraints.real, "log_scale": constraints.real}
    support = constraints.unit_interval

    def __init__(self, loc: Tensor, log_scale: Tensor, levels: int) -> None:
        self.loc, self.log_scale, self.levels = loc, log_scale, levels
        super().__init__(torch.broadcast_shapes(loc.shape, log_scale.shape), validate_args=False)

    @property
    def step(self) -> float:
        """Distance h between two levels."""
        return 1.0 / (self.levels - 1)

    def log_prob(self, value: Tensor) -> Tensor:
        half = self.step / 2
        inverse = torch.exp(-self.log_scale)
        centred = value - self.loc
        upper = F.logsigmoid((centred + half) * inverse)
        lower = F.logsigmoid((half - centred) * inverse)
        width = torch.log(-torch.expm1(-self.step * inverse))
        inner = upper + lower + width
        return torch.where(value < half, upper, torch.where(value > 1 - half, lower, inner))

    @property
    def mean(self) -> Tensor:
        """E[x], exactly: h times the sum over the bins' borders t of P(X > t)."""
        inverse = torch.exp(-self.log_scale)
        total = torch.zeros(self.batch_shape, dtype=self.loc.dtype, device=self.loc.device)
        for level in range(self.levels - 1):
            total += torch.sigmoid((self.loc - (level + 0.5) * self.step) * inverse)
        return total * self.step

    @property
    def variance(self) -> Tensor:
        """Var[x], exactly: E[x^2] is the sum over borders of h^2 (2 level + 1) P(X > t)."""
        inverse = torch.exp(-self.log_scale)
        second = torch.zeros(self.batch_shape, dtype=self.loc.dtype, device=self.loc.device)
        for level in range(self.levels - 1):
            second += (2 * level + 1) * torch.sigmoid((self.loc - (level + 0.5) * self.step) * inverse)
        return second * self.step**2 - self.mean.square()

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        with torch.no_grad():
            shape = (*sample_shape, *self.batch_shape)
            u = torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device)
            # a uniform of exactly 0 gives -infinity, which the clamp below turns into the first level
            x = self.loc + torch.exp(self.log_scale) * torch.logit(u)
            return (x / self.step).round().clamp(0, self.levels - 1) * self.step


def loc_with_mean(mean: Tensor, log_scale: Tensor, levels: int) -> Tensor:
    """The location at which a discretised logistic of one `log_scale` has `mean` (any shape, inside (0, 1)).

    Read off a table, since at a wide scale the ends of the range pull the mean inwards.
    """
    loc = torch.linspace(-2.0, 3.0, 20_001, dtype=torch.float64)
    means = DiscretizedLogistic(loc, log_scale.detach().cpu().double(), levels).mean
    return torch.from_numpy(np.interp(mean.cpu().double(), means, loc)).to(mean)
