"""Disentanglement: how the dimensions of a code and the known factors of the data go together.

mig              gap between the two dimensions that know most of a factor, in units of its entropy   Chen et al., NeurIPS 2018
factorvae_score  accuracy of guessing which factor was held fixed from the dimension that varies least  Kim & Mnih, ICML 2018
dci              disentanglement, completeness and informativeness of a forest that predicts factors   Eastwood & Williams, ICLR 2018
sap              gap between the two dimensions that predict a factor best, alone                      Kumar et al., ICLR 2018

All take codes (n, D) and factors (n, F) of integers, and lie between 0 (no relation; of the FactorVAE score chance, 1 / F) and 1.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import Tensor

from vaekit.data import Split
from vaekit.errors import DataError, UsageError
from vaekit.evaluation.estimate import Estimate
from vaekit.evaluation.figures import Figures, Question
from vaekit.evaluation.latent import codes
from vaekit.models.base import Model

_BINS = 20
"""Even bins of a dimension (of posterior means) for the mutual information, as in Locatello et al., ICML 2019."""

_VOTES, _HELD = 800, 64
"""Draws of the FactorVAE score, and rows of one draw."""

_FIT = 5000
"""Rows a predictor is fitted to."""

_RARE = 10
"""Rows that must differ from a factor's commonest value: with fewer, a random half may hold none of them."""


def mutual_information(z: np.ndarray, factors: np.ndarray, bins: int = _BINS) -> np.ndarray:
    """(D, F) mutual information in nats of each dimension, cut into `bins` even bins, with each factor.

    The bias of so many cells where nothing is known of each other, (r - 1)(c - 1) / 2n (Miller, 1955), is taken off. Where much is
    known it is less, so that few rows make a perfect code look worse: factors of 3, 4, 12, 8 and 8 values have a MIG of 0.99 at 921
    rows and of 0.86 at 100.
    """
    n = len(z)
    low, high = z.min(0), z.max(0)
    width = np.where(high > low, high - low, 1)
    cut = np.minimum((bins * (z - low) / width).astype(int), bins - 1)
    result = np.zeros((z.shape[1], factors.shape[1]))
    for d in range(z.shape[1]):
        for f in range(factors.shape[1]):
            joint = np.zeros((bins, int(factors[:, f].max()) + 1))
            np.add.at(joint, (cut[:, d], factors[:, f]), 1 / n)
            rows, columns = joint.sum(1), joint.sum(0)
            filled = joint > 0
            nats = float((joint[filled] * np.log(joint[filled] / np.outer(rows, columns)[filled])).sum())
            bias = ((rows > 0).sum() - 1) * ((columns > 0).sum() - 1) / (2 * n)
            result[d, f] = max(0.0, nats - bias)
    return result


def entropies(factors: np.ndarray) -> np.ndarray:
    """(F,) entropy of each factor in nats."""
    shares = [np.bincount(column) / len(factors) for column in factors.T]
    return np.array([-float((p[p > 0] * np.log(p[p > 0])).sum()) for p in shares])


def mig(z: np.ndarray, factors: np.ndarray) -> float:
    """Mutual information gap: 1 where each factor is known by one dimension alone and wholly."""
    known = np.sort(mutual_information(z, factors), axis=0)[::-1]
    second = known[1] if len(known) > 1 else 0.0
    return float(((known[0] - second) / entropies(factors)).mean())


