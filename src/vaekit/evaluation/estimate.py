"""Estimate: a figure with its standard error and with how it was obtained."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Estimate:
    """One reported figure.

    Args:
        value: the figure, averaged over examples.
        standard_error: of `value` as an estimate for new examples of the same kind; None where it has none.
        n: number of examples behind it.
        unit: "nats", "bits/dim", "draws", "dimensions", "accuracy" or "squared error".
        estimator: how it was computed.
        samples: draws of z for each example (K or L), None where none were made.
    """

    value: float
    standard_error: float | None
    n: int
    unit: str
    estimator: str
    samples: int | None = None

    def to_json(self) -> dict[str, Any]:
        """A dictionary of JSON values; what is not finite becomes null."""
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(self).items()}

    def scaled(self, factor: float, unit: str, estimator: str | None = None) -> Estimate:
        """The same figure in another unit."""
        error = None if self.standard_error is None else abs(factor) * self.standard_error
        return Estimate(factor * self.value, error, self.n, unit, estimator or self.estimator, self.samples)

    def __str__(self) -> str:
        error = "" if self.standard_error is None else f" ± {self.standard_error:.2g}"
        return f"{self.value:.4g}{error} {self.unit}"


def mean_of(values: Tensor | np.ndarray, unit: str, estimator: str, samples: int | None = None) -> Estimate:
    """The mean of one value per example, with the standard error s / sqrt(n)."""
    values = torch.as_tensor(values).double()
    n = len(values)
    error = float(values.std(correction=1)) / math.sqrt(n) if n > 1 else None
    return Estimate(float(values.mean()), error, n, unit, estimator, samples)


def share_of(hits: Tensor | np.ndarray, unit: str, estimator: str) -> Estimate:
    """The share of hits (n,), each true or false.

    Its standard error is that of Agresti & Coull (The American Statistician, 1998), with two hits and two misses more than were
    seen: where all were hits, others need not be. One row has none.
    """
    seen = torch.as_tensor(hits).double()
    n, count = len(seen), float(seen.sum())
    share = (count + 2) / (n + 4)
    error = math.sqrt(share * (1 - share) / (n + 4)) if n > 1 else None
    return Estimate(count / n, error, n, unit, estimator)


def median_of(values: Tensor | np.ndarray, unit: str, estimator: str, samples: int | None = None) -> Estimate:
    """The median of one value per example; its standard error is half the distance of the quantiles 1/2 -+ 1/(2 sqrt(n)),
    the order statistics that one binomial standard deviation leads to."""
    values = torch.as_tensor(values).double().numpy()
    n = len(values)
    half = 0.5 / math.sqrt(n)
    low, middle, high = np.quantile(values, [0.5 - half, 0.5, 0.5 + half])
    return Estimate(float(middle), float(high - low) / 2 if n > 1 else None, n, unit, estimator, samples)


def ratio_of(parts: Tensor | np.ndarray, wholes: Tensor | np.ndarray, unit: str, estimator: str) -> Estimate:
    """R = sum of the parts / sum of the wholes, one of each an example.

    Its standard error is that of the mean of part - R whole, divided by the mean whole: the delta method (Cochran, "Sampling
    techniques", 1977, section 2.11). Not finite where the wholes sum to 0.
    """
    part, whole = torch.as_tensor(parts).double(), torch.as_tensor(wholes).double()
    n, total = len(part), float(whole.sum())
    if total == 0:
        return Estimate(math.nan, None, n, unit, estimator)
    ratio = float(part.sum()) / total
    error = float((part - ratio * whole).std(correction=1)) * math.sqrt(n) / total if n > 1 else None
    return Estimate(ratio, error, n, unit, estimator)
