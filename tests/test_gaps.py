"""Approximation and amortisation gap: linear Gaussian models, where both are known, and a nonlinear one by quadrature."""

import math

import numpy as np
import pytest
import torch
from scipy import optimize, stats
from torch.distributions import Independent, Normal

import vaekit as vk
from vaekit.conditional import Conditional, Parametric
from vaekit.data import Batch
from vaekit.distributions.families import Bernoulli, Gaussian
from vaekit.errors import UsageError
from vaekit.evaluation import elbo, gaps
from vaekit.evaluation.gaps import best_gaussian
from vaekit.models import LatentModel
from vaekit.networks import MLP
from vaekit.priors import StandardNormal

NAMES = ("approximation_gap", "amortisation_gap", "inference_gap")
VARIANCE, SIZE = 0.3, 5
RNG = np.random.default_rng(8)
ORTHOGONAL = np.linalg.qr(RNG.normal(size=(SIZE, 2)))[0] * [1.4, 0.7]
SKEW = RNG.normal(size=(SIZE, 2)) * [1.4, 0.7] + RNG.normal(size=(SIZE, 1))
X = torch.from_numpy(RNG.normal(size=(8, SIZE)))


class Affine(Conditional):
    """q(z | x) = N(slope x + shift, diag(scale^2))."""

    def __init__(self, slope, shift, scale):
        super().__init__()
        self.slope, self.shift, self.scale = (torch.nn.Parameter(torch.as_tensor(t)) for t in (slope, shift, scale))

    def forward(self, *given):
        loc = given[0] @ self.slope.T + self.shift
        return Independent(Normal(loc, self.scale.expand_as(loc)), 1)


def linear(w, shift=0.0, widen=1.0):
    """p(x | z) = N(W z, s2 I) with its best diagonal posterior, off by `shift` and `widen` standard deviations of it.

    p(z | x) = N(P^-1 W'x / s2, P^-1), P = I + W'W / s2; the best diagonal one has that mean and variances 1 / P_dd.
    """
    precision = np.eye(2) + w.T @ w / VARIANCE
    scale = 1 / np.sqrt(np.diag(precision))
    decoder = MLP((2,), (1, SIZE), ()).double()
    with torch.no_grad():
        decoder.out.weight.copy_(torch.from_numpy(w))
        decoder.out.bias.zero_()
    encoder = Affine(np.linalg.solve(precision, w.T) / VARIANCE, shift * scale, widen * scale)
    likelihood = Parametric(decoder, Gaussian((SIZE,), sigma=math.sqrt(VARIANCE)))
    return LatentModel(encoder, likelihood, StandardNormal(2), 2).double(), precision


def mean_field_gap(precision):
    """KL(q*, p(z | x)) = 1/2 (sum_d log P_dd - log det P)."""
    return 0.5 * (np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1])


OFF = 0.5 * (0.6**2 + 1.5**2 - 1) - math.log(1.5)
"""KL, in each dimension, of a Gaussian that is off by 0.6 standard deviations and 1.5 times too wide."""


def values(found):
    return [found[name].value for name in NAMES]


def test_the_exact_posterior_has_no_gap():
    model, _ = linear(ORTHOGONAL)
    # Adam, which knows no scale, leaves its goal by the smallest gradient and must come back to it
    assert values(gaps(model, X, samples=50)) == pytest.approx([0, 0, 0], abs=1e-5)


def test_a_shifted_posterior_has_its_kl_as_amortisation_gap_and_no_approximation_gap():
    model, _ = linear(ORTHOGONAL, 0.6, 1.5)
    found = gaps(model, X, samples=20_000)
    # 20,000 draws of 8 rows: a standard deviation of 1.3 leaves 0.003 nats
    assert values(found) == pytest.approx([0, 2 * OFF, 2 * OFF], abs=0.015)
    assert found["approximation_gap"].value == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(("shift", "widen"), [(0.0, 1.0), (0.6, 1.5)])
def test_mean_field_on_a_correlated_posterior_has_its_closed_gap(shift, widen):
    model, precision = linear(SKEW, shift, widen)
    exact = mean_field_gap(precision)
    assert exact > 0.2
    off = np.array([shift] * 2)
    spread = np.diag(widen / np.sqrt(np.diag(precision)))
    moved = spread @ off / widen
    wide = (
        0.5 * (np.trace(precision @ spread**2) + moved @ precision @ moved - 2 - np.linalg.slogdet(precision)[1])
        - np.log(np.diag(spread)).sum()
    )
    found = gaps(model, X, samples=20_000)
    assert values(found) == pytest.approx([exact, wide - exact, wide], abs=0.02)


