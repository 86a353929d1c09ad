"""What the doctor checks of the course of a training; the table of findings is in `doctor.py`."""

from __future__ import annotations

import math

import numpy as np

from vaekit.evaluation.findings import FEW, Case, Finding, standard_error


def warm_up(case: Case) -> Finding | None:
    """A training that ended before the weight of its KL had arrived."""
    planned, asked = case.config.get("warm_up") or 0, case.config.get("beta", 1.0)
    epochs = len(case.history) or case.config.get("epochs") or math.inf
    reached = case.column("beta")
    arrived = not len(reached) or not math.isfinite(reached[-1]) or reached[-1] >= 0.95 * asked
    if planned <= epochs and (arrived or case.config.get("cycles")):
        return None
    numbers: dict[str, float] = {"warm_up": float(planned), "epochs": float(epochs)} | (
        {} if arrived else {"beta": float(reached[-1])}
    )
    at = "" if arrived else f", with beta at {reached[-1]:.2g} of {asked:g}"
    return Finding(
        "warm_up",
        numbers,
        f"the training ended after {epochs} epochs, within the warm-up{f' of {planned}' if planned else ''}{at}",
        "the warm-up is longer than the run, or early stopping came before its end",
        "shorten warm_up, train for more epochs, or raise the patience",
    )


_NEUTRAL: dict[str, dict[str, float | None]] = {
    "elbo": {"beta": 1.0, "capacity": None, "free_bits": 0.0},
    "mmd": {"beta": 1.0, "weight": 0.0},
    "beta_tc": {"information": 1.0, "beta": 1.0, "dimensions": 1.0},
    "factor": {"gamma": 0.0},
}
"""Keywords of each objective at which its loss is minus the ELBO."""


def effective_beta(case: Case) -> Finding | None:
    """A loss that weighs the parts of the bound otherwise than the bound does."""
    if not case.model.has_likelihood or case.model.quantised:
        return None
    objective = case.config.get("objective", "elbo")
    neutral = _NEUTRAL.get(objective, {})
    asked = {k: case.config[k] for k, v in neutral.items() if k in case.config and case.config[k] != v}
    if objective == "reconstruction":
        asked = {"beta": 0.0}
    if not asked:
        return None
    said = ", ".join(f"{key} {value:g}" for key, value in asked.items())
    return Finding(
        "effective_beta",
        {key: float(value) for key, value in asked.items()},
        f"the loss was not minus the ELBO: objective {objective} with {said}",
        "the weights that were asked for; every figure reported here is at beta 1 all the same",
        "train with beta 1 and no free bits or capacity if log p(x) is what you want",
    )


def overfitting(case: Case) -> Finding | None:
    """A bound that is much better on the rows that were trained on."""
    curve = case.validation_curve
    if case.validation is None or not np.isfinite(curve).any():
        return None
    if len(case.validation) < FEW:
        return None  # the standard error of so few rows is itself too uncertain to be multiplied by 3
    train, held = case.train_scores, case.validation_scores
    gap, noise = float(train.mean() - held.mean()), math.hypot(standard_error(train), standard_error(held))
    gained = max(0.0, float(held.mean()) - float(curve[np.isfinite(curve)][0]))
    if not (gap > 3 * noise and gap > 0.25 * gained):
        return None
    return Finding(
        "overfitting",
        {"gap": gap, "standard_error": noise, "gained": gained},
        f"training rows score {gap:.3g} ± {noise:.2g} nats better than validation rows, of {gained:.3g} gained in training",
        "the network knows its training rows by heart",
        "stop early (patience), take fewer or narrower layers, or more data",
    )


def underfitting(case: Case) -> Finding | None:
    """A validation bound that was still on its way when the training ended."""
    curve = case.validation_curve
    last = curve[-max(4, len(curve) // 4) :]
    if case.validation is None or len(last) < 4 or not np.isfinite(last).all():
        return None
    epochs = np.arange(len(last)) - (len(last) - 1) / 2
    slope = float(epochs @ last / (epochs @ epochs))
    residual = last - last.mean() - slope * epochs
    noise = math.sqrt(float(residual @ residual) / (len(last) - 2) / float(epochs @ epochs))
    more, error = slope * len(last), standard_error(case.validation_scores)
    if not (slope > 3 * noise and more > error):
        return None
    return Finding(
        "underfitting",
        {"slope": slope, "slope_error": noise, "ahead": more, "standard_error": error},
        f"the validation bound still rose by {slope:.2g} ± {noise:.1g} nats an epoch: {len(last)} more epochs at that pace "
        f"are {more:.2g} nats, against a standard error of {error:.2g}",
        "the training was too short, or the learning rate too low",
        "train for more epochs",
    )
