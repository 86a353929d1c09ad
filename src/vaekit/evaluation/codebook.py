"""How much of a codebook is used: perplexity, and the entries that occur at all.

    p_k = share of positions of the examples whose code is k,   perplexity = exp(-sum_k p_k log p_k)

It is 1 where all positions have one code and K where all K codes are equally frequent (van den Oord et al., NeurIPS 2017).
"""

from __future__ import annotations

from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from vaekit.errors import UsageError
from vaekit.evaluation.estimate import Estimate
from vaekit.evaluation.rows import at_rest, batches, check_examples, device_of
from vaekit.models.base import Model


class Quantised(Protocol):
    """What a model with `quantised` has beyond others: its codes, the quantiser that made them, and their prior."""

    quantiser: Any
    prior: Any

    def codes(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """(B, N, L) codes of examples."""
        ...


def usage(model: Model, rows: Any) -> list[np.ndarray]:
    """For every level, the codes of the examples as counts: (n, U) for the U entries that occur, most frequent first.

    A level of a residual quantiser is a codebook of its own; finite scalars have one level, the codebook they imply.
    Raises UsageError for a model whose codes are not quantised.
    """
    return [counts for _, counts in _entries(model, rows)]


def codebook_usage(model: Model, rows: Any) -> dict[str, Estimate]:
    """Perplexity of the code (the mean over levels) and the number of codebook entries that occur (the sum).

    Returns:
        "perplexity" and "codes_used", in codes; standard errors by resampling the examples.
    """
    found = _entries(model, rows)
    n, size = len(found[0][1]), vocabulary(model)
    levels = len(found)
    of = f"of {size:,} codes" if levels == 1 else f"of {levels} levels of {size:,} codes"
    resampled = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=100)
    drawn = [resampled @ counts for _, counts in found]
    whole = [counts.sum(0) for _, counts in found]
    mean = float(np.mean([perplexity(c) for c in whole]))
    spread = np.mean([[perplexity(row) for row in level] for level in drawn], 0)
    used = float(sum((c > 0).sum() for c in whole))
    every = sum((level > 0).sum(1) for level in drawn)
    how = f"exp of the entropy of the codes at all positions, {of}" + (", mean over levels" if levels > 1 else "")
    errors = [None if n == 1 else float(np.std(values)) for values in (spread, every)]
    return {
        "perplexity": Estimate(mean, errors[0], n, "codes", how),
        "codes_used": Estimate(used, errors[1], n, "codes", f"entries that occur at all, {of}"),
    }


def perplexity(counts: np.ndarray) -> float:
    """exp(H) of the distribution in proportion to `counts`."""
    p = counts[counts > 0] / counts.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def vocabulary(model: Model) -> int:
    """Number of entries in the codebook of each level."""
    q = _with_codes(model).quantiser
    return q.words(torch.zeros(1, 1, q.levels, dtype=torch.long, device=device_of(model)))[1]


def code_shape(model: Model) -> tuple[int, int, int]:
    """Positions and levels of an example's codes, and the values that each may take."""
    prior = _with_codes(model).prior
    return prior.positions, prior.levels, prior.size


def _entries(model: Model, rows: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """For every level the entries that occur (U,) and their counts in each example (n, U), most frequent first."""
    coded, split = _with_codes(model), check_examples(model, rows)
    with at_rest(model):
        words = torch.cat(
            [coded.quantiser.words(coded.codes(*batch))[0].cpu() for batch in batches(model, split)]
        ).numpy()
    return [_counted(words[..., level]) for level in range(words.shape[-1])]


def _with_codes(model: Model) -> Quantised:
    """The model as one with codes. Raises UsageError where they are not quantised."""
    if not model.quantised:
        raise UsageError(f"codebook usage: {type(model).__name__} has no codebook; train a vqvae")
    return cast(Quantised, model)


def _counted(words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    entries, index = np.unique(words, return_inverse=True)
    counts = np.zeros((len(words), len(entries)), np.int64)
    np.add.at(counts, (np.arange(len(words))[:, None], index.reshape(words.shape)), 1)
    order = np.argsort(-counts.sum(0), kind="stable")
    return entries[order], counts[:, order]
