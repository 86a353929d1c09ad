"""Gray pixels to black and white: x ~ Bernoulli(pixel / maximum), exactly and cheaply.

Dynamic binarisation (Salakhutdinov & Murray, "On the quantitative analysis of deep belief networks", ICML 2008) draws
every training image anew whenever it is used. `torch.bernoulli` on floats costs as much as a training step of a small
network; comparing bytes with random bytes costs a tenth.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def bernoulli_pixels(pixels: Tensor, maximum: int, rng: np.random.Generator) -> Tensor:
    """Draw each pixel as Bernoulli(pixel / maximum).

    Args:
        pixels: uint8, any shape, values 0 .. maximum.
        maximum: the value that is white for certain.
        rng: the source of randomness.

    Returns:
        uint8 zeros and ones of the same shape.
    """
    gray = pixels.numpy()
    bits = _less_than_bytes(gray, rng) if maximum == 255 else rng.random(gray.shape, np.float32) * maximum < gray
    return torch.from_numpy(bits.view(np.uint8))


def _less_than_bytes(gray: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Bernoulli(gray / 255): in base 256 the fraction gray/255 has every digit equal to gray, so a uniform number is
    compared with it digit by digit, and only the ties (one in 256) look at a further digit."""
    uniform = np.frombuffer(rng.bytes(gray.size), np.uint8).reshape(gray.shape)
    bits = np.ascontiguousarray(uniform < gray)
    flat, target = bits.reshape(-1), gray.reshape(-1)
    ties = np.flatnonzero(uniform.reshape(-1) == target)
    while ties.size:
        digit = np.frombuffer(rng.bytes(ties.size), np.uint8)
        flat[ties] = digit < target[ties]
        ties = ties[digit == target[ties]]
    return bits


def draw_once(pixels: list[Tensor], maximum: int, seed: int) -> list[Tensor]:
    """One fixed binarisation of several splits, drawn in their order from one NumPy `RandomState(seed)`.

    This is the protocol of the importance-weighted autoencoder's published figures (Burda, Grosse & Salakhutdinov,
    ICLR 2016): seed 777, first the last 10,000 training images, then the test images.
    """
    state = np.random.RandomState(seed)
    return [torch.from_numpy((state.random_sample(p.shape) * maximum < p.numpy()).view(np.uint8)) for p in pixels]
