"""All figures of a model on held-out rows, in the one form that files, tables and reports share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vaekit.data import Dataset, Split, as_split
from vaekit.errors import DataError, UsageError
from vaekit.evaluation.aggregate import code_information
from vaekit.evaluation.annealed import annealed, check_annealed
from vaekit.evaluation.classes import classified
from vaekit.evaluation.disentanglement import factors_of_variation
from vaekit.evaluation.features import Features
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
from vaekit.evaluation.gaps import check_gaps, gaps_of_some
from vaekit.evaluation.quality import quality
from vaekit.evaluation.rows import MEMORY, check_dataset, check_examples
from vaekit.evaluation.text import sentences
from vaekit.models.base import Model
from vaekit.models.examples import check_classes

FIGURES: tuple[Callable[[Question], Figures], ...] = (
    likelihood,
    plain_distortion,
    sentences,
    reconstructed,
    code_usage,
    code_information,
    classified,
    probed,
    quality,
    factors_of_variation,
    gaps_of_some,
    annealed,
    kl_parts,
)
"""What `evaluate` asks, in the order of its answer. Each returns {} where it does not apply to the model or the data."""


def evaluate(
    model: Model,
    data: Dataset,
    *,
    split: Split | None = None,
    samples: int = 1000,
    memory: int = MEMORY,
    seed: int = 0,
    features: Features | None = None,
    two_sample: bool = False,
    gap_rows: int = 0,
    annealed_rows: int = 0,
    temperatures: int = 500,
    standard_error: float | None = None,
) -> Figures:
    """Every figure that applies to the model and the data.

    Args:
        data: its training rows serve the probes, the features of sample figures and the search for neighbours.
        split: the rows to evaluate; None takes `data.test`.
        samples: K of the importance-sampled log p(x).
        memory, seed: see `log_likelihood_per_example`.
        features: of sample figures, see `sample_figures`.
        two_sample: whether to train a classifier that tells samples from data, which takes longer than the other figures.
        gap_rows: rows of which the approximation and the amortisation gap are measured, see `gaps`.
        annealed_rows: rows of which log p(x) is annealed, and examples that are simulated to bound it from both sides.
        temperatures: of annealing.
        standard_error: nats of an example's own log p(x) at which it takes no more draws, see `log_likelihood_per_example`;
            `samples` are then the most. For models whose log p(x) is found by importance sampling.

    Returns:
        For a model with a likelihood elbo, log_likelihood, effective_samples, kl, distortion, active_units,
        bits_per_dim (where data and likelihood are discrete), the parts of the rate (see `aggregate_posterior`), kl_per_dim
        and, for a code in layers, kl_per_layer (lists); for others distortion and active_units; for all
        reconstruction_error, the probes where there are labels, what `sample_figures` has where there is something to
        sample from, and `disentanglement` where the factors of the rows are known. A model with quantised codes has
        perplexity and codes_used in place of active_units, and no log_likelihood: its posterior is one code, so more draws
        say no more than elbo does. A model that cannot encode has the figures of its samples alone. Sentences have nll and its
        parts, perplexities and token_accuracy, see `evaluation/text.py`.

    Raises:
        UsageError: a number out of range, or gaps or annealing of a model that has none.
        DataError: no rows to evaluate.
        RunError: a weight of the model is not finite.
    """
    check_dataset(data, "evaluate")
    check_classes(model, data.schema, "evaluate")
    rows = data.test if split is None else split
    if rows is None:
        raise DataError("evaluate: the data have no test rows")
    check_examples(model, rows)
    return answer(
        Question(
            model,
            data,
            as_split(rows),
            samples,
            memory,
            seed,
            features,
            two_sample,
            gap_rows,
            annealed_rows,
            temperatures,
            standard_error,
        )
    )


def answer(asked: Question) -> Figures:
    """The figures of every group."""
    for name in ("gap_rows", "annealed_rows"):
        if getattr(asked, name) < 0:
            raise UsageError(f"evaluate: {name} {getattr(asked, name)}: expected a number of rows, 0 for none")
    if asked.standard_error is not None and (asked.model.quantised or not asked.model.has_likelihood):
        raise UsageError("evaluate: standard_error: this model has no log p(x) by importance sampling; leave it out")
    # what cannot be is said before the figures that take long
    if asked.gap_rows:
        check_gaps(asked.model, asked.rows)
    if asked.annealed_rows:
        check_annealed(asked.model)
    figures: Figures = {}
    for ask in FIGURES:
        figures |= ask(asked)
    return figures


def to_json(figures: Figures) -> dict[str, Any]:
    """The form of `evaluation.json`: a key per figure, `kl_per_dim` and `kl_per_layer` lists."""
    return {k: [e.to_json() for e in v] if isinstance(v, list) else v.to_json() for k, v in figures.items()}
