"""Fully connected network: tensors of one shape to tensors of another."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from vaekit.errors import UsageError

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU, "gelu": nn.GELU, "none": nn.Identity}

GATED = "gated"
"""h = (A x + a) * sigmoid(B x + b): two linear maps for one layer (Dauphin et al., ICML 2017). Of mlp networks only."""


def activation_module(name: str) -> nn.Module:
    """The activation of that name. Raises UsageError on an unknown one."""
    if name not in ACTIVATIONS:
        also = "; gated is for an mlp" if name == GATED else ""
        raise UsageError(f"activation {name!r}: expected one of {', '.join(ACTIVATIONS)}{also}")
    return ACTIVATIONS[name]()


class MLP(nn.Module):
    """(*, *in_shape) -> (*, *out_shape) through linear layers with an activation between them.

    Args:
        in_shape, out_shape: shapes of one input and one output.
        hidden: widths of the hidden layers; an empty tuple is one linear map.
        activation: see `ACTIVATIONS`, or `GATED`.
    """

    def __init__(
        self, in_shape: tuple[int, ...], out_shape: tuple[int, ...], hidden: tuple[int, ...], activation: str = "relu"
    ) -> None:
        super().__init__()
        self.in_shape, self.out_shape = in_shape, out_shape
        widths = (math.prod(in_shape), *hidden)
        layers: list[nn.Module] = []
        for width_in, width_out in pairwise(widths):
            if activation == GATED:
                layers += [nn.Linear(width_in, 2 * width_out), nn.GLU()]
            else:
                layers += [nn.Linear(width_in, width_out), activation_module(activation)]
        self.layers = nn.Sequential(*layers)
        self.out = nn.Linear(widths[-1], math.prod(out_shape))

    @property
    def bias(self) -> Tensor:
        """The output's additive constant, (*out_shape): a view of the last layer's bias."""
        return self.out.bias.view(self.out_shape)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(-len(self.in_shape)) if len(self.in_shape) > 1 else x
        return self.out(self.layers(flat)).unflatten(-1, self.out_shape)
