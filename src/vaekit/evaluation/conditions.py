"""Pictures of a model that is told something: classes drawn one by one, one style across all of them, numbers on the move."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vaekit.data import Split
from vaekit.evaluation.rows import batch_at
from vaekit.models.base import Model
from vaekit.models.gan import GAN

_MOST = 20
"""Classes shown."""


_STEPS = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles over the test rows that a condition goes through."""


@torch.no_grad()
def condition_arrays(model: Model, test: Split, n: int = 8) -> dict[str, np.ndarray]:
    """What a report shows of a model that is told something; empty for others.

    Returns:
        class_samples: (classes, n, *shape), samples of each class, at most 20 classes.
        style_originals: (n, *shape), test rows; class_styles: (n, classes, *shape), the code of each of them decoded as every
            class in turn: what stays is the style.
        Where it is told numbers, condition_images (conditions, steps, *shape): one code with one condition after the other
            going through its quantiles over the test rows, at most 20 conditions, and condition_values (conditions, steps).
    """
    if not model.condition_dim:
        return {}
    if test.conditions is not None:
        return _moved(model, test)
    return {} if test.labels is None else _classes(model, test, n)


def _classes(model: Model, test: Split, n: int) -> dict[str, np.ndarray]:
    told = torch.eye(model.condition_dim).to(next(model.parameters()))[:_MOST]
    shown: dict[str, Tensor] = {}
    if isinstance(model, GAN):  # it has no code of a test row: a column is one code drawn from the prior
        shown["class_samples"] = model.decode(model.prior_codes(n).expand(len(told), -1, -1), told[:, None]).mean
    elif model.can_sample:
        shown["class_samples"] = torch.stack([model.sample(n, c.expand(n, -1)) for c in told])
    if model.has_posterior:
        batch = batch_at(model, test, slice(0, n))
        shown["style_originals"] = test.rows(slice(0, n))
        shown["class_styles"] = model.decode(model.encode(*batch)[:, None].expand(-1, len(told), -1), told).mean
    return {name: array.cpu().float().numpy() for name, array in shown.items()}


def _moved(model: Model, test: Split) -> dict[str, np.ndarray]:
    """One code, of the middle test row where rows have codes; the other conditions stay that row's own."""
    assert test.conditions is not None
    at = slice(len(test) // 2, len(test) // 2 + 1)
    batch = batch_at(model, test, at)
    z = model.prior_codes(1, batch.c) if isinstance(model, GAN) else model.encode(*batch)
    given, many = test.conditions.float(), min(_MOST, model.condition_dim)
    values = torch.from_numpy(np.quantile(given[:, :many].numpy(), _STEPS, axis=0).T).float()
    told = given[at].expand(many, len(_STEPS), -1).clone()
    for row in range(many):
        told[row, :, row] = values[row]
    drawn = model.decode(z.expand(many, len(_STEPS), -1), told.to(z)).mean
    return {"condition_images": drawn.cpu().float().numpy(), "condition_values": values.numpy()}
