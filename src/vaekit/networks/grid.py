"""Convolutional networks between an image and a grid of vectors: no layer sees the whole, so each vector has its place.

The stages are those of `conv.py`; a grid (h, w) is written as N = h w positions in raster order, row by row.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit.networks.conv import Block, stage_sizes
from vaekit.networks.mlp import activation_module


def grid_size(image_shape: tuple[int, ...], hidden: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of the grid that an image (C, H, W) becomes."""
    return stage_sizes(image_shape[1], image_shape[2], len(hidden))[-1]


class GridDown(nn.Module):
    """(*, C, H, W) -> (*, N, dim)."""

    def __init__(
        self, image_shape: tuple[int, ...], dim: int, hidden: tuple[int, ...], activation: str, block: Block
    ) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for before, after in zip((image_shape[0], *hidden), hidden, strict=False):
            stages += [nn.Conv2d(before, after, 3, stride=2, padding=1), block(after, activation)]
        self.stages = nn.Sequential(*stages, nn.Conv2d(hidden[-1], dim, 1))

    def forward(self, x: Tensor) -> Tensor:
        lead = x.shape[:-3]
        vectors = self.stages(x.reshape(-1, *x.shape[-3:])).flatten(2).transpose(1, 2)
        return vectors.reshape(*lead, *vectors.shape[1:])


class GridUp(nn.Module):
    """(*, N dim) -> (*, k, C, H, W), with a bias of its own for every pixel.

    Args:
        hidden: channels per stage, read from the image's side, as in `ConvUp`.
    """

    def __init__(
        self, dim: int, out_shape: tuple[int, ...], hidden: tuple[int, ...], activation: str, block: Block
    ) -> None:
        super().__init__()
        self.dim, self.out_shape = dim, out_shape
        *_, height, width = out_shape
        self.sizes = stage_sizes(height, width, len(hidden))[::-1]
        channels = hidden[::-1]
        after = (*channels[1:], channels[-1])
        self.enter = nn.Conv2d(dim, channels[0], 3, padding=1)
        self.blocks = nn.ModuleList(block(c, activation) for c in channels)
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in zip(channels, after, strict=True))
        self.leave = nn.Sequential(
            activation_module(activation), nn.Conv2d(after[-1], math.prod(out_shape[:-2]), 3, padding=1, bias=False)
        )
        self.bias = nn.Parameter(torch.zeros(out_shape))

    def forward(self, z: Tensor) -> Tensor:
        lead = z.shape[:-1]
        grid = z.reshape(-1, math.prod(self.sizes[0]), self.dim).transpose(1, 2)
        features = self.enter(grid.unflatten(-1, self.sizes[0]))
        for block, convolution, size in zip(self.blocks, self.convolutions, self.sizes[1:], strict=True):
            features = convolution(F.interpolate(block(features), size=size, mode="nearest"))
        return self.leave(features).view(*lead, *self.out_shape) + self.bias
