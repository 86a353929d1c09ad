"""Hamiltonian Monte Carlo on a path of densities (Duane, Kennedy, Pendleton & Roweth, Physics Letters B 1987).

    log f_b(z) = log f_0(z) + b r(z),   H(z, v) = -log f_b(z) + |v|^2 / 2,   v ~ N(0, I)
    leapfrog   v += e/2 grad log f_b(z),   z += e v,   v += e/2 grad log f_b(z)
    accept     with probability min(1, exp(H(z, v) - H(z', v')))

Many chains of many examples move together, each example with a step size e of its own.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

_JITTER = 0.2
"""A trajectory's step size is off by up to this share, at random: one of a fixed length can come back to its start."""


class State(NamedTuple):
    """Codes z (K, B, D), with log f_0 and r there (K, B) and their gradients (K, B, D)."""

    z: Tensor
    base: Tensor
    rest: Tensor
    base_slope: Tensor
    rest_slope: Tensor

    def log_f(self, b: float) -> Tensor:
        """log f_b, (K, B)."""
        return self.base + b * self.rest

    def slope(self, b: float) -> Tensor:
        """Gradient of log f_b, (K, B, D)."""
        return self.base_slope + b * self.rest_slope


class Target(Protocol):
    """What is moved on."""

    def at(self, z: Tensor) -> State:
        """Densities and gradients at z (K, B, D)."""
        ...


def leapfrog(path: Target, state: State, momentum: Tensor, b: float, step: Tensor, steps: int) -> tuple[State, Tensor]:
    """`steps` leapfrog steps of size `step` (K, B) for the energy -log f_b(z) + |momentum|^2 / 2; momentum (K, B, D).

    The map undoes itself when the momentum is turned round, and keeps volume.
    """
    e = step.unsqueeze(-1)
    momentum = momentum + 0.5 * e * state.slope(b)
    for i in range(steps):
        state = path.at(state.z + e * momentum)
        momentum = momentum + (0.5 if i == steps - 1 else 1.0) * e * state.slope(b)
    return state, momentum


def hmc(path: Target, state: State, b: float, step: Tensor, steps: int, noise: Tensor) -> tuple[State, Tensor]:
    """One Hamiltonian Monte Carlo transition that keeps f_b.

    Args:
        step: (B,) step size of each row.
        noise: (K, B, D + 2) standard normal numbers: momentum, acceptance and jitter.

    Returns:
        The next state, and the probability (K, B) with which the proposal was accepted.
    """
    momentum = noise[..., :-2]
    jitter = 1 + _JITTER * (2 * torch.special.ndtr(noise[..., -1]) - 1)
    proposed, turned = leapfrog(path, state, momentum, b, jitter * step, steps)
    change = proposed.log_f(b) - state.log_f(b) + 0.5 * (momentum.square() - turned.square()).sum(-1)
    # a trajectory that overflowed or left the prior's support has no density to go to
    change = torch.where(change.isnan(), -math.inf, change)
    accepted = torch.special.log_ndtr(noise[..., -2]) < change
    chosen = (
        torch.where(accepted.view(*accepted.shape, *[1] * (new.dim() - 2)), new, old)
        for new, old in zip(proposed, state, strict=True)
    )
    return State(*chosen), change.clamp_max(0.0).exp()
