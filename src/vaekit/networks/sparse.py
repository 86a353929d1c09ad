"""k-sparse codes: only the k activations that are largest stay.

Makhzani & Frey, "k-sparse autoencoders", ICLR 2014. The largest here are those of the largest magnitude.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vaekit.errors import UsageError


class KSparse(nn.Module):
    """(*, D) -> (*, D): the `keep` elements of the largest magnitude as they are, 0 in place of the others.

    The gradient passes through those that are kept. Raises UsageError unless 1 <= keep <= size, the D of its input.
    """

    def __init__(self, keep: int, size: int) -> None:
        super().__init__()
        if not 1 <= keep <= size:
            raise UsageError(f"k_sparse {keep}: expected 1 to {size}, the dimensions of the code")
        self.keep = keep

    def forward(self, x: Tensor) -> Tensor:
        kept = x.abs().topk(self.keep, -1).indices
        return x * torch.zeros_like(x).scatter(-1, kept, 1.0)
