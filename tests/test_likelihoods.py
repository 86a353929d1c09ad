"""Likelihoods by name: what is chosen for which data, and what is refused in words that help."""

import pytest
import torch

from vaekit.data import Schema
from vaekit.distributions import LIKELIHOODS, discrete_families, families, real_families
from vaekit.distributions.likelihoods import choose_likelihood, make_likelihood
from vaekit.errors import UsageError

SHAPE = (1, 2, 3)
BINARY, GRAY = Schema("image", SHAPE, levels=2), Schema("image", SHAPE, levels=17)
COUNTS = Schema("vector", (4,), levels=5)
UNIT, REAL = Schema("image", SHAPE), Schema("image", SHAPE, None, -3.0, 9.0, shift=2.0, scale=1.5)
CLASSES = {
    "bernoulli": families.Bernoulli,
    "continuous-bernoulli": families.ContinuousBernoulli,
    "gaussian": families.Gaussian,
    "discretized-logistic": families.DiscretizedLogistic,
    "student-t": real_families.StudentT,
    "logistic-mixture": discrete_families.LogisticMixture,
    "beta-binomial": discrete_families.BetaBinomial,
    "categorical": discrete_families.Categorical,
}


@pytest.mark.parametrize(
    ("schema", "chosen"),
    [(BINARY, "bernoulli"), (GRAY, "discretized-logistic"), (UNIT, "gaussian"), (REAL, "gaussian")],
)
def test_auto_takes_the_likelihood_of_the_support(schema, chosen):
    assert choose_likelihood("auto", schema) == chosen


ALLOWED = {
    "bernoulli": [BINARY],
    "continuous-bernoulli": [GRAY, UNIT],
    "discretized-logistic": [BINARY, GRAY],
    "gaussian": [BINARY, GRAY, UNIT, REAL],
    "student-t": [BINARY, GRAY, UNIT, REAL],
    "logistic-mixture": [BINARY, GRAY],
    "beta-binomial": [BINARY, GRAY],
    "categorical": [BINARY, GRAY],
}


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_what_suits_is_made_and_the_rest_refused_by_name_with_a_remedy(name):
    for schema in (BINARY, GRAY, UNIT, REAL):
        if schema in ALLOWED[name]:
            family = make_likelihood(choose_likelihood(name, schema), schema)
            assert type(family) is CLASSES[name]
            assert family.event_shape == SHAPE
            assert family(torch.zeros(5, *family.raw_shape)).event_shape == SHAPE
        else:
            with pytest.raises(UsageError, match=rf"likelihood {name}: needs .*; (take|binarise)"):
                choose_likelihood(name, schema)


@pytest.mark.parametrize(
    ("name", "schema", "said"),
    [
        ("bernoulli", GRAY, "17 levels"),
        ("bernoulli", REAL, "values from -3 to 9"),
        ("continuous-bernoulli", BINARY, "take bernoulli"),
        ("continuous-bernoulli", REAL, "take gaussian"),
        ("discretized-logistic", UNIT, "take gaussian"),
        ("logistic-mixture", REAL, "take gaussian"),
        ("beta-binomial", UNIT, "likelihood beta-binomial: needs evenly spaced levels"),
        ("categorical", REAL, "likelihood categorical: needs evenly spaced levels"),
        ("logistic-mixture", COUNTS, "needs images, .*; take discretized-logistic"),
        ("poisson", GRAY, "expected auto, bernoulli"),
    ],
)
def test_a_refusal_says_what_the_data_are(name, schema, said):
    with pytest.raises(UsageError, match=said):
        choose_likelihood(name, schema)


WITHOUT_SIGMA = ("bernoulli", "continuous-bernoulli", "logistic-mixture", "beta-binomial", "categorical")


@pytest.mark.parametrize("name", WITHOUT_SIGMA)
def test_a_likelihood_without_sigma_refuses_one(name):
    with pytest.raises(UsageError, match=f"likelihood {name} has no sigma; leave it out"):
        make_likelihood(name, BINARY, 0.1)


@pytest.mark.parametrize("sigma", [0, 0.0, -1.0, float("inf"), float("nan"), "each"])
@pytest.mark.parametrize("name", sorted({*LIKELIHOODS} - {*WITHOUT_SIGMA}))
def test_a_sigma_that_cannot_be_is_refused(name, sigma):
    with pytest.raises(UsageError, match="expected a positive number, 'shared' or 'element'"):
        make_likelihood(name, GRAY, sigma)


@pytest.mark.parametrize("name", ["student-t", "discretized-logistic"])
def test_only_the_gaussian_has_an_optimal_sigma(name):
    with pytest.raises(UsageError, match="sigma 'optimal': expected a positive number, 'shared' or 'element'"):
        make_likelihood(name, GRAY, "optimal")


@pytest.mark.parametrize(
    ("name", "sigma", "parameters", "learned"),
    [
        ("gaussian", None, 1, 1),
        ("gaussian", 0.2, 1, 0),
        ("gaussian", "element", 2, 0),
        ("gaussian", "optimal", 1, 0),
        ("student-t", None, 1, 2),
        ("student-t", 0.2, 1, 1),
        ("student-t", "element", 2, 1),
        ("discretized-logistic", None, 2, 0),
        ("discretized-logistic", 1, 1, 0),
        ("discretized-logistic", "shared", 1, 1),
    ],
)
def test_sigma_is_fixed_shared_or_an_output(name, sigma, parameters, learned):
    family = make_likelihood(name, GRAY, sigma)
    assert family.raw_shape == (parameters, *SHAPE)
    assert len(list(family.parameters())) == learned


@pytest.mark.parametrize("sigma", ["shared", "optimal"])
def test_a_gaussian_of_real_data_works_in_their_units(sigma):
    family = make_likelihood("gaussian", REAL, sigma).eval()
    p = family(torch.ones(1, *SHAPE))
    torch.testing.assert_close(p.mean, torch.full(SHAPE, 3.5))
    torch.testing.assert_close(p.stddev, torch.full(SHAPE, 1.5), rtol=2e-3, atol=0)
