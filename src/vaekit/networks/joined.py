"""A network that is told a condition beside its input."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Joined(nn.Module):
    """(*, *in_shape) and (*, C) -> the output of `network` on both together.

    Vectors get the condition as further values, images as further channels that are the same at every pixel.

    Args:
        network: takes in_shape with C values (or channels) more; an mlp takes images flat.
        event_dims: dimensions of one input.
        planes: add channels, not values.
        before, scale: what is done to the input alone first, and to the condition.
    """

    def __init__(
        self,
        network: nn.Module,
        event_dims: int,
        planes: bool,
        before: nn.Module | None = None,
        scale: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.network, self.event_dims, self.planes = network, event_dims, planes
        self.before = nn.Identity() if before is None else before
        self.scale = nn.Identity() if scale is None else scale

    @property
    def bias(self) -> Tensor:
        """The output's additive constant."""
        return self.network.bias  # type: ignore[return-value]  # every network has one

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        x, c = self.before(x), self.scale(c)
        lead = x.shape[: x.dim() - self.event_dims]
        c = c.expand(*lead, c.shape[-1])
        if self.planes:
            return self.network(torch.cat([x, c[..., None, None].expand(*c.shape, *x.shape[-2:])], -3))
        return self.network(torch.cat([x.flatten(-self.event_dims), c], -1))
