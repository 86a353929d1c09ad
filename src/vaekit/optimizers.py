"""Optimisers of a training: Adam for every parameter, or Muon for the weights of linear layers beside it.

    Adam  Kingma & Ba, ICLR 2015
    Muon  Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/: a matrix moves by its momentum with all singular
          values made about equal. Its steps have the root mean square that Adam's have, 0.2 of the learning rate (Liu et al.,
          2025, arXiv:2502.16982), so that a learning rate means nearly the same for both.

Muon takes fewer and dearer steps: it suits large batches and long trainings. torch has it too (`torch.optim.Muon`, to which a
test holds this one), for matrices alone; its iteration multiplies the whole matrix in bfloat16, which suits an accelerator and
takes twice as long as `orthogonal` on a processor (`benchmarks/muon.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, cast

import torch
from torch import Tensor, nn

OptimizerName = Literal["adam", "muon"]

Make = Callable[[list[nn.Parameter], float], torch.optim.Optimizer]
"""(parameters, learning rate) -> optimiser."""

_QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of Jordan et al. for s -> a s + b s^3 + c s^5, which brings every s in (0, 1] near 1 in five rounds."""

_LARGE = 512
"""The iteration's cost grows with the cube of the shorter side: matrices with more than this on both are taken in halves."""


def adam(
    parameters: list[nn.Parameter], learning_rate: float, betas: tuple[float, float] = (0.9, 0.999)
) -> torch.optim.Optimizer:
    """Adam, fused from 10,000 parameters on: below, starting threads costs more than it saves."""
    floating = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)
    fused = floating and sum(p.numel() for p in parameters) >= 10_000
    return torch.optim.Adam(parameters, learning_rate, betas=betas, fused=fused)


def orthogonal(matrix: Tensor, rounds: int = 5) -> Tensor:
    """`matrix` (m, n) with its singular values brought near 1, by Newton and Schulz' iteration.

    One round is X <- (a + b G + c G^2) X with G = X X'. All its factors are polynomials of the first G and commute, so that
    they are multiplied among themselves, min(m, n) squared, and with the matrix once at the end.
    """
    if min(matrix.shape) > _LARGE:
        return torch.cat([orthogonal(half, rounds) for half in matrix.chunk(2)])
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / (wide.norm() + 1e-7)
    gram, product = wide @ wide.T, None
    a, b, c = _QUINTIC
    for _ in range(rounds):
        factor = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal().add_(a)
        product = factor if product is None else factor @ product
        gram = factor @ gram @ factor
    result = wide if product is None else product @ wide
    return result if matrix.shape[0] <= matrix.shape[1] else result.T


class Muon(torch.optim.Optimizer):
    """Muon for `matrices`, Adam for the other parameters.

    Args:
        parameters: all that move.
        learning_rate: of the matrices.
        matrices: which of the parameters are weights of linear layers, (out, in) each.
        share: Adam's learning rate / Muon's; what is no matrix wants smaller steps than matrices bear.
        momentum: of Nesterov's kind.
        betas, eps: of Adam.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        learning_rate: float,
        matrices: Iterable[nn.Parameter],
        *,
        share: float = 0.3,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        chosen = {id(p) for p in matrices}
        moved = list(parameters)
        groups = [
            {"params": [p for p in moved if (id(p) in chosen) is matrix], "matrix": matrix} for matrix in (True, False)
        ]
        defaults = {"lr": learning_rate, "share": share, "momentum": momentum, "betas": betas, "eps": eps}
        super().__init__([group for group in groups if group["params"]], defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            for p in (p for p in group["params"] if p.grad is not None):
                if group["matrix"]:
                    self._turn(p, p.grad, group["lr"], group["momentum"])
                else:
                    self._adapt(p, p.grad, group["lr"] * group["share"], group["betas"], group["eps"])

    def _turn(self, p: nn.Parameter, gradient: Tensor, rate: float, momentum: float) -> None:
        state = self.state[p]
        if not state:
            state["mean"] = torch.zeros_like(p)
        state["mean"].lerp_(gradient, 1.0 - momentum)
        ahead = gradient.lerp(state["mean"], momentum)  # moved towards the newest once more
        p.add_(orthogonal(ahead.float()).to(p.dtype), alpha=-0.2 * rate * max(p.shape) ** 0.5)

    def _adapt(self, p: nn.Parameter, gradient: Tensor, rate: float, betas: tuple[float, float], eps: float) -> None:
        state = self.state[p]
        if not state:
            state |= {"step": 0, "mean": torch.zeros_like(p), "square": torch.zeros_like(p)}
        state["step"] += 1
        state["mean"].lerp_(gradient, 1.0 - betas[0])
        state["square"].mul_(betas[1]).addcmul_(gradient, gradient, value=1.0 - betas[1])
        mean, square = (1.0 - beta ** state["step"] for beta in betas)
        p.addcdiv_(state["mean"], (state["square"] / square).sqrt_().add_(eps), value=-rate / mean)


def linear_weights(model: nn.Module) -> list[nn.Parameter]:
    """The weights of a model's linear layers: not embeddings, codebooks, pseudo-inputs, convolutions or recurrent weights."""
    return [cast(nn.Parameter, m.weight) for m in model.modules() if isinstance(m, nn.Linear)]


def optimizer_for(name: OptimizerName, model: nn.Module) -> Make:
    """What makes the optimiser of this name for parameters of `model`."""
    if name == "adam":
        return adam
    matrices = linear_weights(model)
    return lambda parameters, learning_rate: Muon(parameters, learning_rate, matrices)