def factorvae_score(z: np.ndarray, factors: np.ndarray, *, seed: int = 0) -> float:
    """Majority vote: rows that share one factor's value; the dimension of least normalised variance; which factor was it?

    Half of the draws make the votes, the other half are judged. Dimensions that do not vary, but for rounding, take no part.
    """
    rng = np.random.default_rng(seed)
    spread = z.std(0)
    used = np.flatnonzero(spread > 1e-6 * np.abs(z).max(0))
    if not len(used):
        return 0.0
    scaled = z[:, used] / spread[used]
    picks = np.empty((_VOTES, 2), int)
    for at in range(_VOTES):
        f = rng.integers(factors.shape[1])
        rows = np.flatnonzero(factors[:, f] == rng.choice(factors[:, f]))
        held = rng.choice(rows, min(_HELD, len(rows)), replace=False)
        picks[at] = scaled[held].var(0).argmin(), f
    votes = np.zeros((len(used), factors.shape[1]))
    np.add.at(votes, tuple(picks[: _VOTES // 2].T), 1)
    judged = picks[_VOTES // 2 :]
    return float((votes.argmax(1)[judged[:, 0]] == judged[:, 1]).mean())


def dci(z: np.ndarray, factors: np.ndarray, *, seed: int = 0) -> dict[str, float]:
    """Disentanglement, completeness and informativeness, from the importances of random forests, one a factor.

    Disentanglement: does a dimension serve one factor (1 - entropy of its importances over factors, weighted by how much
    it is used)? Completeness: is a factor served by one dimension? Informativeness: accuracy on rows held out, 0 at
    that of the commonest value.
    """
    from sklearn.ensemble import RandomForestClassifier

    rows = np.random.default_rng(seed).permutation(len(z))[: 2 * _FIT]
    fit, held = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    importance, informed = np.zeros((z.shape[1], factors.shape[1])), []
    for f in range(factors.shape[1]):
        forest = RandomForestClassifier(50, min_samples_leaf=2, max_features=None, random_state=seed).fit(
            z[fit], factors[fit, f]
        )
        importance[:, f] = forest.feature_importances_
        chance = np.bincount(factors[fit, f]).max() / len(fit)
        right = forest.score(z[held], factors[held, f])  # of rows that have but one value there is nothing to know
        informed.append(0.0 if chance == 1 else max(0.0, (right - chance) / (1 - chance)))
    total = importance.sum()
    by_dim = _concentration(importance) @ importance.sum(1) / total if total > 0 else 0.0
    by_factor = _concentration(importance.T) @ importance.sum(0) / total if total > 0 else 0.0
    return {
        "disentanglement": float(by_dim),
        "completeness": float(by_factor),
        "informativeness": float(np.mean(informed)),
    }


def _concentration(importance: np.ndarray) -> np.ndarray:
    """1 - entropy of each row, in units of the largest entropy; 1: all in one column."""
    shares = importance / np.maximum(importance.sum(1, keepdims=True), 1e-12)
    entropy = -(shares * np.log(np.maximum(shares, 1e-12))).sum(1)
    return 1 - entropy / math.log(importance.shape[1]) if importance.shape[1] > 1 else np.ones(len(importance))


def sap(z: np.ndarray, factors: np.ndarray) -> float:
    """Separated attribute predictability: the gap between the two best R^2 of a factor's value given one dimension.

    The R^2 of the best prediction of the dimension from the factor (the correlation ratio): it asks for no order among a
    factor's values, where the paper fits a regression to ordered factors and a classifier to others.
    """
    spread = z.var(0)
    gaps = []
    for column in factors.T:
        count = np.bincount(column)
        means = np.stack([np.bincount(column, weights=d, minlength=len(count)) for d in z.T]) / np.maximum(count, 1)
        between = ((means - z.mean(0)[:, None]) ** 2 * count).sum(1) / len(z)
        share = np.sort(np.where(spread > 0, between / np.where(spread > 0, spread, 1), 0))[::-1]
        gaps.append(share[0] - (share[1] if len(share) > 1 else 0.0))
    return float(np.mean(gaps))


def disentanglement(model: Model, rows: Any, factors: Tensor | None = None, *, seed: int = 0) -> dict[str, Estimate]:
    """MIG, FactorVAE score, DCI and SAP of a model's codes (posterior means).

    Args:
        rows: a Split with factors, as `load("shapes")` has, or examples beside `factors`.
        factors: (n, F) integers.

    Returns:
        "mig", "factorvae_score", "disentanglement", "completeness", "informativeness", "sap", each an Estimate whose standard
        error is the spread over five random halves of the rows: a half of n rows, drawn without putting back, is off the
        whole by as much as n rows are off the truth, (2 s^2 / n) (1 - 1/2) = s^2 / n.

    Raises:
        UsageError: the factors of the rows are not known.
        DataError: the factors are no (n, F) whole numbers from 0, or one of them is the same in all but a few rows.
    """
    known = factors if factors is not None else rows.factors if isinstance(rows, Split) else None
    if known is None:
        raise UsageError(
            "disentanglement: needs rows whose factors are known; load('shapes') has them, or give factors"
        )
    z, numbers = codes(model, rows).double().numpy(), np.asarray(known)
    if numbers.shape[:1] != z.shape[:1] or numbers.ndim != 2:
        raise DataError(f"disentanglement: factors {numbers.shape} for {len(z)} codes; expected one row for each")
    _check_factors(numbers)
    whole, rng = _scores(z, numbers, seed), np.random.default_rng(seed)
    parts = [
        _scores(z[half], numbers[half], seed) for half in (rng.permutation(len(z))[: len(z) // 2] for _ in range(5))
    ]
    spread = {name: float(np.std([p[name] for p in parts], ddof=1)) for name in whole}
    how = "of posterior means, s.e. from five random halves"
    return {
        name: Estimate(value, spread[name], len(z), "score", f"{name.replace('_', ' ')} {how}")
        for name, value in whole.items()
    }


def _check_factors(factors: np.ndarray) -> None:
    if not np.issubdtype(factors.dtype, np.integer) or factors.min() < 0:
        raise DataError("disentanglement: factors are numbers of values, whole and from 0; count each factor's values")
    rare = _rare(factors)
    if rare:
        at, others = rare[0]
        raise DataError(
            f"disentanglement: factor {at} is the same in all but {others} of {len(factors):,} rows, too few to judge a code "
            f"by; leave it out or take more rows (at least {_RARE} that differ)"
        )


def _rare(factors: np.ndarray) -> list[tuple[int, int]]:
    """Factors with one value almost everywhere, and how many rows have another."""
    others = [len(column) - int(np.bincount(column).max()) for column in factors.T]
    return [(at, n) for at, n in enumerate(others) if n < _RARE]


def factors_of_variation(asked: Question) -> Figures:
    """The scores of `disentanglement`, where the factors of the rows are known and vary among them."""
    factors = asked.rows.factors
    if factors is None or not asked.model.has_posterior or not asked.model.latent_dim or _rare(factors.numpy()):
        return {}
    return dict(disentanglement(asked.model, asked.rows, seed=asked.seed))


def _scores(z: np.ndarray, factors: np.ndarray, seed: int) -> dict[str, float]:
    return {
        "mig": mig(z, factors),
        "factorvae_score": factorvae_score(z, factors, seed=seed),
        **dci(z, factors, seed=seed),
        "sap": sap(z, factors),
    }
