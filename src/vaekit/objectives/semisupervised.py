"""Training with few labels: the bound of labelled rows, the bound of unlabelled rows, and a classifier's loss.

Kingma, Mohamed, Rezende & Welling, "Semi-supervised learning with deep generative models", NeurIPS 2014 (M2).

    labelled     log p(x, y) >= -L(x, y) = E_q(z|x,y)[log p(x|y,z)] - KL(q(z|x,y), p(z)) + log p(y)
    unlabelled   log p(x)    >= -U(x)    = sum_y q(y|x) (-L(x, y) - log q(y|x)),   over every class y
    objective    J = 1/N [sum_labelled L(x, y) + sum_unlabelled U(x)] + alpha / N_l sum_labelled -log q(y|x)

over N training rows, N_l of them labelled. This is the paper's J^alpha divided by N: its alpha, 0.1 N, is 0.1 here. The
default is 10: in a training of some thousand steps the unlabelled bound otherwise turns the classifier into a clustering
that pays no heed to the few labels (MNIST with 100 of them: 11 % of classes right after one epoch with 0.1, 81 % with 20).

A batch of B rows may hold more labelled rows, B_l, than their share N_l / N of the data. Labelled rows then weigh
(N_l / N) (B / B_l) in the bound and the others (1 - N_l / N) (B / B_u), so that the batch's mean is unbiased for J.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, Protocol, cast

import torch
from torch import Tensor

from vaekit.data import Batch
from vaekit.errors import DataError, UsageError
from vaekit.objectives.draw import Drawing, Terms, check_count
from vaekit.objectives.elbo import elbo
from vaekit.objectives.importance import iwae

BOUNDS: dict[str, Callable[..., Terms]] = {"elbo": elbo, "iwae": iwae}
"""Bounds on log p(x | y) by name."""


class Classifying(Protocol):
    """What a model must have: q(y | x), p(y), and the model of x given y."""

    given_class: Drawing

    def classify(self, x: Tensor) -> Tensor:
        """log q(y | x), (B, C)."""
        ...

    @property
    def log_py(self) -> Tensor:
        """log p(y), (C,)."""
        ...


def semisupervised(
    model: Drawing,
    batch: Batch,
    *,
    alpha: float = 10.0,
    samples: int = 1,
    bound: Literal["elbo", "iwae"] = "elbo",
    labelled_share: float | None = None,
) -> Terms:
    """The loss J of M2: both bounds, and alpha times the classifier's mean cross-entropy on labelled rows.

    Args:
        alpha: nats of the loss for each nat of cross-entropy, averaged over the labelled rows (0.1 in the paper).
        samples: draws of z for each row, and for each class of an unlabelled row.
        bound: on log p(x|y): elbo, or iwae, the importance-weighted one, for `samples` above 1.
        labelled_share: N_l / N, the labelled part of the training rows; None takes the batch's own.

    `batch.c` (B, C) is the class as a one-hot vector, all 0 where it is not known. Rate and distortion are those of the
    bounds; the three carry the weights above, so that their means over the batch are unbiased for the training rows.
    """
    check_count("samples", samples)
    if not 0 <= alpha < math.inf:
        raise UsageError(f"alpha {alpha}: expected a number of at least 0")
    if bound not in BOUNDS:
        raise UsageError(f"bound {bound!r}: expected one of {', '.join(BOUNDS)}")
    if labelled_share == 0:
        raise DataError(
            "semisupervised: no training row has a label; give some rows of every class one, or take model vae"
        )
    able = _classifying(model)
    known = torch.zeros(len(batch.x), dtype=torch.bool) if batch.c is None else (batch.c != 0).any(-1)
    known = known.to(batch.x.device)
    weight = _weights(known, labelled_share).to(batch.x)
    result = batch.x.new_zeros(3, len(batch.x))  # loss, rate, distortion
    if known.any():
        x, y = batch.x[known], cast(Tensor, batch.c)[known]
        parts, entropy = labelled_bound(able, x, y, samples, bound), -(y * able.classify(x)).sum(-1)
        result[:, known] = weight[known] * parts
        result[0, known] = result[0, known] + alpha * len(known) / len(x) * entropy
    if not known.all():
        result[:, ~known] = weight[~known] * unlabelled_bound(able, batch.x[~known], samples, bound)
    return Terms(*result)


def labelled_bound(model: Classifying, x: Tensor, y: Tensor, samples: int = 1, bound: str = "elbo") -> Tensor:
    """L(x, y), its rate and its distortion, (3, B), for one-hot y (B, C). The label is data: -log p(y) is distortion."""
    terms, cost = BOUNDS[bound](model.given_class, Batch(x, y), samples=samples), -(y @ model.log_py)
    return torch.stack([terms.loss + cost, terms.rate, terms.distortion + cost])


def unlabelled_bound(model: Classifying, x: Tensor, samples: int = 1, bound: str = "elbo") -> Tensor:
    """U(x), its rate and its distortion, (3, B): every class is enumerated, KL(q(y|x), p(y)) is rate."""
    log_q, log_p = model.classify(x), model.log_py
    classes = log_q.shape[-1]
    y = torch.eye(classes, device=x.device, dtype=x.dtype).repeat_interleave(len(x), 0)
    terms = BOUNDS[bound](model.given_class, Batch(x.repeat(classes, *[1] * (x.dim() - 1)), y), samples=samples)
    # (3, C, B), averaged over q(y|x)
    each = torch.stack([terms.loss, terms.rate, terms.distortion]).view(3, classes, len(x))
    q = log_q.exp()
    kl = (q * (log_q - log_p)).sum(-1)
    return (q.T * each).sum(1) + torch.stack([kl, kl, torch.zeros_like(kl)])


def _weights(known: Tensor, share: float | None) -> Tensor:
    """(B,) weights that make a batch's mean one over the training rows; their own mean is 1 where both kinds are there."""
    if share is None:
        return torch.ones_like(known, dtype=torch.float64)
    part = known.double().mean()
    return torch.where(known, share / part, (1 - share) / (1 - part))


def _classifying(model: Drawing) -> Classifying:
    if not callable(getattr(model, "classify", None)):
        raise UsageError("semisupervised: needs a model with a classifier q(y|x); take model m2")
    return cast(Classifying, model)
