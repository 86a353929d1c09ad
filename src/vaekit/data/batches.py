"""Training batches whose order is a function of (seed, epoch) alone, so that a repeated or resumed run is the same run.

Sentences of like length come together: within every `_POOL` batches of the epoch's random order they are sorted by length, so
that little of a batch is padding, and the batches then come in random order.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from vaekit.data.dataset import Batch, Split

_POOL = 100
"""Batches' worth of sentences that are sorted together."""


def steps_per_epoch(n: int, batch_size: int) -> int:
    """Number of batches in one pass over n rows; the last may be smaller."""
    return -(-n // batch_size)


def epoch_batches(
    split: Split,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    device: torch.device,
    share: tuple[int, int] = (0, 1),
    condition_dim: int = 0,
) -> Iterator[Batch]:
    """One pass over the rows in a fresh order.

    Args:
        split: the rows.
        batch_size: rows per batch, over all processes together.
        seed, epoch: the order and the dynamic binarisation are drawn from these two and nothing else.
        device: where the batches go.
        share: (rank, number of processes): this process's part of every batch.
        condition_dim: size of the condition that the model takes, 0 for none.
    """
    rank, world = share
    # SFC64 gives random bytes fastest; the rank is in the key because each process binarises its own rows
    rng = np.random.Generator(np.random.SFC64([seed, epoch, rank, 1]))
    order = _order(split, batch_size, np.random.default_rng([seed, epoch]))
    for start in range(0, len(split), batch_size):
        rows = order[start : start + batch_size]
        rows = rows if world == 1 else rows[rank::world]
        x, c = split.rows(rows, rng), split.condition(rows, condition_dim)
        if device.type != "cpu":
            x, c = (None if t is None else t.to(device, non_blocking=True) for t in (x, c))  # type: ignore[assignment]
        yield Batch(x, c)


def _order(split: Split, batch_size: int, rng: np.random.Generator) -> torch.Tensor:
    """Every row once, (n,); a batch is `batch_size` rows that follow each other, the last one smaller."""
    order = rng.permutation(len(split))
    if split.lengths is None:
        return torch.from_numpy(order)
    lengths, whole = split.lengths.numpy(), len(order) // batch_size * batch_size
    pools = np.split(order[:whole], range(_POOL * batch_size, whole, _POOL * batch_size))
    alike = [pool[np.argsort(lengths[pool], kind="stable")] for pool in pools]
    batches = np.concatenate(alike).reshape(-1, batch_size)
    return torch.from_numpy(np.concatenate([batches[rng.permutation(len(batches))].reshape(-1), order[whole:]]))
