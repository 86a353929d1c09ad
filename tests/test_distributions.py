"""Likelihoods sum to one, their samples follow them, and no input breaks them."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Bernoulli, Independent
from torch.testing import assert_close

from vaekit.distributions import ContinuousBernoulli, DiscretizedLogistic, families, posteriors
from vaekit.distributions.bernoulli import BernoulliEvent
from vaekit.distributions.bounds import soft_bound
from vaekit.distributions.continuous_bernoulli import log_partition, mean_of

F64 = torch.float64
ETAS = [
    -1e4,
    -500.0,
    -30.0,
    -2.0,
    -0.5,
    -0.100001,
    -0.09,
    -1e-3,
    -1e-6,
    0.0,
    1e-6,
    0.05,
    0.1,
    0.49,
    3.0,
    16.5,
    80.0,
    1e4,
]
LOCS = [-50.0, -1.0, 0.0, 0.013, 0.3, 0.5, 1.0, 1.7, 50.0]
LOG_SCALES = [-7.0, -5.0, -2.0, 0.0, 2.0]


def tensor(values, dtype=F64):
    return torch.tensor(values, dtype=dtype)


def panels(low, high):
    """Gauss-Legendre nodes and weights on [low, high], in panels that halve towards both ends."""
    halves = 0.5 ** np.arange(40, 0, -1)
    edges = low + (high - low) * np.concatenate([[0.0], halves, 1 - halves[-2::-1], [1.0]])
    nodes, weights = np.polynomial.legendre.leggauss(20)
    half = np.diff(edges)[:, None] / 2
    return tensor((edges[:-1, None] + half * (1 + nodes)).ravel()), tensor((half * weights).ravel())


def levels_of(levels, dtype=F64):
    return torch.arange(levels, dtype=dtype)[:, None, None] / (levels - 1)


def grid(levels, dtype=F64):
    loc, log_scale = tensor(LOCS, dtype)[:, None], tensor(LOG_SCALES, dtype)[None]
    return DiscretizedLogistic(loc, log_scale, levels)


# ---- sums and integrals; mean and variance


@pytest.mark.parametrize(("dtype", "tolerance"), [(F64, 1e-12), (torch.float32, 2e-3)])
@pytest.mark.parametrize("levels", [2, 17, 256])
def test_discretized_logistic_sums_to_one(levels, dtype, tolerance):
    total = grid(levels, dtype).log_prob(levels_of(levels, dtype)).exp().sum(0)
    # in single precision a border between two levels is off by 1e-7, which a scale of e^-7 makes 1e-4 of a bin
    assert_close(total, torch.ones_like(total), rtol=0, atol=tolerance)


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_discretized_logistic_is_the_mass_of_each_bin(levels):
    p, half = DiscretizedLogistic(tensor(0.37), tensor(-3.0), levels), 0.5 / (levels - 1)
    x = levels_of(levels).flatten()
    below, above = (stats.logistic(0.37, math.exp(-3.0)).cdf(x + side) for side in (-half, half))
    below[0], above[-1] = 0.0, 1.0
    assert_close(p.log_prob(x).exp(), tensor(above - below), rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_discretized_logistic_has_the_moments_of_its_levels(levels):
    p, x = grid(levels), levels_of(levels)
    mass = p.log_prob(x).exp()
    mean = (mass * x).sum(0)
    assert_close(p.mean, mean, rtol=0, atol=1e-12)
    assert_close(p.variance, (mass * (x - mean) ** 2).sum(0), rtol=0, atol=1e-12)


def test_bernoulli_sums_to_one():
    logits = tensor([-800.0, -3.0, 0.0, 0.7, 800.0])
    p = BernoulliEvent(logits[:, None], 1)
    masses = [p.log_prob(torch.full((1,), v, dtype=F64)).exp() for v in (0.0, 1.0)]
    assert_close(masses[0] + masses[1], torch.ones(5, dtype=F64), rtol=0, atol=1e-14)
    assert_close(p.mean[:, 0], masses[1], rtol=0, atol=1e-14)


def test_bernoulli_pixels_are_torchs_independent_ones():
    logits, x = torch.randn(3, 2, 1, 4, 5, dtype=F64) * 9, torch.randint(0, 2, (2, 1, 4, 5)).double()
    p = families.Bernoulli((1, 4, 5))(logits[:, :, None])
    other = Independent(Bernoulli(logits=logits), 3)
    assert (p.batch_shape, p.event_shape) == (other.batch_shape, other.event_shape)
    assert_close(p.log_prob(x), other.log_prob(x), rtol=1e-12, atol=0)
    assert_close(p.variance, other.variance, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(("dtype", "tolerance"), [(F64, 1e-11), (torch.float32, 2e-3)])
def test_continuous_bernoulli_integrates_to_one(dtype, tolerance):
    x, weights = panels(0.0, 1.0)
    total = weights @ ContinuousBernoulli(tensor(ETAS, dtype)).log_prob(x[:, None].to(dtype)).exp().to(F64)
    # in single precision an exponent of 1e4 carries an error of 1e-3
    assert_close(total, torch.ones_like(total), rtol=0, atol=tolerance)


def test_continuous_bernoulli_has_the_moments_of_its_density():
    p, (x, weights) = ContinuousBernoulli(tensor(ETAS)), panels(0.0, 1.0)
    density = p.log_prob(x[:, None]).exp()
    mean = weights @ (density * x[:, None])
    assert_close(p.mean, mean, rtol=1e-10, atol=1e-14)
    # the series of the variance stops at eta^6: 1e-9 of error where it hands over
    assert_close(p.variance, weights @ (density * (x[:, None] - mean) ** 2), rtol=2e-8, atol=1e-14)


def test_continuous_bernoulli_is_one_function_across_its_branches():
    for border in (0.1, -0.1, 0.5, -0.5):
        sides = tensor([border * (1 - 1e-9), border * (1 + 1e-9)])
        p = ContinuousBernoulli(sides)
        for values in (log_partition(sides), mean_of(sides), p.variance):
            assert abs(float(values[1] - values[0])) < 2e-9


@pytest.mark.parametrize("sigma", [0.01, 30.0, "shared", "element"])
def test_gaussian_integrates_to_one_in_the_datas_own_units(sigma):
    family = families.Gaussian((1,), sigma, shift=(40.0,), scale=(5.0,), begin=0.3).double()
    p = family(torch.full(family.raw_shape, -1.0, dtype=F64))
    mean, std = 40.0 - 5.0, {"shared": 0.3 * 5, "element": math.exp(-1.0) * 5}.get(sigma, sigma)
    x, weights = panels(mean - 15 * std, mean + 15 * std)
    density = p.log_prob(x[:, None]).exp().detach()
    # a learned log sigma is softly bounded: the identity within exp(-5)
    assert (weights @ density).item() == pytest.approx(1.0, abs=1e-10)
    assert (weights @ (density * x)).item() == pytest.approx(mean, abs=1e-9)
    assert math.sqrt(weights @ (density * (x - mean) ** 2)) == pytest.approx(std, rel=1e-9 if std == sigma else 5e-3)
    assert (p.mean.item(), p.stddev.item()) == pytest.approx((mean, std), rel=5e-3)


# ---- goodness of fit of 50,000 samples; the seed is fixed, so a p-value below 2e-5 is a fault

N, FLOOR = 50_000, 2e-5


@pytest.mark.parametrize(("loc", "log_scale"), [(0.5, -2.0), (0.03, -3.0), (1.4, -1.0), (0.41, -5.0), (-0.3, 1.0)])
@pytest.mark.parametrize("levels", [2, 17, 256])
def test_samples_of_the_discretized_logistic(levels, loc, log_scale):
    p = DiscretizedLogistic(torch.tensor(loc), torch.tensor(log_scale), levels)
    counts = torch.bincount((p.sample((N,)) * (levels - 1)).round().long(), minlength=levels).numpy()
    expected = (
        N * DiscretizedLogistic(tensor(loc), tensor(log_scale), levels).log_prob(levels_of(levels)).exp().flatten()
    )
    assert chi_square(counts, expected.numpy()) > FLOOR


def chi_square(counts, expected):
    """The p-value, with the rare levels counted to the rarest of the common ones."""
    rare = expected < 5
    pooled = [v[~rare] for v in (counts.astype(float), expected.copy())]
    at = pooled[1].argmin()
    for kept, v in zip(pooled, (counts, expected), strict=True):
        kept[at] += v[rare].sum()
    return stats.chisquare(*pooled).pvalue if len(pooled[0]) > 1 else 1.0


@pytest.mark.parametrize("logit", [-6.0, -0.5, 0.0, 2.0])
def test_samples_of_the_bernoulli(logit):
    ones = families.Bernoulli((1,))(torch.full((1, 1), logit)).sample((N,)).sum().item()
    assert stats.binomtest(int(ones), N, 1 / (1 + math.exp(-logit))).pvalue > FLOOR


@pytest.mark.parametrize("eta", [-500.0, -30.0, -1.0, -1e-6, 0.0, 1e-3, 0.3, 5.0, 40.0, 500.0])
def test_samples_of_the_continuous_bernoulli(eta):
    x = ContinuousBernoulli(torch.tensor(eta)).sample((N,)).double().numpy()
    assert x.min() >= 0
    assert x.max() <= 1
    # in terms of the distance from the heavy end, so that e^eta does not overflow
    distance, rate = (1 - x, -eta) if eta > 0 else (x, eta)
    cdf = (lambda t: np.expm1(rate * t) / np.expm1(rate)) if abs(eta) > 1e-5 else (lambda t: t)
    assert stats.kstest(distance, cdf).pvalue > FLOOR


@pytest.mark.parametrize("sigma", [2.0, "shared", "element"])
def test_samples_of_the_gaussian(sigma):
    family = families.Gaussian((1,), sigma, shift=-3.0, scale=0.5)
    p = family(torch.zeros(family.raw_shape))
    assert stats.kstest(p.sample((N,)).flatten(), stats.norm(-3.0, p.stddev.item()).cdf).pvalue > FLOOR


# ---- gradients, and inputs without bounds


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_gradients_of_the_discretized_logistic(levels):
    values = [tensor(LOCS[1:-1])[:, None], tensor(LOG_SCALES)[None]]
    x = levels_of(levels)[[0, 1, levels // 2, -1]]

    def log_prob(loc, log_scale):
        return DiscretizedLogistic(loc, log_scale, levels).log_prob(x)

    assert torch.autograd.gradcheck(log_prob, [v.requires_grad_() for v in values], rtol=1e-3, atol=1e-4)


def test_gradients_of_the_continuous_bernoulli():
    eta = tensor(ETAS[1:-1]).requires_grad_()
    x = tensor([0.0, 0.2, 1.0])[:, None]
    assert torch.autograd.gradcheck(lambda e: ContinuousBernoulli(e).log_prob(x), eta)
    assert torch.autograd.gradcheck(mean_of, eta, atol=1e-6)
    assert_close(torch.autograd.grad(log_partition(eta).sum(), eta)[0], mean_of(eta.detach()), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("eta", [-40.0, -1.0, 1e-3, 2.0, 40.0])
def test_draws_of_the_continuous_bernoulli_are_differentiable(eta):
    u = tensor([0.05, 0.3, 0.8, 0.99])
    assert torch.autograd.gradcheck(lambda e: ContinuousBernoulli(e).icdf(u), tensor(eta).requires_grad_())


def test_draws_of_the_continuous_bernoulli_are_differentiable_at_zero():
    u = tensor([0.05, 0.3, 0.8])
    eta = torch.zeros(3, dtype=F64, requires_grad=True)
    (slope,) = torch.autograd.grad(ContinuousBernoulli(eta).icdf(u).sum(), eta)
    assert_close(slope, u * (1 - u) / 2)


FAMILIES = {
    "bernoulli": families.Bernoulli((2,)),
    "continuous-bernoulli": families.ContinuousBernoulli((2,)),
    **{f"gaussian-{s}": families.Gaussian((2,), s, (0.4, 0.6), (0.2, 3.0)) for s in (0.1, "shared", "element")},
    **{f"logistic-2-{s}": families.DiscretizedLogistic((2,), 2, s) for s in (0.1, "shared", "element")},
    **{f"logistic-256-{s}": families.DiscretizedLogistic((2,), 256, s) for s in (0.1, "shared", "element")},
}


@pytest.mark.parametrize("size", [0.0, 30.0, 120.0, 1e4, 1e6])
@pytest.mark.parametrize("name", FAMILIES)
def test_no_raw_output_breaks_a_likelihood(name, size):
    family, signs = FAMILIES[name], torch.tensor([-1.0, 1.0])
    k = family.parameters_per_element
    raw = (size * torch.cartesian_prod(*[signs] * 2 * k).view(-1, k, 2)).requires_grad_()
    p = family(raw)
    log_px = p.log_prob(torch.tensor([0.0, 1.0])) + p.log_prob(torch.tensor([1.0, 0.0]))
    log_px.sum().backward()
    for values in (log_px, raw.grad, p.mean, p.variance, p.sample()):
        assert torch.isfinite(values).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_start_gives_the_mean_it_was_asked_for(name):
    family = FAMILIES[name]
    mean = torch.tensor([0.15, 0.8])
    raw = family.start(mean)
    assert raw.shape == family.raw_shape
    assert_close(family(raw).mean, mean, rtol=0, atol=1e-5)


BOUNDS = [(-16.0, 8.0), (-7.0, 7.0), (-7.0, 2.0)]


@pytest.mark.parametrize(("low", "high"), BOUNDS)
def test_soft_bound(low, high):
    raw = torch.cat([torch.linspace(low - 60, high + 60, 1001), torch.tensor([-1e9, 1e9])]).double().requires_grad_()
    bounded = soft_bound(raw, low, high)
    (slope,) = torch.autograd.grad(bounded.sum(), raw)
    # the upper bound is passed by softplus's own remainder, exp(low - high)
    assert bounded.min() >= low
    assert bounded.max() <= high + math.exp(low - high) + 1e-12
    assert (slope[:-2] > 0).all()
    assert torch.isfinite(slope).all()
    distance = torch.minimum(raw - low, high - raw).detach()
    inside = distance > 0
    assert ((bounded - raw).abs()[inside] <= 2 * torch.exp(-distance[inside]) + 1e-8).all()
    assert (bounded[:-2].diff() >= 0).all()


def test_scales_of_the_posterior_stay_within_their_bounds():
    q = posteriors.DiagonalGaussian(2)(torch.tensor([[0.0, 0.0], [-1e6, 1e6]]))
    assert_close(q.stddev, torch.tensor([-8.0, 4.0]).exp())
    middle = posteriors.DiagonalGaussian(2)(torch.tensor([[0.3, -2.0], [-1.0, 0.5]]))
    assert_close(middle.stddev, torch.tensor([-0.5, 0.25]).exp(), rtol=1e-3, atol=0)
    assert_close(middle.mean, torch.tensor([0.3, -2.0]))
