"""Chains that lead from an easy density over codes to log p(x, z), there and back: the machinery of `annealed.py`.

    log f_b(z) = log f_0(z) + b r(z),   f_0 = p(z) or q(z|x),   r(z) = log p(x, z) - log f_0(z),   0 = b_0 < ... < b_T = 1
    z_0 ~ f_0,   z_t ~ HMC step that keeps f_{b_t},   log w = sum_t (b_t - b_{t-1}) r(z_{t-1})

Step sizes are learned on chains that are then thrown away, so the chains that count have fixed kernels and stay unbiased.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Distribution

from vaekit.data import Batch
from vaekit.distributions.seeded import row_seeds
from vaekit.evaluation.hmc import State, hmc
from vaekit.models.base import LatentModel

Start = Literal["prior", "posterior"]

ACCEPTANCE = 0.65
"""Share of HMC proposals accepted that step sizes aim at: the best in high dimension (Beskos et al., Bernoulli 2013)."""

PILOTS, _WARM_UP, _FIRST_STEP = 4, 30, 0.1
"""Chains that learn the step sizes, moves they make at the first temperature before that counts, and where they begin."""

_GAIN, _WARM_GAIN = 0.5, 1.0
"""Change of log step size for an acceptance off by 1, at each temperature and while warming up."""

_BEGIN = 1
"""Added to a row's seed where its chains begin: the numbers behind z_0 must not come back as its first momentum."""

_LEARN, _FORWARD, _REVERSE = range(3)
"""What a row's random numbers are for; each has a stream of its own."""


class Path:
    """The distributions from f_0 to p(x, z) for each row of a batch.

    Args:
        model: with a prior density and a continuous code.
        batch: B rows with their conditions.
        start: f_0 is the prior or the posterior.
    """

    def __init__(self, model: LatentModel, batch: Batch, start: Start) -> None:
        self.model, self.batch, self.start = model, batch, start
        self.prior = _law(model, batch, "prior")
        self.base = self.prior if start == "prior" else _law(model, batch, start)

    def at(self, z: Tensor) -> State:
        """Densities and gradients at z (K, B, D); not finite where a proposal went too far, which is then not taken."""
        with torch.enable_grad(), _unchecked():
            z = z.detach().requires_grad_()
            base = self.base.log_prob(z)
            rest = self.model.decode(z, self.batch.c).log_prob(self.batch.x)
            if self.start != "prior":
                rest = rest + self.prior.log_prob(z) - base
            slopes = [_gradient(value, z) for value in (base, rest)]
        return State(z.detach(), base.detach(), rest.detach(), *slopes)

    def begin(self, chains: int, seeds: list[int]) -> Tensor:
        """K = `chains` draws from f_0 for each row, (K, B, D), row i's from a stream made by seeds[i]."""
        drawn = []
        for i, seed in enumerate(seeds):
            torch.manual_seed(seed + _BEGIN)
            law = self.base if not self.base.batch_shape else _law(self.model, row(self.batch, i), self.start)
            drawn.append(law.sample(torch.Size((chains,))).view(chains, -1))
        return torch.stack(drawn, 1)


def schedule(temperatures: int) -> list[float]:
    """b_0 = 0 to b_T = 1, sigmoidal as in Wu et al.: closest together near both ends."""
    s = torch.sigmoid(torch.linspace(-4, 4, temperatures + 1, dtype=torch.float64))
    return ((s - s[0]) / (s[-1] - s[0])).tolist()


class _Noise:
    """Standard normal numbers, each row's from a stream of its own."""

    def __init__(self, seeds: list[int], chains: int, like: Tensor) -> None:
        self.generators = [torch.Generator().manual_seed(s) for s in seeds]
        self.shape, self.like = (chains, like.shape[-1] + 2), like

    def __call__(self) -> Tensor:
        return torch.stack([torch.randn(self.shape, generator=g) for g in self.generators], 1).to(self.like)


def _learned_steps(path: Path, betas: list[float], steps: int, seed: int) -> Tensor:
    """Step sizes (T - 1, B) for b_1 to b_{T-1}, from chains of their own that are adapted on the way."""
    seeds = _seeds(path, seed, _LEARN)
    z = path.begin(PILOTS, seeds)
    state, noise = path.at(z), _Noise(seeds, PILOTS, z)
    size = z.new_full(z.shape[1:2], _FIRST_STEP)
    found = []
    for i, b in enumerate([betas[1]] * _WARM_UP + betas[1:-1]):
        state, rate = hmc(path, state, b, size, steps, noise())
        if i >= _WARM_UP:
            found.append(size)
        size = size * ((_GAIN if i >= _WARM_UP else _WARM_GAIN) * (rate.mean(0) - ACCEPTANCE)).exp()
    return torch.stack(found) if found else z.new_empty(0, z.shape[1])


def _log_weights(path: Path, z: Tensor, betas: list[float], sizes: Tensor, steps: int, seeds: list[int]) -> Tensor:
    """log w (K, B) in double precision, of chains that start at z; `betas` falling are run in reverse.

    Both ways the weight is the sum of (b_t - b_{t-1}) r(z_{t-1}), with a move at b_t between z_{t-1} and z_t.
    """
    state, noise = path.at(z), _Noise(seeds, len(z), z)
    total = (betas[1] - betas[0]) * state.rest.double()
    for b, after, size in zip(betas[1:-1], betas[2:], sizes, strict=True):
        state, _ = hmc(path, state, b, size, steps, noise())
        total = total + (after - b) * state.rest.double()
    return total if betas[-1] > betas[0] else -total


def forward(path: Path, betas: list[float], chains: int, leapfrog: int, seed: int) -> tuple[Tensor, Tensor]:
    """log w (K, B) of forward chains, and the step sizes they used (T - 1, B)."""
    sizes = _learned_steps(path, betas, leapfrog, seed)
    seeds = _seeds(path, seed, _FORWARD)
    return _log_weights(path, path.begin(chains, seeds), betas, sizes, leapfrog, seeds), sizes


def reverse(path: Path, z: Tensor, betas: list[float], sizes: Tensor, leapfrog: int, seed: int) -> Tensor:
    """log w (K, B) of chains that start at z (K, B, D), draws from p(z|x), and run back with the forward chains' step sizes."""
    return _log_weights(path, z, betas[::-1], sizes.flip(0), leapfrog, _seeds(path, seed, _REVERSE))


def _law(model: LatentModel, batch: Batch, name: Start) -> Distribution:
    """p(z | c) or q(z | x, c) of a batch."""
    if name == "posterior":
        return model.posterior(batch.x, batch.c)
    assert model.prior is not None
    return model.prior() if batch.c is None else model.prior(batch.c)


def row(batch: Batch, at: int | slice) -> Batch:
    """Some rows of a batch, one row as a batch of one."""
    at = slice(at, at + 1) if isinstance(at, int) else at
    return Batch(batch.x[at], None if batch.c is None else batch.c[at])


@contextmanager
def _unchecked() -> Iterator[None]:
    """Distributions of a user's own say NaN where their arguments are, and do not raise."""
    was = Distribution._validate_args  # type: ignore[attr-defined]
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(was)


def _gradient(value: Tensor, z: Tensor) -> Tensor:
    """Of values (K, B) by z; zero where they do not depend on it, as a uniform density does not."""
    if not value.requires_grad:
        return torch.zeros_like(z)
    (slope,) = torch.autograd.grad(value.sum(), z, retain_graph=True, allow_unused=True, materialize_grads=True)
    return slope


def _seeds(path: Path, seed: int, purpose: int) -> list[int]:
    return row_seeds(path.batch.x, 3 * seed + purpose)
