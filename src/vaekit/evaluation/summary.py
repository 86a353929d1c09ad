"""All figures of a model on held-out rows, in the one form that files, tables and reports share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vaekit.data import Dataset, Split
from vaekit.errors import DataError
from vaekit.evaluation.figures import (
    Figures,
    Question,
    code_usage,
    kl_parts,
    likelihood,
    plain_distortion,
    probed,
    reconstructed,
)
from vaekit.evaluation.rows import MEMORY
from vaekit.models.base import Model

FIGURES: tuple[Callable[[Question], Figures], ...] = (
    likelihood,
    plain_distortion,
    reconstructed,
    code_usage,
    probed,
    kl_parts,
)
"""What `evaluate` asks, in the order of its answer. Each returns {} where it does not apply to the model or the data."""


def evaluate(
    model: Model, data: Dataset, *, split: Split | None = None, samples: int = 1000, memory: int = MEMORY, seed: int = 0
) -> Figures:
    """Every figure that applies to the model and the data.

    Args:
        data: its training rows and labels serve the probes.
        split: the rows to evaluate; None takes `data.test`.
        samples: K of the importance-sampled log p(x).
        memory, seed: see `log_likelihood_per_example`.

    Returns:
        For a model with a likelihood elbo, log_likelihood, effective_samples, kl, distortion, active_units,
        bits_per_dim (where data and likelihood are discrete), kl_per_dim and, for a code in layers, kl_per_layer
        (lists); for others distortion and active_units; for all reconstruction_error, and the probes where there are
        labels. A model with quantised codes has perplexity and codes_used in place of active_units, and no
        log_likelihood: its posterior is one code, so more draws say no more than elbo does.
    """
    rows = data.test if split is None else split
    if rows is None:
        raise DataError("evaluate: the data have no test rows")
    question = Question(model, data, rows, samples, memory, seed)
    figures: Figures = {}
    for ask in FIGURES:
        figures |= ask(question)
    return figures


def to_json(figures: Figures) -> dict[str, Any]:
    """The form of `evaluation.json`: a key per figure, `kl_per_dim` and `kl_per_layer` lists."""
    return {k: [e.to_json() for e in v] if isinstance(v, list) else v.to_json() for k, v in figures.items()}
