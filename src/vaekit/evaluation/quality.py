"""Samples of a model beside the data: the figures of `samples.py` and nearest neighbours, each with its floor.

Real rows are held-out rows. What a figure would be for samples that cannot be told from data is measured too, on real rows
against other real rows: the floor. Samples are means E[x|z] of codes that `sample` draws, as they are shown; where data
are binary they are draws of x, since no mean is.

nearer_to_training   how much sooner the row nearest to a sample is a training row than an unseen one: 0.5 without memorisation,
                     however blurred samples are (`repeating.py`)
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from vaekit.data import Dataset, Split, as_split
from vaekit.errors import DataError, UsageError
from vaekit.evaluation.estimate import Estimate, median_of
from vaekit.evaluation.features import Features, default_features, in_batches
from vaekit.evaluation.figures import Figures, Question
from vaekit.evaluation.repeating import in_units, nearer_to_training, unit_of
from vaekit.evaluation.rows import at_rest, batch_at, check_examples
from vaekit.evaluation.samples import STATISTICS, nearest, sample_quality
from vaekit.models.base import Model
from vaekit.models.gan import GAN
from vaekit.models.vaegan import VAEGAN

MOST = 1000
"""Samples and rows of a kind that are compared, at most."""

LEAST = 40
"""Real rows below which nothing is compared."""

_QUICK = tuple(name for name in STATISTICS if name != "two_sample")
_CHUNK = 250


def quality(asked: Question) -> Figures:
    """Figures of samples, for models that can draw them and data of which there are enough rows."""
    if not asked.model.can_sample or asked.data.schema.kind == "text" or len(asked.rows) < LEAST:
        return {}
    statistics = tuple(STATISTICS) if asked.two_sample else _QUICK
    found = sample_figures(
        asked.model, asked.data, split=asked.rows, features=asked.features, statistics=statistics, seed=asked.seed
    )
    return dict(found)


def sample_figures(
    model: Model,
    data: Dataset,
    *,
    split: Split | None = None,
    features: Features | None = None,
    statistics: tuple[str, ...] = tuple(STATISTICS),
    most: int = MOST,
    seed: int = 0,
) -> dict[str, Estimate]:
    """What tells a model's samples from data, and the floor of each figure under its name + "_floor".

    Args:
        data: features are learned from its training rows, and neighbours are sought among them.
        split: the real rows to compare with; None takes `data.test`.
        features: rows (n, *shape) to features (n, F), any module; None takes those of a small classifier that is trained on
            the spot, or principal components where there are no labels. Nothing is downloaded.
        statistics: which of `STATISTICS`.
        most: rows of a kind that are compared, at most.
        seed: of samples, features and the choice of rows.

    Returns:
        The statistics, "neighbour_distance" (root mean square per element to the nearest training row, the median) and
        "nearer_to_training". The last two are left out where the real rows are the training rows.

    Raises UsageError for a model that has nothing to sample from, DataError for fewer than 40 real rows.
    """
    given = as_split(data.test if split is None else split)
    real = check_examples(model, given)
    if not model.can_sample:
        raise UsageError(f"sample_figures: {type(model).__name__} has no prior to sample from; train a vae")
    if len(real) < LEAST:
        raise DataError(f"sample_figures: {len(real)} rows to compare with; it needs {LEAST}")
    with at_rest(model):
        chosen, fake, how = _drawn(model, real, most, seed)
    x = real.rows(chosen).float()
    named = default_features(data, seed=seed) if features is None else features
    figures = sample_quality(in_batches(named, x), in_batches(named, fake), statistics=statistics, most=most, seed=seed)
    space = _space(data) if features is None else "given features"
    found = {
        name: replace(e, estimator=f"real rows in {space}" if name.endswith("_floor") else f"in {space}{how}")
        for name, e in figures.items()
    }
    return found if given.values is data.train.values else found | _neighbours(data, x[: len(fake)], fake, seed)


def _drawn(model: Model, real: Split, most: int, seed: int) -> tuple[Tensor, Tensor, str]:
    """The real rows to compare with, twice as many as samples where there are so many; samples; and what they are."""
    torch.manual_seed(seed)
    chosen = torch.randperm(len(real))[: 2 * most]
    n, noise = min(most, len(chosen)), real.maximum == 1
    # a conditional model is told what real rows are
    parts = [batch_at(model, real, rows).c for rows in chosen[:n].split(_CHUNK)]
    sizes = [len(rows) for rows in chosen[:n].split(_CHUNK)]
    fake = torch.cat([model.sample(k, c, noise=noise).cpu().float() for k, c in zip(sizes, parts, strict=True)])
    how = ", samples drawn from p(x|z)" if noise else ", samples are means of p(x|z)"
    return chosen, fake, "" if isinstance(model, GAN | VAEGAN) else how  # a generator makes one example of a code


def _space(data: Dataset) -> str:
    labels = data.train.labels
    by_class = labels is not None and len(labels.unique()) > 1
    return "features of a classifier" if by_class else "principal components"


def _neighbours(data: Dataset, unseen: Tensor, fake: Tensor, seed: int) -> dict[str, Estimate]:
    scale, known, unit = 1 / math.sqrt(unseen[0].numel()), data.train.fixed(seed), unit_of(data.schema)
    closer, near = nearer_to_training(fake, known, unseen, unit=unit, seed=seed)
    floor = nearest(unseen / unit, known.rows(slice(None)).float() / unit)
    how = f"root mean square per element{in_units(unit)} to the nearest training row, median"
    return {
        "neighbour_distance": median_of(scale * near, "distance", f"{how} of samples"),
        "neighbour_distance_floor": median_of(scale * floor, "distance", f"{how} of test rows"),
        "nearer_to_training": closer,
        "nearer_to_training_floor": Estimate(
            0.5, None, len(fake), "share", "samples that owe no row more than another"
        ),
    }
