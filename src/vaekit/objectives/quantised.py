"""Objectives of models with quantised codes.

vq            -log p(x|z) + |sg[h] - e|^2 + w |h - sg[e]|^2       van den Oord et al., NeurIPS 2017, equation 3
code_length   -log p(k(x)): what fits a prior over codes after training, and moves nothing else
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.distributions import Distribution

from vaekit.data import Batch
from vaekit.distributions.point_code import PointCode
from vaekit.errors import UsageError
from vaekit.objectives.draw import Draw, Terms


class Quantising(Protocol):
    """A model whose posterior is a `PointCode`."""

    def posterior(self, x: Tensor, c: Tensor | None = None) -> Distribution: ...

    def draw(self, x: Tensor, c: Tensor | None = None, samples: int = 1, q: Distribution | None = None) -> Draw: ...


def vq(model: Quantising, batch: Batch, *, commitment: float = 0.25) -> Terms:
    """The loss of a VQ-VAE for each example, summed over positions, levels and dimensions: no mean over the batch.

    Args:
        commitment: weight of the squared distance that binds the encoder to the codebook.

    Returns:
        Terms: loss = distortion + codebook term + commitment * commitment term, the codebook term 0 where a moving average
        (or rounding) stands in for it; rate -log p(codes) in nats, which no gradient reaches and the loss leaves out;
        distortion -log p(x|z). Raises UsageError for a model whose codes are not quantised.
    """
    if not 0 <= commitment < math.inf:
        raise UsageError(f"commitment {commitment}: expected a number of at least 0")
    q = _posterior(model, batch)
    draw = model.draw(batch.x, batch.c, 1, q)
    with torch.no_grad():
        rate = draw.kl
    assert rate is not None
    distortion = -draw.log_px.mean(0)
    return Terms(distortion + q.found.codebook + commitment * q.found.commitment, rate, distortion)


def code_length(model: Quantising, batch: Batch) -> Terms:
    """-log p(codes) in nats: the loss of a prior over codes. The codes are given, and no state of the model moves.

    Returns:
        Terms: loss = rate; distortion is -log p(x|z), for the record.
    """
    with torch.no_grad():
        q = _posterior(model, batch)
        distortion = -model.draw(batch.x, batch.c, 1, q).log_px.mean(0)
    rate = model.draw(batch.x, batch.c, 1, q).kl
    assert rate is not None
    return Terms(rate, rate, distortion)


def _posterior(model: Quantising, batch: Batch) -> PointCode:
    q = model.posterior(batch.x, batch.c)
    if not isinstance(q, PointCode):
        raise UsageError(f"{type(model).__name__}: its codes are not quantised; train it with elbo")
    return q
