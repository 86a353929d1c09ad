"""What a step of Muon costs: ours beside torch's, in turns, on the weights of the VAE 784-200-200-50.

OMP_NUM_THREADS=1 python benchmarks/muon.py
"""

from __future__ import annotations

import statistics
import time

import torch
from torch import nn

from vaekit.optimizers import Muon

SHAPES = [(200, 784), (200, 200), (50, 200), (50, 200), (200, 50), (200, 200), (784, 200)]


def main(rounds: int = 20) -> None:
    """Print the median time of a step of both, and the median of their ratios."""
    weights = [nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    theirs = torch.optim.Muon(weights, 1e-3, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    players = {"ours": Muon(weights, 1e-3, weights), "torch's": theirs}
    seconds: dict[str, list[float]] = {name: [] for name in players}
    for _ in range(rounds):
        for weight in weights:
            weight.grad = torch.randn_like(weight)
        for name, player in players.items():
            begin = time.perf_counter()
            player.step()
            seconds[name].append(time.perf_counter() - begin)
    for name, times in seconds.items():
        print(f"{name}: {1e3 * statistics.median(times):.1f} ms a step")
    ratio = statistics.median(b / a for a, b in zip(*seconds.values(), strict=True))
    print(f"ratio: {ratio:.2f}")


if __name__ == "__main__":
    main()
