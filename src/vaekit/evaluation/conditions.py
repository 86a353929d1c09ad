"""Pictures of a model that is told a class: the classes drawn one by one, and one style across all of them."""

from __future__ import annotations

import numpy as np
import torch

from vaekit.data import Split
from vaekit.evaluation.rows import batch_at, device_of
from vaekit.models.base import Model
from vaekit.models.gan import GAN

_MOST = 20
"""Classes shown."""


@torch.no_grad()
def condition_arrays(model: Model, test: Split, n: int = 8) -> dict[str, np.ndarray]:
    """What a report shows of a model that is told the class; empty for others.

    Returns:
        class_samples: (classes, n, *shape), samples of each class, at most 20 classes.
        style_originals: (n, *shape), test rows; class_styles: (n, classes, *shape), the code of each of them decoded as every
            class in turn: what stays is the style.
    """
    if not model.condition_dim or test.conditions is not None or test.labels is None:
        return {}
    like = next(model.parameters())
    told = torch.eye(model.condition_dim, device=device_of(model), dtype=like.dtype)[:_MOST]
    if isinstance(model, GAN):  # it has no code of a test row: a column is one code drawn from the prior
        made = model.decode(model.prior_codes(n).expand(len(told), -1, -1), told[:, None]).mean
        return {"class_samples": made.cpu().float().numpy()}
    drawn = torch.stack([model.sample(n, c.expand(n, -1)) for c in told])
    batch = batch_at(model, test, slice(0, n))
    styles = model.decode(model.encode(*batch)[:, None].expand(-1, len(told), -1), told).mean
    shown = {"class_samples": drawn, "style_originals": test.rows(slice(0, n)), "class_styles": styles}
    return {name: array.cpu().float().numpy() for name, array in shown.items()}