def test_the_search_ends_at_the_best_diagonal_gaussian():
    model, precision = linear(SKEW, 0.6, 1.5)
    exact, q = linear(SKEW)[0].posterior(X), model.posterior(X)
    with torch.no_grad():
        found = best_gaussian(model, Batch(X), q)
        off, ratio = (found.mean - exact.mean).numpy(), (found.stddev / exact.stddev).numpy()
    # the ELBO lost to the noise of the search, in closed form: 0.002 nats when this was written
    lost = 0.5 * np.einsum("bi,ij,bj->b", off, precision, off) + (0.5 * ratio**2 - 0.5 - np.log(ratio)).sum(1)
    assert lost.mean() < 0.004
    assert all(parameter.grad is None for parameter in model.parameters())


# ---- a decoder that is not linear, one latent dimension: log p(x) and L(q*) by quadrature


def nonlinear():
    torch.manual_seed(4)
    decoder = Parametric(MLP((1,), (1, 6), (16,), "tanh"), Bernoulli((6,)))
    encoder = Affine(torch.zeros(1, 6), torch.zeros(1), torch.ones(1))
    model = LatentModel(encoder, decoder, StandardNormal(1), 1).double()
    with torch.no_grad():
        decoder.network.out.weight.mul_(6)
        decoder.network.layers[0].weight.mul_(3)
    return model


def by_quadrature(model, x):
    """log p(x), L(q*) and L(q) with q = N(0, 1), for one row."""
    at, step = np.linspace(-8, 8, 4001, retstep=True)
    with torch.no_grad():
        log_joint = model.decode(torch.from_numpy(at)[:, None]).log_prob(x).numpy() + stats.norm.logpdf(at)

    def bound(parameters):
        log_q = stats.norm.logpdf(at, parameters[0], np.exp(parameters[1]))
        return (np.exp(log_q) * (log_joint - log_q)).sum() * step

    def search(start):
        return optimize.minimize(lambda p: -bound(p), start, method="Nelder-Mead", options={"xatol": 1e-6}).fun

    return math.log(np.exp(log_joint).sum() * step), -search([0.0, 0.0]), bound([0.0, 0.0])


def test_gaps_of_a_nonlinear_decoder_are_their_integrals():
    model = nonlinear()
    rows = torch.randint(0, 2, (5, 6), generator=torch.Generator().manual_seed(0)).double()
    exact = np.mean([by_quadrature(model, x) for x in rows], 0)
    expected = [exact[0] - exact[1], exact[1] - exact[2], exact[0] - exact[2]]
    assert min(expected) > 0.02
    found = gaps(model, rows, samples=20_000)
    assert values(found) == pytest.approx(expected, abs=0.02)
    assert elbo(model, rows, samples=20_000)["elbo"].value + found["inference_gap"].value == pytest.approx(
        exact[0], abs=0.02
    )


# ---- what the figures depend on


def test_rows_at_most_company_and_the_callers_generator():
    model, _ = linear(SKEW, 0.6, 1.5)
    state = torch.get_rng_state()
    found = gaps(model, X, steps=30, samples=40)
    assert torch.equal(torch.get_rng_state(), state)
    assert gaps(model, X, steps=30, samples=40) == found
    assert tuple(found) == NAMES
    assert found["inference_gap"].value == pytest.approx(sum(values(found)[:2]), abs=1e-12)
    assert gaps(model, X, most=3, steps=2, samples=4)["inference_gap"].n == 3
    alone = [values(gaps(model, row[None], steps=30, samples=40)) for row in X]
    assert np.mean(alone, 0) == pytest.approx(values(found), abs=1e-9)


def test_chunks_change_nothing(monkeypatch):
    model, _ = linear(SKEW, 0.6, 1.5)
    found = values(gaps(model, X, steps=30, samples=40))
    monkeypatch.setitem(gaps.__globals__, "MEMORY", 10_000)
    assert values(gaps(model, X, steps=30, samples=40)) == pytest.approx(found, abs=1e-9)


def test_a_conditional_model_is_told_its_conditions():
    data = vk.load("digits")
    torch.manual_seed(1)
    cvae = vk.models.cvae(data.schema, latent_dim=2, hidden=(8,))
    found = gaps(cvae, data.test.head(20), steps=300, samples=300)
    assert found["amortisation_gap"].value > 0
    assert found["approximation_gap"].value >= 0
    assert all(parameter.grad is None and parameter.requires_grad for parameter in cvae.parameters())


def test_what_has_no_such_gaps_says_so():
    schema = vk.Schema("vector", (3,))
    rows = torch.zeros(4, 3)
    with pytest.raises(UsageError, match="no likelihood"):
        gaps(vk.models.autoencoder(schema, latent_dim=2), rows)
    with pytest.raises(UsageError, match="diagonal Gaussian"):
        gaps(vk.models.vae(schema, latent_dim=2, posterior="full"), rows)
    for name in ("most", "steps", "samples"):
        with pytest.raises(UsageError, match=f"{name} 0: expected at least 1"):
            gaps(vk.models.vae(schema, latent_dim=2), rows, **{name: 0})
