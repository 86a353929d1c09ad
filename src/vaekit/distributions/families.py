"""Families: from a network's raw output (*, k, *event) to a Distribution over the event.

A family knows its event shape and its k parameters an element; it holds no network. Scales are bounded smoothly, and
each bound stands beside the family it acts in.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from vaekit.distributions.bernoulli import BernoulliEvent
from vaekit.distributions.bounds import soft_bound
from vaekit.distributions.continuous_bernoulli import ContinuousBernoulli as ContinuousBernoulliDistribution
from vaekit.distributions.continuous_bernoulli import mean_of
from vaekit.distributions.discretized_logistic import DiscretizedLogistic as DiscretizedLogisticDistribution
from vaekit.distributions.discretized_logistic import loc_with_mean
from vaekit.errors import UsageError

Sigma = float | Literal["shared", "element", "optimal"]
"""A fixed scale, one learned scale, one for each element from the network, or one at its maximum (Gaussian only)."""

OPEN_UNIT = 1e-3
"""Training means are kept this far from 0 and 1 before a logit is taken, for the start of a bias only."""


class Family(nn.Module, ABC):
    """Interface: `forward(raw)` gives a Distribution with `event_shape`; `start(mean)` the raw value to begin from."""

    event_shape: tuple[int, ...]
    parameters_per_element: int

    @property
    def raw_shape(self) -> tuple[int, ...]:
        """Shape (k, *event) of the raw output for one example."""
        return (self.parameters_per_element, *self.event_shape)

    @abstractmethod
    def forward(self, raw: Tensor) -> Distribution:
        """raw (*, k, *event) -> Distribution of batch shape (*) and event shape `event_shape`."""

    @abstractmethod
    def start(self, mean: Tensor) -> Tensor:
        """The raw value (k, *event) at which the distribution has `mean` (*event)."""


def unstack(raw: Tensor, event_shape: tuple[int, ...]) -> tuple[Tensor, ...]:
    """raw (*, k, *event) as k tensors; one alone is a view, so that its gradient is not copied on the way back."""
    at = -len(event_shape) - 1
    return (raw.squeeze(at),) if raw.shape[at] == 1 else raw.unbind(at)


def independent(base: Distribution, event_shape: tuple[int, ...]) -> Distribution:
    """`base` with the last dimensions, as many as the event's, made one event."""
    return Independent(base, len(event_shape), validate_args=False)


