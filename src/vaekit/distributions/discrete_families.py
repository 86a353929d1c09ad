"""Families for an even grid of levels beside the discretised logistic: categorical, beta-binomial, logistic mixture."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from vaekit.distributions.beta_binomial import BetaBinomial as BetaBinomialDistribution
from vaekit.distributions.bounds import soft_bound
from vaekit.distributions.categorical import CategoricalLevels
from vaekit.distributions.discretized_logistic import loc_with_mean
from vaekit.distributions.families import OPEN_UNIT, Family, independent, unstack
from vaekit.distributions.logistic_mixture import LogisticMixture as LogisticMixtureDistribution
from vaekit.errors import UsageError


class Categorical(Family):
    """A probability for each of `levels` values from 0 to 1: `levels` numbers an element, and none of them knows which
    levels are neighbours."""

    def __init__(self, event_shape: tuple[int, ...], levels: int) -> None:
        super().__init__()
        self.event_shape = event_shape
        self.parameters_per_element = self.levels = levels

    def forward(self, raw: Tensor) -> Distribution:
        return CategoricalLevels(raw, len(self.event_shape))

    def start(self, mean: Tensor) -> Tensor:
        """The law of largest entropy with that mean: logits eta * level, eta read off a table."""
        level = torch.arange(self.levels, dtype=torch.float64) / (self.levels - 1)
        eta = torch.linspace(-1, 1, 4001, dtype=torch.float64).mul(math.asinh(10.0 * (self.levels - 1))).sinh()
        means = (eta[:, None] * level).softmax(1) @ level
        wanted = mean.cpu().double().clamp(OPEN_UNIT, 1 - OPEN_UNIT)
        found = torch.from_numpy(np.interp(wanted, means, eta))
        return (level.view(-1, *[1] * mean.dim()) * found).to(mean)


class BetaBinomial(Family):
    """Counts of successes among levels - 1: raw is the logit of the mean and the log concentration of its chance.

    The logit stays within (-20, 20), the log concentration within (-5, 10).
    """

    parameters_per_element = 2

    def __init__(self, event_shape: tuple[int, ...], levels: int) -> None:
        super().__init__()
        self.event_shape, self.levels = event_shape, levels

    def forward(self, raw: Tensor) -> Distribution:
        logits, log_concentration = unstack(raw, self.event_shape)
        p = BetaBinomialDistribution(
            soft_bound(logits, -20.0, 20.0), soft_bound(log_concentration, -5.0, 10.0), self.levels
        )
        return independent(p, self.event_shape)

    def start(self, mean: Tensor) -> Tensor:
        """At a concentration of 10."""
        return torch.stack([torch.logit(mean, OPEN_UNIT), torch.full_like(mean, math.log(10.0))])


class LogisticMixture(Family):
    """Each pixel a mixture of discretised logistics with its channels coupled, as in PixelCNN++.

    Raw holds for each element and component a share of the pixel's logit (the shares of the channels are added), a
    location, a log-scale softly within (-7, 2), and C // 2 of the couplings, which tanh keeps within (-1, 1) as in the
    paper. For three channels these are exactly the paper's ten numbers a component and pixel, and two shares more.

    Args:
        event_shape: of an image, (C, H, W). Raises UsageError for another.
        levels: number of values, at least 2.
        components: M, at least 1.
    """

    def __init__(self, event_shape: tuple[int, ...], levels: int, components: int = 5) -> None:
        super().__init__()
        if len(event_shape) != 3:
            raise UsageError(f"LogisticMixture: expected images (C, H, W), got examples of shape {event_shape}")
        if components < 1:
            raise UsageError(f"LogisticMixture: components {components}: expected at least 1")
        self.event_shape, self.levels, self.components = event_shape, levels, components
        self.parameters_per_element = components * (3 + event_shape[0] // 2)

    def forward(self, raw: Tensor) -> Distribution:
        channels, m = self.event_shape[0], self.components
        shares, loc, log_scale, coupling = raw.split([m, m, m, m * (channels // 2)], -4)
        slots = coupling.unflatten(-4, (m, channels // 2)).flatten(-4, -3)
        used = torch.tanh(slots[..., : channels * (channels - 1) // 2, :, :])
        log_scale = soft_bound(log_scale, -7.0, 2.0)
        return LogisticMixtureDistribution(shares.sum(-3), loc, log_scale, used, self.levels, space_dims=2)

    def start(self, mean: Tensor) -> Tensor:
        """No coupling, even weights, and scales from 0.02 to 0.2 that tell the components apart, each with that mean."""
        scales = torch.logspace(math.log10(0.02), math.log10(0.2), self.components).log()
        inside = mean.clamp(OPEN_UNIT, 1 - OPEN_UNIT)
        locs = [loc_with_mean(inside, soft_bound(s, -7.0, 2.0), self.levels) for s in scales]
        zeros, m = torch.zeros_like(mean), self.components
        rest = [zeros] * (m * (mean.shape[0] // 2))
        return torch.stack([*[zeros] * m, *locs, *[torch.full_like(mean, float(s)) for s in scales], *rest])
