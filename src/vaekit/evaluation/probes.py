"""What a simple classifier reads off the codes, beside what the same classifier reads off the examples themselves."""

from __future__ import annotations

import math
import warnings

import numpy as np
from torch import Tensor

from vaekit.data import Dataset, Split
from vaekit.evaluation.estimate import Estimate
from vaekit.evaluation.latent import codes
from vaekit.models.base import Model

_FIT_ROWS = 5000
"""Training rows a probe is fitted to; more change its accuracy less than its standard error."""


def probes(model: Model, data: Dataset) -> dict[str, Estimate]:
    """Accuracy on the test rows of a linear and a 5-nearest-neighbour classifier, of codes and of raw values.

    Returns:
        "linear_probe", "knn_probe", "linear_probe_raw", "knn_probe_raw"; empty without labels or test rows, or where
        the training rows show fewer than two classes.
    """
    train, test = data.train.fixed().head(_FIT_ROWS), data.test
    if test is None or train.labels is None or test.labels is None or len(train.labels.unique()) < 2:
        return {}
    features = {"": (codes(model, train), codes(model, test)), "_raw": (_flat(train), _flat(test))}
    result = {}
    for suffix, (seen, unseen) in features.items():
        for name in ("linear_probe", "knn_probe"):
            hits = _hits(name, seen.numpy(), train.labels.numpy(), unseen.numpy(), test.labels.numpy())
            result[name + suffix] = _accuracy(hits, name, len(train), "codes" if not suffix else "raw values")
    return result


def _flat(split: Split) -> Tensor:
    return split.rows(slice(None)).flatten(1)


def _hits(name: str, seen: np.ndarray, labels: np.ndarray, unseen: np.ndarray, truth: np.ndarray) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    linear = name == "linear_probe"
    probe = (
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=200, tol=1e-3))
        if linear
        else KNeighborsClassifier(min(5, len(seen)))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a probe that has not fully converged is still the same probe for both
        return np.asarray(probe.fit(seen, labels).predict(unseen) == truth)


def _accuracy(hits: np.ndarray, name: str, fitted: int, of: str) -> Estimate:
    value, n = float(hits.mean()), len(hits)
    kind = "logistic regression" if name == "linear_probe" else "5 nearest neighbours"
    how = f"{kind} on {of}, fitted to {fitted} training rows"
    return Estimate(value, math.sqrt(value * (1 - value) / n), n, "accuracy", how)
