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
    "elbo": "ELBO",
    "log_likelihood": "log p(x)",
    "effective_samples": "effective draws",
    "kl": "KL(q(z|x), p(z)), the rate",
    "distortion": "distortion",
    "active_units": "active units",
    "perplexity": "perplexity of the codes",
    "codes_used": "codes used",
    "bits_per_dim": "bits per dimension",
    "reconstruction_error": "reconstruction error",
    "linear_probe": "linear probe of codes",
    "knn_probe": "k-NN probe of codes",
    "linear_probe_raw": "linear probe of raw values",
    "knn_probe_raw": "k-NN probe of raw values",
}


def console(to_stderr: bool = False) -> Console:
    """Where a command writes; the width of a terminal, or no wrapping into a file."""
    plain = Console(stderr=to_stderr, highlight=False, soft_wrap=True)
    return plain if plain.is_terminal else Console(stderr=to_stderr, highlight=False, soft_wrap=True, width=120)


def figures_table(figures: Figures, latent_dim: int, seconds: float | None = None) -> Table:
    """One row a figure: value, standard error, unit, and how it was estimated."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("figure", "value", "± s.e.", "unit", "n", "estimator"):
        table.add_column(
            title, justify="right" if title in ("value", "± s.e.", "n") else "left", no_wrap=title != "estimator"
        )
    for key, name in NAMES.items():
        estimate = figures.get(key)
        if isinstance(estimate, Estimate):
            table.add_row(*map(escape, (name, *_cells(key, estimate, latent_dim))))
    if seconds is not None:
        table.add_row("training", f"{seconds:.1f}", "", "seconds", "", "")
    return table


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
