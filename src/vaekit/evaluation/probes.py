"""What a simple classifier reads off the codes, beside what the same classifier reads off the examples themselves."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from torch import Tensor

from vaekit.data import Dataset, Split
from vaekit.evaluation.estimate import Estimate, share_of
from vaekit.evaluation.latent import codes
from vaekit.models.base import Model

_FIT_ROWS = 5000
"""Training rows a probe is fitted to; more change its accuracy less than its standard error."""


def probes(model: Model, data: Dataset) -> dict[str, Estimate]:
    """Accuracy on the labelled test rows of a linear and a 5-nearest-neighbour classifier, of codes and of raw values.

    Returns:
        "linear_probe", "knn_probe", "linear_probe_raw", "knn_probe_raw"; empty without labels or test rows, or where
        the training rows show fewer than two classes.
    """
    return code_probes(model, data) | raw_probes(data)


def code_probes(model: Model, data: Dataset) -> dict[str, Estimate]:
    """ "linear_probe" and "knn_probe" of `probes`, those of codes."""
    return _probed(data, lambda split: codes(model, split), "", "codes")


def raw_probes(data: Dataset) -> dict[str, Estimate]:
    """ "linear_probe_raw" and "knn_probe_raw" of `probes`, which say the same beside every model."""
    return _probed(data, _flat, "_raw", "raw values")


def _probed(data: Dataset, features: Callable[[Split], Tensor], suffix: str, of: str) -> dict[str, Estimate]:
    if data.test is None or data.train.labels is None or data.test.labels is None:
        return {}
    train, test = data.train.take(data.train.labelled).fixed().head(_FIT_ROWS), data.test.take(data.test.labelled)
    if len(test) == 0 or train.labels is None or test.labels is None or len(train.labels.unique()) < 2:
        return {}
    seen, unseen, result = features(train).numpy(), features(test).numpy(), {}
    for name in ("linear_probe", "knn_probe"):
        hits = _hits(name, seen, train.labels.numpy(), unseen, test.labels.numpy())
        result[name + suffix] = _accuracy(hits, name, len(train), of, known=data.test.name == "train")
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


def _accuracy(hits: np.ndarray, name: str, fitted: int, of: str, known: bool) -> Estimate:
    kind = "logistic regression" if name == "linear_probe" else "5 nearest neighbours"
    how = f"{kind} on {of}, fitted to {fitted} training rows{', asked of training rows' if known else ''}"
    return share_of(hits, "accuracy", how)
