"""What every evaluation needs: the model at rest, and rows in batches on its device with noise of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vaekit.conditional import held
from vaekit.data import Batch, Dataset, Split, as_split
from vaekit.distributions.seeded import RowSeeded, row_seeds
from vaekit.errors import DataError, UsageError
from vaekit.models.base import Model, check_weights
from vaekit.models.examples import check_split

MEMORY = 128 * 2**20
"""Bytes that one chunk of an evaluation may take, unless the caller says otherwise."""

ROWS = 1024
"""Rows that go through a model at a time."""


_LARGE = 31 * 2**20
"""Bytes of a block that is given back at once. glibc takes blocks of sizes it has seen freed, up to 32 MiB, from a heap of
which it keeps twice as much; until then it returns every chunk's memory to the system, and a third of an evaluation goes into
clearing it again. No page of it is touched."""


@contextmanager
def at_rest(model: Model) -> Iterator[None]:
    """Evaluation mode, no gradients, and the process's random state put back afterwards.

    Raises RunError where a weight is not finite.
    """
    check_weights(model, type(model).__name__)
    training = {module: module.training for module in model.modules()}
    model.eval()
    torch.empty(_LARGE, dtype=torch.uint8)
    try:
        # outside inference mode, in which an evaluation that needs a slope would quietly get none
        with torch.inference_mode(False), torch.no_grad(), torch.random.fork_rng(), held(model):
            yield
    finally:
        for module, was in training.items():
            module.training = was


def check_rows(rows: Any) -> Split:
    """`rows` (a Split, array or tensor) as a Split that can be evaluated. Raises DataError where it is empty."""
    split = as_split(rows)
    if len(split) == 0:
        raise DataError(f"{split.name}: no rows to evaluate")
    return split.fixed()


def check_dataset(data: Any, what: str) -> None:
    """Raise UsageError for anything but a Dataset, whose parts and schema are asked for."""
    if not isinstance(data, Dataset):
        kind = type(data).__name__
        raise UsageError(
            f"{what}: takes a Dataset, got a {kind}; make one with vaekit.load, or name a figure's own function"
        )


def check_examples(model: Model, rows: Any) -> Split:
    """`check_rows`, and every row could be an example of the model's data. Raises DataError for others."""
    split = check_rows(rows)
    check_split(model, split)
    return split


def check_likelihood(model: Model, what: str) -> None:
    """Raise UsageError for a model that defines no log p(x)."""
    if not model.has_likelihood:
        raise UsageError(f"{what}: this model has no likelihood; train a vae")


def device_of(model: nn.Module) -> torch.device:
    """Where the model's parameters are."""
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def batches(model: Model, split: Split, size: int = ROWS) -> Iterator[Batch]:
    """The rows in order, with their conditions where the model takes any, on its device and in its precision."""
    for start in range(0, len(split), size):
        yield batch_at(model, split, slice(start, start + size))


def batch_at(model: Model, split: Split, index: Tensor | slice) -> Batch:
    """The rows at `index`, likewise; a model that sums the class out is not told it."""
    dim = 0 if model.condition_optional else model.condition_dim
    batch = Batch(split.rows(index), split.condition(index, dim))
    parameter = next(model.parameters(), None)
    return batch if parameter is None else batch.to(parameter.device, parameter.dtype)


def largest(model: Model, split: Split) -> Batch:
    """The one row that takes most memory: the longest sentence; of other data all take the same."""
    at = 0 if split.lengths is None else int(split.lengths.argmax())
    return batch_at(model, split, slice(at, at + 1))


def told_at(model: Model, split: Split, index: Tensor | slice) -> Tensor | None:
    """What to decode the codes of the rows at `index` with, (B, C): their conditions, or the model's own guess of them."""
    batch = batch_at(model, split, index)
    return model.condition_of(batch.x, batch.c)


def seeded_posterior(model: Model, batch: Batch, seed: int) -> RowSeeded:
    """The posterior of each row, drawing from a stream that depends on the row and `seed` alone."""
    return RowSeeded(model.posterior(batch.x, batch.c), row_seeds(batch.x, seed))
