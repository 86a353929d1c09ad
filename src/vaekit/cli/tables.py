"""Tables and lines for the terminal."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vaekit.evaluation import Estimate
from vaekit.evaluation.figures import Figures

NAMES = {
    "nll": "NLL per sentence",
    "nll_importance": "NLL per sentence by importance",
    "nll_per_word": "NLL per word",
    "word_perplexity": "perplexity",
    "word_perplexity_without_end": "perplexity, end not counted",
    "word_perplexity_importance": "perplexity by importance",
    "token_accuracy": "token accuracy",
    "elbo_gain": "ELBO, gained over the other",
    "log_likelihood_gain": "log p(x), gained over the other",
    "elbo": "ELBO",
    "log_likelihood": "log p(x)",
    "effective_samples": "effective draws",
    "kl": "KL(q(z|x), p(z)), the rate",
    "distortion": "distortion",
    "mutual_information": "mutual information I(x; z)",
    "marginal_kl": "KL(q(z), p(z))",
    "total_correlation": "total correlation",
    "dimensionwise_kl": "dimension-wise KL",
    "active_units": "active units",
    "perplexity": "perplexity of the codes",
    "codes_used": "codes used",
    "bits_per_dim": "bits per dimension",
    "reconstruction_error": "reconstruction error",
    "class_accuracy": "accuracy of the classifier",
    "linear_probe": "linear probe of codes",
    "knn_probe": "k-NN probe of codes",
    "linear_probe_raw": "linear probe of raw values",
    "knn_probe_raw": "k-NN probe of raw values",
    "frechet_distance": "Frechet distance of samples",
    "precision": "precision of samples",
    "recall": "recall of samples",
    "density": "density of samples",
    "coverage": "coverage of samples",
    "two_sample": "two-sample test",
    "neighbour_distance": "samples' nearest neighbours",
    "nearer_to_training": "samples nearer to training",
    "mig": "MIG",
    "factorvae_score": "FactorVAE score",
    "disentanglement": "DCI disentanglement",
    "completeness": "DCI completeness",
    "informativeness": "DCI informativeness",
    "sap": "SAP",
    "approximation_gap": "approximation gap",
    "amortisation_gap": "amortisation gap",
    "inference_gap": "inference gap",
    "annealed_log_likelihood": "log p(x) by annealing",
    "annealed_effective": "effective chains",
    "annealed_gain": "annealing less importance",
    "simulated_lower": "simulated data, from below",
    "simulated_upper": "simulated data, from above",
    "simulated_gap": "simulated data, between",
}


def console(to_stderr: bool = False) -> Console:
    """Where a command writes; the width of a terminal, or no wrapping into a file."""
    plain = Console(stderr=to_stderr, highlight=False, soft_wrap=True)
    return plain if plain.is_terminal else Console(stderr=to_stderr, highlight=False, soft_wrap=True, width=120)


def figures_table(
    figures: Figures, latent_dim: int, seconds: float | None = None, beside: tuple[Figures, int] | None = None
) -> Table:
    """One row a figure: value, standard error, unit, and how it was estimated.

    `beside` are another run's figures and latent dimensions, whose values stand next to these.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    other = () if beside is None else ("the other", "± s.e.")
    for title in ("figure", "value", "± s.e.", *other, "unit", "n", "estimator"):
        right = title in ("value", "± s.e.", "n", *other)
        table.add_column(title, justify="right" if right else "left", no_wrap=title != "estimator")
    for key, name in NAMES.items():
        estimate = figures.get(key)
        if isinstance(estimate, Estimate):
            value, error, *rest = _cells(key, estimate, latent_dim)
            rest[-1] = _floor(figures.get(f"{key}_floor")) + rest[-1]
            table.add_row(*map(escape, (name, value, error, *_beside(key, beside), *rest)))
    if seconds is not None:
        table.add_row("training", f"{seconds:.1f}", "", "seconds", "", "")
    return table


def _floor(floor: Estimate | list[Estimate] | None) -> str:
    """What real rows against other real rows have, where that was measured."""
    if not isinstance(floor, Estimate):
        return ""
    error = "" if floor.standard_error is None else f" ± {floor.standard_error:.2g}"
    return f"data for samples: {floor.value:.4g}{error}; "


def _beside(key: str, beside: tuple[Figures, int] | None) -> tuple[str, ...]:
    """Value and error of the other run's figure, empty where it has none; () where there is no other run."""
    if beside is None:
        return ()
    estimate = beside[0].get(key)
    return _cells(key, estimate, beside[1])[:2] if isinstance(estimate, Estimate) else ("", "")


def _cells(key: str, e: Estimate, latent_dim: int) -> tuple[str, ...]:
    draws = f", {e.samples} draw{'s' if e.samples > 1 else ''}" if e.samples else ""
    error = "" if e.standard_error is None else f"{e.standard_error:.2g}"
    value = (
        f"{e.value:.0f} of {latent_dim}"
        if key == "active_units"
        else f"{e.value:.4g}"
        if abs(e.value) < 1
        else f"{e.value:.2f}"
    )
    return value, error, e.unit, f"{e.n:,}", f"{e.estimator}{draws}"


def print_json(values: Any) -> None:
    """One JSON object on standard output."""
    sys.stdout.write(json.dumps(values, indent=2, allow_nan=False) + "\n")


def shown(path: Path) -> str:
    """A path as short as it can be said from here."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
