"""Finite scalar quantisation: round every number of an encoder's output, and have no codebook to learn.

Mentzer, Minnen, Agustsson & Tschannen, "Finite scalar quantization: VQ-VAE made simple", ICLR 2024.

    f(h) = b tanh(h + s) - o,   b = (V - 1) (1 - 0.001) / 2,   o = 1/2 for even V and 0 for odd V,   s = artanh(o / b)
    z = round(f(h)) / floor(V / 2),   straight through: dz/dh = f'(h) / floor(V / 2)

Each of D dimensions takes V values, so the codebook that is implied has V^D entries. No term of the loss is needed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vaekit.errors import UsageError
from vaekit.networks.codebook import Quantised, Quantiser


class FiniteScalar(Quantiser):
    """Each of `dim` dimensions rounded to one of `size` values in [-1, 1]; a dimension is a level of the code."""

    middle: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        if dim < 1:
            raise UsageError(f"fsq: expected at least 1 dimension, got {dim}")
        if size < 2:
            raise UsageError(f"fsq_values {size}: a dimension needs at least 2 values to tell anything apart")
        self.size, self.dim, self.levels = size, dim, dim
        self.bound, self.offset = (size - 1) * (1 - 1e-3) / 2, 0.5 * (1 - size % 2)
        # with two values b < o and no shift is needed: b tanh(h) - o crosses the border between them at h = 0
        self.shift = math.atanh(self.offset / self.bound) if self.offset < self.bound else 0.0
        self.register_buffer("middle", torch.tensor(float(size // 2)), persistent=False)

    def forward(self, h: Tensor) -> Quantised:
        f = self.bound * torch.tanh(h + self.shift) - self.offset
        whole = f.round().detach()
        nothing = h.new_zeros(h.shape[:-2])
        return Quantised((whole + (f - f.detach())) / self.middle, whole.long() + self.size // 2, nothing, nothing)

    def vectors_of(self, codes: Tensor) -> Tensor:
        return (codes - self.middle) / self.middle

    def words(self, codes: Tensor) -> tuple[Tensor, int]:
        """One word for all dimensions of a position: its number in base V."""
        if self.levels * math.log2(self.size) > 62:
            raise UsageError(f"fsq: {self.size}^{self.levels} words are too many to number; take fewer dimensions")
        powers = self.size ** torch.arange(self.levels, device=codes.device)
        return (codes * powers).sum(-1, keepdim=True), self.size**self.levels
