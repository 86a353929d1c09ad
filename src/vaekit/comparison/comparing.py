"""`compare`: several models on the same data, with the same networks and the same budget, and what can be said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from vaekit.comparison.board import Board
from vaekit.comparison.folder import Folder, open_folder, read_plan
from vaekit.comparison.judge import Judge
from vaekit.comparison.measure import references_of
from vaekit.comparison.page import write_page
from vaekit.comparison.plan import Plan, make_plan
from vaekit.comparison.result import write_result
from vaekit.comparison.running import run_one
from vaekit.data import Dataset


def compare(
    data: Dataset,
    models: Sequence[str],
    *,
    out: str | Path,
    seeds: int = 3,
    seconds: float | None = None,
    epochs: int | None = None,
    shared: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    samples: int = 100,
    source: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Train every model with every seed, measure them alike, and write comparison.json and comparison.html.

    Args:
        data: images or vectors with at least 40 validation and test rows together.
        models: names of two or more recipes.
        out: the folder. One in which the same comparison was begun is gone on with at the run that is missing.
        seeds: trainings of each model, with the seeds 0, 1, ...
        seconds, epochs: of training for each model and seed; 60 seconds where neither is given. Measuring is not counted.
        shared: keywords of the recipes, such as latent_dim and hidden; each model gets those that it has.
        training: keywords of `fit`: batch_size, learning_rate, learning_rate_decay, gradient_clip, device.
        samples: K of log p(x).
        source: the options that read the data, kept in each run's config.yaml so that other commands can read them again.
        progress: bars on the terminal.

    Returns:
        What comparison.json holds: models, references, figures with their spread, the best of each, claims, timings.

    Raises:
        UsageError, DataError: a comparison that cannot be, before anything is trained or written.
        RunError: `out` holds something else, or a comparison that was begun with other options.
    """
    plan = make_plan(
        data, models, seeds=seeds, seconds=seconds, epochs=epochs, shared=shared, training=training, samples=samples,
        source=source,
    )  # fmt: skip
    folder = open_folder(Path(out), plan)
    return carry_out(read_plan(folder.path), data, folder, progress=progress)


def carry_out(plan: Plan, data: Dataset, folder: Folder, *, progress: bool = True) -> dict[str, Any]:
    """Do what is missing of a plan in its folder, then write result and page."""
    with Board(plan, shown=progress) as board:
        board.begin("training a classifier to measure with")
        judge = Judge(data)
        references = references_of(judge)
        missing = set(folder.missing(plan))
        for name, seed, _ in folder.runs(plan):
            if (name, seed) in missing:
                run_one(plan, name, seed, judge, folder, partial(board.tell, name))
            board.finish(name)
        board.begin("writing the page")
        result = write_result(folder, plan, judge, references)
        write_page(folder.path)
    return result
