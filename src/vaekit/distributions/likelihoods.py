"""Likelihoods by name: which family suits which data, chosen or refused."""

from __future__ import annotations

from vaekit.data.schema import Schema
from vaekit.distributions.discrete_families import BetaBinomial, Categorical, LogisticMixture
from vaekit.distributions.families import Bernoulli, ContinuousBernoulli, DiscretizedLogistic, Family, Gaussian, Sigma
from vaekit.distributions.real_families import OptimalGaussian, StudentT
from vaekit.errors import UsageError

DISCRETE = ("bernoulli", "discretized-logistic", "logistic-mixture", "beta-binomial", "categorical")
"""Those that are probabilities of values, not densities: only they have bits per dimension."""

LIKELIHOODS = ("bernoulli", "continuous-bernoulli", "gaussian", "student-t", *DISCRETE[1:])

DEFAULT_SIGMA: dict[str, Sigma] = {"gaussian": "shared", "student-t": "shared", "discretized-logistic": "element"}
"""The likelihoods that take a sigma, and which they take when none is given."""


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
    if name in DISCRETE and schema.levels is None:
        raise UsageError(
            f"likelihood {name}: needs evenly spaced levels, these are continuous ({_values(schema)}); take gaussian"
        )
    if name == "logistic-mixture" and schema.kind != "image":
        raise UsageError(
            "likelihood logistic-mixture: needs images, whose channels it couples; take discretized-logistic, "
            "beta-binomial or categorical"
        )
    return name


def _values(schema: Schema) -> str:
    if schema.levels is not None:
        return "the values 0 and 1 only" if schema.levels == 2 else f"{schema.levels} levels"
    return f"values from {schema.low:g} to {schema.high:g}"


def make_likelihood(name: str, schema: Schema, sigma: Sigma | None = None) -> Family:
    """The family called `name` (resolved) for examples of `schema`.

    Args:
        sigma: scale of gaussian and student-t (default "shared") or of discretized-logistic (default "element"): a
            positive number, "shared" or "element", for gaussian also "optimal". Raises UsageError for likelihoods that
            have none.
    """
    if name not in DEFAULT_SIGMA and sigma is not None:
        raise UsageError(f"likelihood {name} has no sigma; leave it out")
    begin = 1.0 if schema.support == "real" else 0.3
    if sigma == "optimal" and name != "gaussian":
        raise UsageError(
            f"likelihood {name}: sigma 'optimal': expected a positive number, 'shared' or 'element'; "
            "only gaussian has an optimum in closed form"
        )
    if sigma == "optimal":
        return OptimalGaussian(schema.shape, schema.shift, schema.scale, begin)
    sigma = DEFAULT_SIGMA.get(name) if sigma is None else sigma
    if sigma is None:
        return _without_sigma(name, schema)
    if name == "discretized-logistic":
        return DiscretizedLogistic(schema.shape, _levels(schema), sigma)
    if name == "student-t":
        return StudentT(schema.shape, "shared", sigma, schema.shift, schema.scale, begin)
    return Gaussian(schema.shape, sigma, schema.shift, schema.scale, begin)


def _without_sigma(name: str, schema: Schema) -> Family:
    if name in ("bernoulli", "continuous-bernoulli"):
        return (Bernoulli if name == "bernoulli" else ContinuousBernoulli)(schema.shape)
    makers = {"logistic-mixture": LogisticMixture, "beta-binomial": BetaBinomial, "categorical": Categorical}
    return makers[name](schema.shape, _levels(schema))


def _levels(schema: Schema) -> int:
    assert schema.levels is not None  # choose_likelihood has refused the others
    return schema.levels