class Bernoulli(Family):
    """Black or white: x in {0, 1}, raw is the logit."""

    parameters_per_element = 1

    def __init__(self, event_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.event_shape = event_shape

    def forward(self, raw: Tensor) -> Distribution:
        (logits,) = unstack(raw, self.event_shape)
        return BernoulliEvent(logits, len(self.event_shape))

    def start(self, mean: Tensor) -> Tensor:
        return torch.logit(mean, OPEN_UNIT)[None]


class ContinuousBernoulli(Family):
    """Values in [0, 1] with density exp(eta x - A(eta)), raw is eta."""

    parameters_per_element = 1

    def __init__(self, event_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.event_shape = event_shape

    def forward(self, raw: Tensor) -> Distribution:
        (eta,) = unstack(raw, self.event_shape)
        return independent(ContinuousBernoulliDistribution(eta), self.event_shape)

    def start(self, mean: Tensor) -> Tensor:
        """Bisection on the increasing map from eta to the mean."""
        target = mean.double().clamp(0.05, 0.95)
        low, high = torch.full_like(target, -50.0), torch.full_like(target, 50.0)
        for _ in range(60):
            middle = (low + high) / 2
            below = mean_of(middle) < target
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return low.to(mean.dtype)[None]


class Scale(nn.Module):
    """A log-scale that is fixed, one learned number, or the second half of the raw output, softly within bounds."""

    def __init__(self, sigma: Sigma, start: float, bounds: tuple[float, float]) -> None:
        super().__init__()
        self.kind, self.begin, self.bounds = (
            ("fixed" if isinstance(sigma, int | float) else sigma),
            math.log(start),
            bounds,
        )
        if isinstance(sigma, int | float):
            if not 0 < sigma < math.inf:
                raise UsageError(f"sigma {sigma}: expected a positive number, 'shared' or 'element'")
            self.fixed = math.log(sigma)
        elif sigma == "shared":
            self.log_sigma = nn.Parameter(torch.tensor(self.begin))
        elif sigma != "element":
            raise UsageError(f"sigma {sigma!r}: expected a positive number, 'shared' or 'element'")

    @property
    def parameters_per_element(self) -> int:
        return 2 if self.kind == "element" else 1

    def split(self, raw: Tensor, event_shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """raw -> (location, log-scale)."""
        if self.kind == "element":
            loc, log_sigma = unstack(raw, event_shape)
            return loc, soft_bound(log_sigma, *self.bounds)
        (loc,) = unstack(raw, event_shape)
        return loc, soft_bound(self.log_sigma, *self.bounds) if self.kind == "shared" else loc.new_tensor(self.fixed)

    def start(self, loc: Tensor) -> Tensor:
        return torch.stack([loc, torch.full_like(loc, self.begin)]) if self.kind == "element" else loc[None]


class Gaussian(Family):
    """Normal in every element, with sigma a number, "shared" (one learned) or "element" (from the network).

    Args:
        shift, scale: where the data lie (`Schema.shift`, `Schema.scale`): the mean is shift + scale * raw, and a learned
            sigma is measured in units of scale. A fixed sigma is in the units of the data.
        begin: learned sigmas start here, in units of scale.

    A learned log sigma (in units of scale) stays within (-7, 7): on data with constant or repeated values a density
    grows without end as sigma vanishes, and the floor is where that stops.
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self,
        event_shape: tuple[int, ...],
        sigma: Sigma = "shared",
        shift: float | tuple[float, ...] = 0.0,
        scale: float | tuple[float, ...] = 1.0,
        begin: float = 1.0,
    ) -> None:
        super().__init__()
        self.event_shape = event_shape
        self.sigma = Scale(sigma, begin, bounds=(-7.0, 7.0))
        self.parameters_per_element = self.sigma.parameters_per_element
        self.moved = (shift, scale) != (0.0, 1.0)
        self.register_buffer("shift", torch.tensor(shift), persistent=False)
        self.register_buffer("scale", torch.tensor(scale), persistent=False)

    def forward(self, raw: Tensor) -> Distribution:
        loc, log_sigma = self.sigma.split(raw, self.event_shape)
        sigma = log_sigma.exp()
        if self.moved:
            loc = self.shift + self.scale * loc
            sigma = sigma if self.sigma.kind == "fixed" else sigma * self.scale
        return independent(Normal(loc, sigma.expand_as(loc), validate_args=False), self.event_shape)

    def start(self, mean: Tensor) -> Tensor:
        return self.sigma.start((mean - self.shift) / self.scale)


class DiscretizedLogistic(Family):
    """`levels` even values on [0, 1] as bins of a logistic; its scale a number, "shared" or "element".

    The log-scale stays within (-7, 2): narrower than a quarter of an 8-bit level, wider than the whole range.
    """

    def __init__(self, event_shape: tuple[int, ...], levels: int, sigma: Sigma = "element") -> None:
        super().__init__()
        self.event_shape, self.levels = event_shape, levels
        self.sigma = Scale(sigma, 0.1, bounds=(-7.0, 2.0))
        self.parameters_per_element = self.sigma.parameters_per_element

    def forward(self, raw: Tensor) -> Distribution:
        loc, log_scale = self.sigma.split(raw, self.event_shape)
        return independent(DiscretizedLogisticDistribution(loc, log_scale, self.levels), self.event_shape)

    def start(self, mean: Tensor) -> Tensor:
        """The location whose mean it is: at the starting scale the ends of the range pull it inwards."""
        begin = torch.tensor(self.sigma.begin, dtype=torch.float64)
        scale = torch.tensor(self.sigma.fixed) if self.sigma.kind == "fixed" else soft_bound(begin, *self.sigma.bounds)
        return self.sigma.start(loc_with_mean(mean.clamp(OPEN_UNIT, 1 - OPEN_UNIT), scale, self.levels))
