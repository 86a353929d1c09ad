"""The rate-distortion curve: how many nats a code costs, and what is left to say of an example once it is known.

Alemi, Poole, Fischer, Dillon, Saurous & Murphy, "Fixing a broken ELBO", ICML 2018.

    R = E_x KL(q(z|x), p(z)),   D = -E_x E_q log p(x|z),   -ELBO = R + D
    a model trained with beta R + D lies where dD/dR = -beta

A model is trained anew for each beta, from the same start, and measured on rows it has not seen, always at beta = 1: every
point is on the same scale, and the best bound is the one whose R + D is smallest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import torch

from vaekit.data import Dataset
from vaekit.errors import DataError, UsageError
from vaekit.evaluation.estimate import Estimate
from vaekit.evaluation.likelihood import elbo as evaluate_elbo
from vaekit.evaluation.rows import check_likelihood
from vaekit.models.base import Model
from vaekit.objectives import elbo
from vaekit.objectives.draw import check_count
from vaekit.training import fit


class Point(NamedTuple):
    """A model trained with `beta`: its rate, distortion and ELBO in nats an example."""

    beta: float
    rate: Estimate
    distortion: Estimate
    elbo: Estimate

    def to_json(self) -> dict[str, Any]:
        """A dictionary of JSON values."""
        figures = {name: getattr(self, name).to_json() for name in ("rate", "distortion", "elbo")}
        return {"beta": self.beta, **figures}


def rate_distortion(
    make: Callable[[], Model],
    data: Dataset,
    betas: Iterable[float],
    *,
    samples: int = 10,
    epochs: int = 20,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    seed: int = 0,
    progress: bool = False,
) -> list[Point]:
    """The curve at some weights of the rate, by rising beta.

    Args:
        make: returns a new model; it is called under the same seed for each beta.
        data: training rows, and test rows that the points are measured on.
        betas: two or more positive numbers.
        samples: draws of the measured bound.
        epochs, batch_size, learning_rate, seed, progress: see `fit`; no epoch is chosen by its validation bound, which
            would draw all points towards beta = 1. The learning rate falls to 0 along half a cosine.

    Raises UsageError for betas that make no curve or a model whose rate does not depend on them, DataError without test rows.
    """
    weights = check_betas(betas)
    check_count("samples", samples)
    if data.test is None or len(data.test) == 0:
        raise DataError("rate_distortion: the data have no test rows")
    points = []
    for beta in weights:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = make()
        check_rate(model)
        fit(
            model,
            data,
            partial(elbo, beta=beta),
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_decay="cosine",
            seed=seed,
            progress=progress,
        )
        found = evaluate_elbo(model, data.test, samples=samples, seed=seed)
        points.append(Point(beta, found["kl"], found["distortion"], found["elbo"]))
    return points


def check_betas(betas: Iterable[float]) -> list[float]:
    """The weights in rising order. Raises UsageError unless they are two or more different positive numbers."""
    weights = sorted(float(beta) for beta in betas)
    if len(set(weights)) < 2 or len(set(weights)) < len(weights):
        raise UsageError(f"betas {_listed(weights)}: expected two or more different weights of the rate, as 0.1,1,10")
    if not all(0 < weight < math.inf for weight in weights):
        raise UsageError(f"betas {_listed(weights)}: expected positive numbers")
    if len({f"{weight:g}" for weight in weights}) < len(weights):
        raise UsageError(f"betas {_listed(weights)}: two are the same to six digits; give different weights")
    return weights


def check_rate(model: Model) -> None:
    """Raise UsageError for a model whose rate does not answer to beta."""
    check_likelihood(model, "rate_distortion")
    if model.quantised or not model.latent_dim:
        raise UsageError(
            f"rate_distortion: the rate of a {type(model).__name__} does not answer to beta; take a model with a "
            "continuous code, such as vae"
        )


def _listed(weights: list[float]) -> str:
    return ",".join(f"{w:g}" for w in weights) or "(none)"
