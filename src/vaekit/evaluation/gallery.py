"""The pictures of a report as arrays: computed once from model and data, drawn later from the file alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaekit.data import Dataset, Split
from vaekit.distributions.posteriors import BOX
from vaekit.evaluation.codebook import code_shape, usage, vocabulary
from vaekit.evaluation.conditions import condition_arrays
from vaekit.evaluation.latent import active_of, codes
from vaekit.evaluation.layers import chain_of, layer_arrays, settled
from vaekit.evaluation.repeating import nearest_rows, unit_of
from vaekit.evaluation.rows import at_rest, batch_at, batches, check_rows, device_of, told_at
from vaekit.evaluation.walks import walk_arrays
from vaekit.models.base import LatentModel, Model
from vaekit.models.gan import GAN
from vaekit.priors import Learned, UniformBox, VampPrior

Arrays = dict[str, np.ndarray]

_POINTS = 2000
"""Codes kept for the scatter plots."""


@torch.no_grad()
def gallery(model: Model, data: Dataset, *, seed: int = 0) -> Arrays:
    """Arrays for every picture that the model and the data allow; examples are (..., *shape), values as models see them.

    Keys:
        originals, reconstructions, errors: 8 best, 8 median and 8 worst test rows by squared error, in that order.
        samples, neighbours, sample_distances: 64 samples (means), each with its nearest training row and their distance
            per element (root mean square; in a table in units of each column's scale); test_distances: the same distance
            for up to 64 test rows.
        codes, code_labels: up to 2,000 test codes (n, D), their class numbers (absent without labels).
        active: (D,) which latent dimensions are active.
        traversals, traversal_dims, traversal_values: active dimensions (at most 10) by steps, the other dimensions at one
            test code; the values are in standard deviations of the prior, or of the codes where there is no prior.
        interpolations: 6 pairs of test rows by 9 steps.
        usage, vocabulary: (levels, U) share of positions that have each codebook entry, most frequent first and 0 after the
            last that occurs, and the number of entries there are; code_shape: (3,) positions, levels and values of an
            example's codes. All three of a model with quantised codes only; it has no active,
            traversals or plane, which move one number of a code at a time.
        plane, plane_values, plane_by_mass: decoded grid (20, 20, *shape) where there are two latent dimensions, and whether
            its steps are of equal mass under the prior.
        walks: (6, 9, *shape), see `evaluation/walks.py`; of a model that cannot encode, which has samples, classes, walks and
            plane and nothing else.
        class_samples, style_originals, class_styles: see `evaluation/conditions.py`; of a model that is told the class.
        layer_sizes, layer_originals, layer_images: see `evaluation/layers.py`; of a code in layers only, which has no plane.
            In its traversals the layers under the one that moves follow at the prior's means.
    """
    test = check_rows(data.train if data.test is None else data.test)
    with at_rest(model):
        torch.manual_seed(seed)
        if isinstance(model, GAN):
            return _generated(model, data, test)
        z = codes(model, test)
        arrays = {"codes": z[:_POINTS].numpy()}
        if test.labels is not None and bool(test.labelled.any()):
            arrays["code_labels"] = test.labels[:_POINTS].numpy()
        if data.schema.kind == "text":  # its sentences are in `evaluation/texts.py`
            return arrays | {"active": np.isin(np.arange(z.shape[1]), active_of(model, z) if z.shape[1] else [])}
        arrays |= _reconstructions(model, test)
        if model.can_sample:
            arrays |= _samples(model, data, test)
        if model.quantised:
            arrays |= _usage(model, test)
            return arrays | _interpolations(model, test, z)
        arrays |= condition_arrays(model, test)
        arrays |= _traversals(model, test, z)
        arrays |= _interpolations(model, test, z)
        if chain_of(model) is not None:
            return arrays | layer_arrays(model, test)
        if model.latent_dim == 2:
            arrays |= _plane(model, test, z)
    return arrays


def _generated(model: GAN, data: Dataset, test: Split) -> Arrays:
    """What there is to see of a model that cannot encode."""
    arrays = _samples(model, data, test) | condition_arrays(model, test) | walk_arrays(model, test)
    return arrays | (_plane(model, test, model.prior_codes(2)) if model.latent_dim == 2 else {})


def _reconstructions(model: Model, test: Split, each: int = 8) -> Arrays:
    error = torch.cat(
        [(model.reconstruct(x, c) - x).square().flatten(1).mean(1).cpu() for x, c in batches(model, test)]
    )
    order = torch.argsort(error)
    each = min(each, max(1, len(order) // 3))
    middle = (len(order) - each) // 2
    picked = torch.cat([order[:each], order[middle : middle + each], order[-each:]])
    mended = model.reconstruct(*batch_at(model, test, picked))
    return {"originals": test.rows(picked).numpy(), "reconstructions": _array(mended), "errors": error[picked].numpy()}


def _samples(model: Model, data: Dataset, test: Split, n: int = 64) -> Arrays:
    c = batch_at(model, test, torch.arange(n) % len(test)).c  # a conditional model is told what the test rows are
    samples = model.sample(n, c).cpu().float()
    unit = unit_of(data.schema)
    neighbours, distances = nearest_rows(samples, data.train, unit)
    _, floor = nearest_rows(test.rows(slice(0, n)).float(), data.train, unit)
    return {
        "samples": samples.numpy(),
        "neighbours": neighbours.numpy(),
        "sample_distances": distances.numpy(),
        "test_distances": floor.numpy(),
    }


def _traversals(model: Model, test: Split, z: Tensor, steps: int = 9, most: int = 10) -> Arrays:
    """Active dimensions, most variable first: one of them goes from -2.5 to 2.5 while the others stay at one code."""
    active = active_of(model, z)
    marks = {"active": np.isin(np.arange(z.shape[1]), active)}
    dims = active[:most]
    if not dims:
        return marks
    centre, spread, reach = _measure(model, z)
    values = torch.linspace(-reach, reach, steps)
    at = len(z) // 2
    grid, c = z[at].repeat(len(dims), steps, 1), told_at(model, test, slice(at, at + 1))
    for row, d in enumerate(dims):
        grid[row, :, d] = centre[d] + spread[d] * values
    return marks | {
        "traversals": _decoded(model, settled(model, grid, dims), c),
        "traversal_dims": np.array(dims),
        "traversal_values": values.numpy(),
    }


def _measure(model: Model, z: Tensor) -> tuple[Tensor, Tensor, float]:
    """Centre and spread of each dimension, of the prior or where there is none of the codes, and how many spreads to go."""
    if not model.has_likelihood:
        return z.mean(0), z.std(0), 2.5
    prior = getattr(model, "prior", None)
    if isinstance(model, LatentModel) and isinstance(prior, Learned | VampPrior):
        drawn = model.prior_codes(_POINTS).cpu().float()
        return drawn.mean(0), drawn.std(0), 2.5
    # a box ends at 1.73 standard deviations
    return torch.zeros(z.shape[1]), torch.ones(z.shape[1]), 1.7 if isinstance(prior, UniformBox) else 2.5


def _usage(model: Model, test: Split) -> Arrays:
    shares = [counts.sum(0) / counts.sum() for counts in usage(model, test)]
    table = np.zeros((len(shares), max(map(len, shares))))
    for level, share in enumerate(shares):
        table[level, : len(share)] = share
    return {"usage": table, "vocabulary": np.array(vocabulary(model)), "code_shape": np.array(code_shape(model))}


def _interpolations(model: Model, test: Split, z: Tensor, pairs: int = 6, steps: int = 9) -> Arrays:
    """Straight lines between codes of test rows, of different classes where there are labels."""
    first = torch.arange(min(pairs, len(z) // 2))
    second = first + len(z) // 2
    if test.labels is not None:  # rows without a label, -1, are taken for a class of their own
        for i in first.tolist():
            others = torch.nonzero(test.labels != test.labels[i]).flatten()
            second[i] = others[i % len(others)] if len(others) else second[i]
    t = torch.linspace(0, 1, steps)[None, :, None]
    a, b = (told_at(model, test, rows) for rows in (first, second))
    between = None if a is None or b is None else (1 - t.to(a)) * a[:, None] + t.to(a) * b[:, None]
    return {"interpolations": _decoded(model, (1 - t) * z[first][:, None] + t * z[second][:, None], between)}


def _plane(model: Model, test: Split, z: Tensor, side: int = 20) -> Arrays:
    """The decoded plane: a grid at equal masses of a prior whose dimensions are independent, or over the codes' range."""
    prior = getattr(model, "prior", None)
    by_mass = (model.has_likelihood or not model.has_posterior) and not isinstance(prior, Learned | VampPrior)
    if by_mass:
        bounded = isinstance(prior, UniformBox)
        p = torch.distributions.Uniform(-BOX, BOX) if bounded else torch.distributions.Normal(0.0, 1.0)
        axis = p.icdf(torch.linspace(0.01, 0.99, side))
        axes = torch.stack([axis, axis])
    else:
        low, high = z.quantile(0.01, dim=0), z.quantile(0.99, dim=0)
        axes = torch.stack([torch.linspace(float(a), float(b), side) for a, b in zip(low, high, strict=True)])
    # row 0 is the top of the picture, where the second coordinate is largest
    grid = torch.stack(torch.meshgrid(axes[0], axes[1].flip(0), indexing="xy"), -1)
    return {
        "plane": _decoded(model, grid, told_at(model, test, slice(0, 1))),
        "plane_values": axes.numpy(),
        "plane_by_mass": np.array(by_mass),
    }


def _decoded(model: Model, z: Tensor, c: Tensor | None = None) -> np.ndarray:
    return _array(model.decode(_like_weights(model, z), c).mean)


def _like_weights(model: Model, x: Tensor) -> Tensor:
    parameter = next(model.parameters(), None)
    return x if parameter is None else x.to(device_of(model), parameter.dtype)


def _array(x: Tensor) -> Any:
    return x.detach().cpu().float().numpy()
