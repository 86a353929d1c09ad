"""Sampling in which every row has its own stream of random numbers, keyed by a seed and the row's own values.

What an evaluation says of a row then depends on the row, the model and the seed, and on nothing else: neither on the
batch it came in, nor on the rows before it, nor on how its draws were divided into chunks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

_BLOCK = 128
"""Draws a row's generator makes at a time; those not yet asked for wait for the next call."""


def row_seeds(x: Tensor, seed: int) -> list[int]:
    """One 63-bit seed for every row of `x` (B, ...), from its values in single precision and `seed`."""
    rows = x.detach().cpu().float().contiguous().flatten(1).numpy()
    key = seed.to_bytes(16, "little", signed=True)
    return [
        int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=8, key=key).digest(), "little") >> 1 for row in rows
    ]


class RowSeeded(Distribution):
    """A diagonal Gaussian `Independent(Normal, 1)` of batch shape (B,) whose row i draws from a generator of its own.

    Other distributions keep their own way of sampling: they offer no door for a generator.
    """

    has_rsample = True

    def __init__(self, q: Distribution, seeds: Sequence[int]) -> None:
        self.q = q
        self.generators = [torch.Generator().manual_seed(s) for s in seeds]
        self._waiting = torch.empty(0, len(seeds), *q.event_shape)
        super().__init__(q.batch_shape, q.event_shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.q.mean

    @property
    def variance(self) -> Tensor:
        return self.q.variance

    def log_prob(self, value: Tensor) -> Tensor:
        return self.q.log_prob(value)

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        q = self.q
        if not (isinstance(q, Independent) and isinstance(q.base_dist, Normal) and len(q.event_shape) == 1):
            return q.rsample(torch.Size(sample_shape))
        noise = self._noise(torch.Size(sample_shape).numel()).to(q.mean)
        return (q.base_dist.loc + q.base_dist.scale * noise).view(*sample_shape, *q.mean.shape)

    def _noise(self, count: int) -> Tensor:
        """The next `count` draws of every row's stream, (count, B, D), on the CPU."""
        missing = max(0, count - len(self._waiting))
        blocks = [self._waiting]
        for _ in range(-(-missing // _BLOCK)):
            rows = [torch.randn(_BLOCK, *self.event_shape, generator=g, dtype=torch.float32) for g in self.generators]
            blocks.append(torch.stack(rows, 1))
        drawn = torch.cat(blocks)
        self._waiting = drawn[count:].clone()
        return drawn[:count]


def unseeded(q: Distribution) -> Distribution:
    """The distribution itself, without its seeds."""
    return q.q if isinstance(q, RowSeeded) else q
