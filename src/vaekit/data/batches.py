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


_LABELLED = 4
"""Where few rows have a label, a batch has one labelled row more for every so many of its size."""


def epoch_batches(
    split: Split,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    device: torch.device,
    share: tuple[int, int] = (0, 1),
    condition_dim: int = 0,
    optional: bool = False,
) -> Iterator[Batch]:
    """One pass over the rows in a fresh order.

    Args:
        split: the rows.
        batch_size: rows per batch, over all processes together.
        seed, epoch: the order and the dynamic binarisation are drawn from these two and nothing else.
        device: where the batches go.
        share: (rank, number of processes): this process's part of every batch.
        condition_dim: size of the condition that the model takes, 0 for none.
        optional: rows may come without their class; where only some have one, a batch is made as `_partly_labelled` says.
    """
    rank, world = share
    # SFC64 gives random bytes fastest; the rank is in the key because each process binarises its own rows
    rng = np.random.Generator(np.random.SFC64([seed, epoch, rank, 1]))
    order, partly = np.random.default_rng([seed, epoch]), optional and 0 < int(split.labelled.sum()) < len(split)
    parts = _partly_labelled(split, batch_size, order) if partly else _order(split, batch_size, order).split(batch_size)
    for rows in parts:
        rows = rows if world == 1 else rows[rank::world]
        x, c = split.rows(rows, rng), split.condition(rows, condition_dim, optional=optional)
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


def _partly_labelled(split: Split, batch_size: int, rng: np.random.Generator) -> list[torch.Tensor]:
    """The row numbers of every batch, as many batches as `steps_per_epoch` says.

    Each has its part of the rows without a label, every one once in the epoch, and then labelled rows, all equally often: at
    least a quarter of `batch_size`, unless there are fewer. In batches drawn from all rows alike most would have none.
    """
    known = split.labelled
    with_label, without = (torch.nonzero(rows).flatten().numpy() for rows in (known, ~known))
    steps = steps_per_epoch(len(split), batch_size)
    each = min(len(with_label), max(batch_size // _LABELLED, -(-len(with_label) // steps)))
    rounds = -(-steps * each // len(with_label))
    repeated = np.concatenate([rng.permutation(with_label) for _ in range(rounds)])
    parts = np.array_split(rng.permutation(without), steps)
    joined = (np.concatenate([part, repeated[at * each : (at + 1) * each]]) for at, part in enumerate(parts))
    return [torch.from_numpy(rows) for rows in joined]
