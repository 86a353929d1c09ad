"""Values: the family of a generator, which has no likelihood: a network's raw output is one point among the data's values.

    real data             shift + scale * raw
    values in [0, 1]      sigmoid(raw)
    levels, black/white   the level nearest to sigmoid(raw), its gradient that of sigmoid(raw)

The last is the straight-through estimate of Bengio, Leonard & Courville, "Estimating or propagating gradients through
stochastic neurons", 2013. Without it a critic could tell made from real by values that no example has.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from vaekit.data.schema import Schema
from vaekit.distributions.delta import Delta
from vaekit.distributions.families import OPEN_UNIT, Family, unstack


class Values(Family):
    """raw (*, 1, *event) -> all mass at one point of the schema's values."""

    shift: Tensor
    scale: Tensor
    parameters_per_element = 1

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.event_shape, self.levels, self.bounded = schema.shape, schema.levels, schema.support != "real"
        self.register_buffer("shift", torch.tensor(schema.shift), persistent=False)
        self.register_buffer("scale", torch.tensor(schema.scale), persistent=False)

    def forward(self, raw: Tensor) -> Distribution:
        (raw,) = unstack(raw, self.event_shape)
        value = torch.sigmoid(raw) if self.bounded else self.shift + self.scale * raw
        if self.levels is not None:
            steps = self.levels - 1
            value = value + ((value * steps).round() / steps - value).detach()
        return Delta(value, len(self.event_shape))

    def start(self, mean: Tensor) -> Tensor:
        raw = torch.logit(mean, OPEN_UNIT) if self.bounded else (mean - self.shift) / self.scale
        return raw[None]
