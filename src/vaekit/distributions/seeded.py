"""Sampling in which every row has its own stream of random numbers, keyed by a seed and the row's own values.

What an evaluation says of a row then depends on the row, the model and the seed, and on nothing else: neither on the
batch it came in, nor on the rows before it, nor on how its draws were divided into chunks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

_BLOCK = 128
"""Draws a row's generator makes at a time; those not yet asked for wait for the next call."""


def row_seeds(x: Tensor, seed: int) -> list[int]:
    """One 63-bit seed for every row of `x` (B, ...), from its values in single precision and `seed`.

    A sentence (whole numbers, 0 after its end) has the same seed however far it is padded.
    """
    rows: Iterable[np.ndarray] = x.detach().cpu().float().contiguous().flatten(1).numpy()
    if not x.is_floating_point():
        rows = (np.trim_zeros(row, "b") for row in rows)
    key = int(seed).to_bytes(16, "little", signed=True)
    return [
        int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=8, key=key).digest(), "little") >> 1 for row in rows
    ]


@runtime_checkable
class FromNoise(Protocol):
    """A distribution whose samples are a function of standard normal noise: what lets a row have a stream of its own."""

    noise_dim: int
    """Numbers of noise for one sample of one row."""

    def from_noise(self, noise: Tensor) -> Tensor:
        """noise (*, B, noise_dim) -> samples (*, B, *event), reparameterised."""
        ...


class RowSeeded(Distribution):
    """A posterior of batch shape (B,) whose row i draws from a generator of its own.

    It must be `FromNoise`, a diagonal Gaussian `Independent(Normal, 1)` or another product of `FromNoise` elements; others
    keep their own way of sampling.
    """

    has_rsample = True

    def __init__(self, q: Distribution, seeds: Sequence[int]) -> None:
        self.plain = q
        self.generators = [torch.Generator().manual_seed(s) for s in seeds]
        self.noise_dim = q.noise_dim if isinstance(q, FromNoise) else q.event_shape.numel()
        self._from_noise = _map_from_noise(q)
        self._waiting = torch.empty(0, len(seeds), self.noise_dim)
        super().__init__(q.batch_shape, q.event_shape, validate_args=False)

    def part(self, rows: Tensor, q: Distribution) -> RowSeeded:
        """`q`, the posterior of those rows alone (indices or a mask), drawing on from where the row's streams stand."""
        part = RowSeeded(q, ())
        part.generators = [self.generators[i] for i in torch.arange(len(self.generators))[rows].tolist()]
        part._waiting = self._waiting[:, rows]
        return part

    @property
    def has_streams(self) -> bool:
        """Whether every random number comes from the rows' own generators."""
        return self._from_noise is not None

    @property
    def mean(self) -> Tensor:
        return self.plain.mean

    @property
    def variance(self) -> Tensor:
        return self.plain.variance

    def log_prob(self, value: Tensor) -> Tensor:
        return self.plain.log_prob(value)

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        q, shape = self.plain, torch.Size(sample_shape)
        if self._from_noise is None:
            return q.rsample(shape) if q.has_rsample else q.sample(shape)
        return self._from_noise(self._noise(shape.numel())).view(*shape, *q.batch_shape, *q.event_shape)

    def become(self, q: Distribution) -> None:
        """From now on a posterior of the same shape, its rows' streams going on where they are."""
        self.plain, self._from_noise = q, _map_from_noise(q)

    def _noise(self, count: int) -> Tensor:
        """The next `count` draws of every row's stream, (count, B, D), on the CPU."""
        missing = max(0, count - len(self._waiting))
        blocks = [self._waiting]
        for _ in range(-(-missing // _BLOCK)):
            rows = [torch.randn(_BLOCK, self.noise_dim, generator=g, dtype=torch.float32) for g in self.generators]
            blocks.append(torch.stack(rows, 1))
        drawn = torch.cat(blocks)
        self._waiting = drawn[count:].clone()
        return drawn[:count]


def _map_from_noise(q: Distribution) -> Callable[[Tensor], Tensor] | None:
    """Noise (K, B, noise_dim) -> samples, None for a distribution that keeps its own way of sampling."""
    if isinstance(q, FromNoise):
        return q.from_noise
    if not isinstance(q, Independent) or len(q.event_shape) != 1:
        return None
    base = q.base_dist
    if isinstance(base, Normal):
        return lambda noise: torch.addcmul(base.loc, base.scale, noise.to(base.loc))
    return base.from_noise if isinstance(base, FromNoise) else None


def unseeded(q: Distribution) -> Distribution:
    """The distribution itself, without its wrappers: what a closed form is about.

    A wrapper is `plain` with other random numbers or another gradient: `RowSeeded` and those of `wrapped.py`.
    """
    while hasattr(q, "plain"):  # a runtime check of a protocol takes as long as a small network
        q = q.plain
    return q
