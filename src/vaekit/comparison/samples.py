"""Samples of any model, and what to say of how they were drawn.

A model that defines a prior draws from it. An autoencoder has none: its codes are described by a Gaussian with the mean
and the covariance of the codes of training rows, and decoded from there. That is the most that can be done for it without
a second stage, and a figure of such samples says what its codes are worth for sampling.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vaekit.data import Dataset, Split
from vaekit.evaluation.rows import batch_at, batches, device_of
from vaekit.models.base import LatentModel, Model

PRIOR, SECOND_STAGE = "codes from the prior", "codes from the second stage fitted after training"
FITTED = "codes from a Gaussian with the mean and covariance of training codes: the model has no prior"

_CHUNK = 256
_CODES = 5_000
"""Training rows whose codes the Gaussian is fitted to."""


def how_drawn(model: Model) -> str | None:
    """How samples of a trained model come about; None where there is no way to have any."""
    if model.can_sample:
        fitted = isinstance(model, LatentModel) and getattr(model, "_is_fitted", False)
        return SECOND_STAGE if fitted else PRIOR
    return FITTED if isinstance(model, LatentModel) else None


def is_told(model: Model) -> bool:
    """Whether the model is told of every row what it is, and its figures are given that; not one that sums the class out."""
    return model.condition_dim > 0 and not model.condition_optional


@torch.no_grad()
def drawn(model: Model, data: Dataset, n: int, c: Tensor | None = None, *, noise: bool = False) -> Tensor:
    """n samples (n, *shape) of a model at rest, told c (n, C) where it takes a condition; float32 on the processor."""
    if model.can_sample:
        parts = [slice(at, min(at + _CHUNK, n)) for at in range(0, n, _CHUNK)]
        made = [model.sample(p.stop - p.start, None if c is None else c[p], noise=noise) for p in parts]
    else:
        z = _gaussian_codes(model, data, n)
        given = [None] * -(-n // _CHUNK) if c is None else list(c.split(_CHUNK))
        laws = [model.decode(part, told) for part, told in zip(z.split(_CHUNK), given, strict=True)]
        made = [p.sample() if noise else p.mean for p in laws]
    return torch.cat(made).cpu().float()


def conditions(model: Model, rows: Split, index: Tensor) -> Tensor | None:
    """What a model is told of these rows, so that samples are asked for in the data's own proportions."""
    return batch_at(model, rows, index).c


def class_conditions(model: Model, rows: Split, numbers: Tensor) -> Tensor | None:
    """One-hot conditions (n, C) for class numbers (n,); None for a model that is told no class."""
    if not model.condition_dim or rows.conditions is not None or rows.labels is None:
        return None
    like = next(model.parameters())
    return torch.eye(model.condition_dim, dtype=like.dtype, device=device_of(model))[numbers]


def _gaussian_codes(model: Model, data: Dataset, n: int) -> Tensor:
    """n draws (n, D) of the Gaussian with the moments of training codes."""
    z = torch.cat([model.encode(x, c) for x, c in batches(model, data.train.fixed().head(_CODES))])
    centred = (z - z.mean(0)).double().cpu()
    # a square root of the covariance that needs no full rank: (V S / sqrt(n)) with centred = U S V'
    _, s, v = torch.linalg.svd(centred, full_matrices=False)
    root = v.T * s / max(len(z) - 1, 1) ** 0.5
    draws = torch.randn(n, root.shape[1], dtype=torch.float64) @ root.T
    return z.mean(0) + draws.to(z)
