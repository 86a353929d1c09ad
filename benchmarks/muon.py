"""Muon for the weights of a network and Adam for its biases, as one optimiser that `Update(optimizer=...)` takes.

Muon (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/) moves a matrix by its momentum with all singular values
made about equal. torch has it for matrices alone; a learning rate means for both parts what it means for Adam, because the
steps of a matrix are scaled to the root mean square that Adam's have (Liu et al., 2025, arXiv:2502.16982).
"""

from __future__ import annotations

import torch
from torch import nn


class Muon(torch.optim.Optimizer):
    """torch's Muon for parameters of two dimensions, its Adam for the others. `share`: Adam's learning rate / Muon's.

    It goes by their form alone: the pseudo-inputs of a VampPrior would be taken for weights.
    """

    def __init__(self, parameters: list[nn.Parameter], learning_rate: float, share: float = 0.3) -> None:
        super().__init__(parameters, {"lr": learning_rate})
        matrices, others = ([p for p in parameters if (p.ndim == 2) is two] for two in (True, False))
        self.share = share
        self.matrices = torch.optim.Muon(matrices, learning_rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
        self.others = torch.optim.Adam(others, share * learning_rate)

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move both parts, at the learning rate that stands in `param_groups`."""
        rate = self.param_groups[0]["lr"]
        for part, its in ((self.matrices, rate), (self.others, self.share * rate)):
            part.param_groups[0]["lr"] = its
            part.step()
