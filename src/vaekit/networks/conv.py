"""Convolutional networks for images of any size: down to a vector, and up from one; plain or residual.

Each stage halves (or doubles) height and width, rounding up, so that no size is refused. Upsampling is nearest
neighbour followed by a convolution, which leaves no checkerboard (Odena, Dumoulin & Olah, Distill 2016). Normalisation
is over groups of channels of one example, never over the batch: an example's score must not depend on its company.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit.networks.mlp import activation_module

Block = Callable[[int, str], nn.Module]


def plain_block(channels: int, activation: str) -> nn.Module:
    """The activation alone: one convolution a stage."""
    return activation_module(activation)


class ResidualBlock(nn.Module):
    """x + f(x), f being two normalised convolutions (He et al., "Identity mappings in deep residual networks", 2016)."""

    def __init__(self, channels: int, activation: str) -> None:
        super().__init__()
        groups = math.gcd(channels, 8)
        self.residual = nn.Sequential(
            nn.GroupNorm(groups, channels),
            activation_module(activation),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(groups, channels),
            activation_module(activation),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.residual(x)


def stage_sizes(height: int, width: int, stages: int) -> list[tuple[int, int]]:
    """Sizes from the image's own down: halved, rounding up, `stages` times.

    >>> stage_sizes(28, 28, 2)
    [(28, 28), (14, 14), (7, 7)]
    """
    sizes = [(height, width)]
    for _ in range(stages):
        height, width = -(-height // 2), -(-width // 2)
        sizes.append((height, width))
    return sizes


class ConvDown(nn.Module):
    """(*, C, H, W) -> (*, *out_shape)."""

    def __init__(
        self,
        in_shape: tuple[int, ...],
        out_shape: tuple[int, ...],
        hidden: tuple[int, ...],
        activation: str,
        block: Block,
    ) -> None:
        super().__init__()
        self.out_shape = out_shape
        channels = (in_shape[0], *hidden)
        stages: list[nn.Module] = []
        for before, after in zip(channels, hidden, strict=False):
            stages += [nn.Conv2d(before, after, 3, stride=2, padding=1), block(after, activation)]
        self.stages = nn.Sequential(*stages)
        height, width = stage_sizes(in_shape[1], in_shape[2], len(hidden))[-1]
        self.out = nn.Linear(channels[-1] * height * width, math.prod(out_shape))

    @property
    def bias(self) -> Tensor:
        """The output's additive constant, (*out_shape)."""
        return self.out.bias.view(self.out_shape)

    def forward(self, x: Tensor) -> Tensor:
        lead = x.shape[:-3]
        features = self.stages(x.reshape(-1, *x.shape[-3:]))
        return self.out(features.flatten(1)).view(*lead, *self.out_shape)


class ConvUp(nn.Module):
    """(*, *in_shape) -> (*, k, C, H, W), with a bias of its own for every pixel."""

    def __init__(
        self,
        in_shape: tuple[int, ...],
        out_shape: tuple[int, ...],
        hidden: tuple[int, ...],
        activation: str,
        block: Block,
    ) -> None:
        super().__init__()
        self.in_shape, self.out_shape = in_shape, out_shape
        *_, height, width = out_shape
        self.sizes = stage_sizes(height, width, len(hidden))[::-1]
        self.channels = hidden[::-1]
        self.enter = nn.Linear(math.prod(in_shape), self.channels[0] * math.prod(self.sizes[0]))
        after = (*self.channels[1:], self.channels[-1])
        self.blocks = nn.ModuleList(block(c, activation) for c in self.channels)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1) for a, b in zip(self.channels, after, strict=True)
        )
        self.leave = nn.Sequential(
            activation_module(activation), nn.Conv2d(after[-1], math.prod(out_shape[:-2]), 3, padding=1, bias=False)
        )
        self.bias = nn.Parameter(torch.zeros(out_shape))

    def forward(self, z: Tensor) -> Tensor:
        lead = z.shape[: z.dim() - len(self.in_shape)]
        features = self.enter(z.reshape(-1, math.prod(self.in_shape)))
        features = features.view(-1, self.channels[0], *self.sizes[0])
        for block, convolution, size in zip(self.blocks, self.convolutions, self.sizes[1:], strict=True):
            features = convolution(F.interpolate(block(features), size=size, mode="nearest"))
        return self.leave(features).view(*lead, *self.out_shape) + self.bias
