"""Every figure of one trained model, and the arrays of its pictures."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vaekit.comparison.judge import Figures, Judge
from vaekit.comparison.samples import class_conditions, conditions, drawn, how_drawn
from vaekit.data import Dataset, Split
from vaekit.evaluation import reconstruction_error
from vaekit.evaluation.estimate import mean_of
from vaekit.evaluation.likelihood import elbo, log_likelihood
from vaekit.evaluation.probes import code_probes, raw_probes
from vaekit.evaluation.repeating import nearest_rows, unit_of
from vaekit.evaluation.rows import at_rest, batch_at
from vaekit.models.base import Model

_ROWS = 2_000
"""Test rows that are reconstructed or scored by the bound."""

_SCORED = 500
"""Test rows whose log p(x) is estimated."""

_SOUGHT, _SOUGHT_ELEMENTS = 100, 2**16
"""Test rows whose codes are searched for where there is no encoder, and numbers in them: a search is hundreds of passes."""

SAMPLES, ROWS, EACH = 32, 8, 6
"""Samples, test rows and samples of each class that are shown."""


def figures_of(model: Model, judge: Judge, samples: int, seed: int) -> Figures:
    """Every figure that applies.

    Args:
        samples: K of log p(x).
        seed: of samples and searches.
    """
    data, test = judge.data, _test(judge.data)
    figures = _reconstruction(model, test, seed) | judge.of_samples(model, seed)
    if model.has_likelihood:
        figures["elbo"] = elbo(model, test, samples=1 if model.quantised else 10, seed=seed)["elbo"]
        if not model.quantised:
            figures["log_likelihood"] = log_likelihood(model, test.head(_SCORED), samples=samples, seed=seed)
    if model.has_posterior:
        figures |= code_probes(model, Dataset(data.schema, data.train, test=test))
    return figures


def references_of(judge: Judge) -> Figures:
    """What figures are held against: real rows in the place of samples, the mean example, raw values."""
    data, test = judge.data, _test(judge.data)
    mean = data.train.fixed().head(10_000).rows(slice(None)).mean(0)
    errors = (test.rows(slice(None)) - mean).square().flatten(1).mean(1)
    found = {
        "reconstruction_error": mean_of(errors, "squared error", "the mean of the training rows in place of each row")
    }
    raw = raw_probes(Dataset(data.schema, data.train, test=test))
    return found | judge.references | {name.removesuffix("_raw"): estimate for name, estimate in raw.items()}


def _test(data: Dataset) -> Split:
    assert data.test is not None  # the plan saw to it
    return data.test.fixed().head(_ROWS)


def _reconstruction(model: Model, test: Split, seed: int) -> Figures:
    if model.has_posterior:
        return {"reconstruction_error": reconstruction_error(model, test)}
    few = test.head(max(16, min(_SOUGHT, _SOUGHT_ELEMENTS // test.values[0].numel())))
    found = _sought(model, few, seed)
    errors = (found - few.rows(slice(None))).square().flatten(1).mean(1)
    how = "mean over values, code sought by gradient: there is no encoder"
    return {"reconstruction_error": mean_of(errors, "squared error", how)}


def _sought(model: Model, rows: Split, seed: int) -> Tensor:
    """The example nearest to each row that the model can make, (n, *shape), from `evaluation.invert`."""
    from vaekit.evaluation.inversion import invert

    with at_rest(model):
        batch = batch_at(model, rows, slice(None))
        z = invert(model, batch.x, batch.c, seed=seed)
        return model.decode(z, batch.c).mean.cpu().float()


@torch.no_grad()
def pictures_of(model: Model, judge: Judge, seed: int) -> dict[str, np.ndarray]:
    """What the page shows of a model, examples (n, *shape).

    Keys:
        originals, reconstructions: the first 8 test rows.
        samples: 32; neighbours: the training row nearest to each of the first 8.
        class_samples: (classes, 6, *shape), the same codes for every class; of a model that is told the class.
    """
    data = judge.data
    test = _test(data).head(ROWS)
    mended = _mended(model, test, seed)
    arrays = {"originals": test.rows(slice(None)), "reconstructions": mended}
    if how_drawn(model) is not None:
        with at_rest(model):
            torch.manual_seed(seed + 2)
            shown = torch.arange(SAMPLES) % len(judge.held)
            told = conditions(model, judge.held, judge.chosen[shown % len(judge.chosen)])
            arrays["samples"] = drawn(model, data, SAMPLES, told)
            arrays["neighbours"] = nearest_rows(arrays["samples"][:ROWS], data.train, unit_of(data.schema))[0]
            arrays |= _by_class(model, judge, seed)
    return {name: x.cpu().float().numpy() for name, x in arrays.items()}


def _mended(model: Model, test: Split, seed: int) -> Tensor:
    if not model.has_posterior:
        return _sought(model, test, seed)
    with at_rest(model):
        return model.reconstruct(*batch_at(model, test, slice(None)))


def _by_class(model: Model, judge: Judge, seed: int) -> dict[str, Tensor]:
    """The same noise for every class, since every class begins with the same seed."""
    rows = []
    for k in range(min(model.condition_dim, 20)):
        told = class_conditions(model, judge.held, torch.full((EACH,), k))
        if told is None:
            return {}
        torch.manual_seed(seed + 3)
        rows.append(drawn(model, judge.data, EACH, told))
    return {"class_samples": torch.stack(rows)} if rows else {}
