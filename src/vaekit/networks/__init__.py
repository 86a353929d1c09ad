"""Networks by name. They map tensors to tensors and know no probability.

Every one takes leading batch dimensions of any number and has a `bias` of the shape of its output, so that a decoder
can start from the training mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import nn

from vaekit.errors import UsageError
from vaekit.networks.conv import ConvDown, ConvUp, ResidualBlock, plain_block
from vaekit.networks.mlp import ACTIVATIONS, MLP

__all__ = ["ACTIVATIONS", "MLP", "NETWORKS", "ConvDown", "ConvUp", "build_network", "choose_network", "default_hidden"]

Shape = tuple[int, ...]


def _mlp(in_shape: Shape, out_shape: Shape, hidden: Shape, activation: str) -> nn.Module:
    return MLP(in_shape, out_shape, hidden, activation)


def _conv(in_shape: Shape, out_shape: Shape, hidden: Shape, activation: str) -> nn.Module:
    down = len(in_shape) == 3
    return (ConvDown if down else ConvUp)(in_shape, out_shape, hidden, activation, plain_block)


def _resnet(in_shape: Shape, out_shape: Shape, hidden: Shape, activation: str) -> nn.Module:
    down = len(in_shape) == 3
    return (ConvDown if down else ConvUp)(in_shape, out_shape, hidden, activation, ResidualBlock)


NETWORKS: dict[str, Callable[[Shape, Shape, Shape, str], nn.Module]] = {"mlp": _mlp, "conv": _conv, "resnet": _resnet}


def choose_network(name: str, event_shape: Shape) -> str:
    """Resolve "auto": fully connected up to 1,024 values an example, convolutional for larger images."""
    if name == "auto":
        return "mlp" if len(event_shape) != 3 or math.prod(event_shape) <= 1024 else "conv"
    if name not in NETWORKS:
        raise UsageError(f"network {name!r}: expected auto, {', '.join(NETWORKS)}")
    if name != "mlp" and len(event_shape) != 3:
        raise UsageError(f"network {name!r} needs images (C, H, W), these data have shape {event_shape}; use mlp")
    return name


def default_hidden(name: str, event_shape: Shape) -> Shape:
    """Hidden sizes of the encoder: two layers, 256 wide for up to 256 values an example and 512 above; or channels
    doubling per stage until an image is 4 pixels or less."""
    if name == "mlp":
        return (256, 256) if math.prod(event_shape) <= 256 else (512, 512)
    channels: list[int] = []
    side = min(event_shape[1:])
    while (side > 4 and len(channels) < 5) or not channels:
        channels.append(32 << min(len(channels), 2))
        side = -(-side // 2)
    return tuple(channels)


def build_network(name: str, in_shape: Shape, out_shape: Shape, hidden: Shape, activation: str) -> nn.Module:
    """A network of kind `name` (a key of `NETWORKS`) from `in_shape` to `out_shape`.

    Args:
        hidden: widths (mlp) or channels per stage (conv, resnet), in the order of the data's way through it; the
            convolutional networks read them from the image's side.
    """
    if any(width < 1 for width in hidden):
        raise UsageError(f"hidden sizes {hidden}: each must be at least 1")
    if name != "mlp" and not hidden:
        raise UsageError(f"network {name!r} needs at least one stage; give hidden=(32, 64)")
    return NETWORKS[name](in_shape, out_shape, hidden, activation)
