"""`vaekit score RUN SOURCE`: log p(x) of every row."""

from __future__ import annotations

import io
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

from vaekit.cli.columns import ENDINGS, write_columns
from vaekit.cli.common import other_rows, output_path, part_option, run_parser
from vaekit.cli.options import parse, seed_number
from vaekit.cli.texts import warn_of_losses, write_lines
from vaekit.data import Split
from vaekit.data.text import text_rows
from vaekit.errors import UsageError
from vaekit.evaluation.estimate import Estimate, mean_of
from vaekit.evaluation.likelihood import Importance, importance_sampling, mean_log_likelihood, trust
from vaekit.evaluation.weighing import standard_errors
from vaekit.models import Model, origin_of
from vaekit.runs import load_run


def run(arguments: list[str]) -> int:
    """Score the rows of a source. Returns the exit status."""
    parser = run_parser(
        "score", "RUN SOURCE", "log p(x) of every row (every line of a text), in nats, in the source's order."
    )
    parser.add_argument("source", metavar="SOURCE", help="as for `vaekit train`")
    part_option(parser)
    parser.add_argument(
        "--samples", type=int, default=200, metavar="K", help="draws for each row of a model with a code (default: 200)"
    )
    parser.add_argument("--seed", type=seed_number, default=0, help="of the draws (default: 0)")
    kinds = ", ".join(ENDINGS)
    parser.add_argument(
        "--out", type=str | None, default=None, help=f"file to write: {kinds} (default: a table on standard output)"
    )  # type: ignore[arg-type]
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it is there")
    options = parse(parser, arguments)
    if options.samples < 1:
        raise UsageError(f"--samples {options.samples}: expected at least 1 draw")
    path = output_path(options.out, options.overwrite, ENDINGS) if options.out else None
    found = load_run(options.run)
    schema, sentences = origin_of(found.model).schema, None
    if schema.kind == "text":
        read = text_rows(options.source, schema, options.split, options.sentences)
        warn_of_losses(read)
        rows, sentences = read.split, read.sentences
    else:
        rows = other_rows(found, options.source, options.split, options.data_dir)
    exact = found.model.latent_dim == 0
    samples = 1 if exact else options.samples
    scores = importance_sampling(found.model, rows, samples=samples, seed=options.seed)
    figure = "bound" if found.model.quantised else "log_likelihood"
    columns = _columns(figure, scores, rows, sentences, None if exact else samples)
    if path is None:
        _print(columns)
    else:
        as_text = path.suffix.lower() == ".csv"
        write_columns(path, {name: c for name, c in columns.items() if as_text or name != "sentence"})
    sys.stderr.write(_summary(found.model, scores, rows, samples, path) + "\n")
    return 0


def _columns(
    figure: str, scores: Importance, rows: Split, sentences: list[str] | None, samples: int | None
) -> dict[str, np.ndarray]:
    """One array (n,) a column; `standard_error` is that of the K draws, 0 where there is nothing to draw (None)."""
    columns: dict[str, Any] = {"row": np.arange(len(rows)), figure: scores.log_px.numpy()}
    columns["standard_error"] = np.zeros(len(rows))
    if samples is not None:
        columns["standard_error"] = standard_errors(scores.effective, samples).numpy()
    columns["effective_samples"] = scores.effective.numpy()
    if rows.lengths is not None:
        columns["tokens"] = rows.lengths.numpy()
    if sentences is not None:
        # objects, since an array of texts takes for each what the longest one takes
        columns["sentence"] = np.array(sentences, dtype=object)
    return columns


def _print(columns: dict[str, np.ndarray]) -> None:
    """A line for each row, columns divided by tabs, their names first."""
    listed = [[_cell(value) for value in column.tolist()] for column in columns.values()]
    write_lines(None, ["\t".join(columns), *("\t".join(cells) for cells in zip(*listed, strict=True))])


def _cell(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else " ".join(str(value).split("\t"))


def _summary(model: Model, scores: Importance, rows: Split, samples: int, path: Path | None) -> str:
    mean = _mean(model, scores, samples)
    error = "" if mean.standard_error is None else f" ± {mean.standard_error:.2g}"
    text = io.StringIO()
    name = "bound" if model.quantised else "log p(x)"
    text.write(f"{mean.n:,} rows, {name} {mean.value:.2f}{error} nats a row ({mean.estimator}")
    text.write(f", {mean.samples} draws)" if mean.samples else ")")
    if rows.lengths is not None:
        per_token = -float(scores.log_px.sum()) / float(rows.lengths.sum())
        text.write(f", perplexity {math.exp(min(per_token, 700.0)):.4g} a token, the end counted")
    if path is not None:
        text.write(f": {path}")
    warning = None if samples == 1 else trust(float(scores.effective.median()), scores.made(samples))
    return text.getvalue() + (f"\nvaekit: note: {warning}" if warning else "")


def _mean(model: Model, scores: Importance, samples: int) -> Estimate:
    if model.latent_dim == 0:
        return mean_of(scores.log_px, "nats", "exact, the model has no code")
    return mean_log_likelihood(model, scores, samples)
