"""Muon for the weights of a network and Adam for its biases, as one optimiser that `Update(optimizer=...)` takes.

Muon (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/) moves a matrix by its momentum with all singular values
made about equal. A learning rate means for both parts what it means for Adam, because the steps of a matrix are scaled to
the root mean square that Adam's have (Liu et al., 2025, arXiv:2502.16982).

torch has the same optimiser (`torch.optim.Muon`, to which a test holds this one). Its iteration multiplies the whole matrix
in bfloat16, which suits an accelerator; `orthogonal` suits a processor. `python benchmarks/muon.py` times both.
"""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor, nn

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of Jordan et al. for s -> a s + b s^3 + c s^5, which brings every s in (0, 1] near 1 in five rounds."""


def orthogonal(matrix: Tensor, rounds: int = 5) -> Tensor:
    """`matrix` (m, n) with its singular values brought near 1, by Newton and Schulz' iteration.

    One round is X <- (a + b G + c G^2) X with G = X X'. All its factors are polynomials of the first G and commute, so that
    they are multiplied among themselves, min(m, n) squared, and with the matrix once at the end.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / (wide.norm() + 1e-7)
    gram, product = wide @ wide.T, None
    a, b, c = QUINTIC
    for _ in range(rounds):
        factor = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal().add_(a)
        product = factor if product is None else factor @ product
        gram = factor @ gram @ factor
    result = wide if product is None else product @ wide
    return result if matrix.shape[0] <= matrix.shape[1] else result.T


class Muon(torch.optim.Optimizer):
    """Muon for parameters of two dimensions, Adam for the others. `share`: Adam's learning rate / Muon's.

    It goes by their form alone: the pseudo-inputs of a VampPrior would be taken for weights.
    """

    def __init__(
        self, parameters: list[nn.Parameter], learning_rate: float, share: float = 0.3, momentum: float = 0.95
    ) -> None:
        super().__init__(parameters, {"lr": learning_rate})
        self.share, self.momentum = share, momentum
        self.matrices = [p for p in parameters if p.ndim == 2]
        self.others = torch.optim.Adam([p for p in parameters if p.ndim != 2], share * learning_rate)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move both parts, at the learning rate that stands in `param_groups`."""
        rate = self.param_groups[0]["lr"]
        for p in self.matrices:
            if p.grad is not None:
                p.add_(orthogonal(self._ahead(p, p.grad)), alpha=-rate * 0.2 * max(p.shape) ** 0.5)
        self.others.param_groups[0]["lr"] = self.share * rate
        self.others.step()

    def _ahead(self, p: nn.Parameter, gradient: Tensor) -> Tensor:
        """Nesterov's momentum: the running mean of the gradients, moved towards the newest once more."""
        state = self.state[p]
        if not state:
            state["mean"] = torch.zeros_like(p)
        state["mean"].lerp_(gradient, 1.0 - self.momentum)
        return gradient.lerp(state["mean"], self.momentum)


def main(rounds: int = 20) -> None:
    """Print the median time of a step of ours and of torch's, in turns, on the weights of the VAE 784-200-200-50."""
    shapes = [(200, 784), (200, 200), (50, 200), (50, 200), (200, 50), (200, 200), (784, 200)]
    weights = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    theirs = torch.optim.Muon(weights, 1e-3, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    players = {"ours": Muon([*weights, nn.Parameter(torch.zeros(1))], 1e-3), "torch's": theirs}
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
