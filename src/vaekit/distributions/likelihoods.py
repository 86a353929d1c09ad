"""Likelihoods by name: which family suits which data, chosen or refused."""

from __future__ import annotations

from vaekit.data.schema import Schema
from vaekit.distributions.families import Bernoulli, ContinuousBernoulli, DiscretizedLogistic, Family, Gaussian, Sigma
from vaekit.errors import UsageError

LIKELIHOODS = ("bernoulli", "continuous-bernoulli", "gaussian", "discretized-logistic")

DISCRETE = ("bernoulli", "discretized-logistic")
"""Those that are probabilities of values, not densities: only they have bits per dimension."""


def choose_likelihood(name: str, schema: Schema) -> str:
    """Resolve "auto", or raise UsageError where `name` cannot be right for these data."""
    if name == "auto":
        return {"binary": "bernoulli", "discrete": "discretized-logistic"}.get(schema.support, "gaussian")
    if name not in LIKELIHOODS:
        raise UsageError(f"likelihood {name!r}: expected auto, {', '.join(LIKELIHOODS)}")
    if name == "bernoulli" and schema.support != "binary":
        raise UsageError(
            f"likelihood bernoulli: needs values in {{0, 1}}, these have {_values(schema)}; binarise them "
            "(binarize dynamic or static) or take discretized-logistic, continuous-bernoulli or gaussian"
        )
    if name == "continuous-bernoulli" and schema.support in ("binary", "real"):
        other = "bernoulli" if schema.support == "binary" else "gaussian"
        raise UsageError(
            f"likelihood continuous-bernoulli: needs shades between 0 and 1, these have {_values(schema)}; take {other}"
        )
    if name == "discretized-logistic" and schema.levels is None:
        raise UsageError(
            f"likelihood discretized-logistic: needs evenly spaced levels, these are continuous ({_values(schema)}); take gaussian"
        )
    return name


def _values(schema: Schema) -> str:
    if schema.levels is not None:
        return "the values 0 and 1 only" if schema.levels == 2 else f"{schema.levels} levels"
    return f"values from {schema.low:g} to {schema.high:g}"


def make_likelihood(name: str, schema: Schema, sigma: Sigma | None = None) -> Family:
    """The family called `name` (resolved) for examples of `schema`.

    Args:
        sigma: scale of the Gaussian (default "shared") or of the discretised logistic (default "element"): a positive
            number, "shared" or "element". Raises UsageError for likelihoods that have none.
    """
    if name in ("bernoulli", "continuous-bernoulli"):
        if sigma is not None:
            raise UsageError(f"likelihood {name} has no sigma; leave it out")
        return (Bernoulli if name == "bernoulli" else ContinuousBernoulli)(schema.shape)
    if name == "discretized-logistic":
        assert schema.levels is not None
        return DiscretizedLogistic(schema.shape, schema.levels, "element" if sigma is None else sigma)
    begin = 1.0 if schema.support == "real" else 0.3
    return Gaussian(schema.shape, "shared" if sigma is None else sigma, schema.shift, schema.scale, begin)
