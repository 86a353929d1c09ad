"""Student's t, beta-binomial, categorical, the coupled logistic mixture and the optimal sigma, each against the truth."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Normal
from torch.testing import assert_close

import vaekit as vk
from vaekit.distributions.beta_binomial import BetaBinomial
from vaekit.distributions.bounds import soft_bound
from vaekit.distributions.categorical import CategoricalLevels
from vaekit.distributions.discrete_families import BetaBinomial as BetaBinomialFamily
from vaekit.distributions.discrete_families import Categorical, LogisticMixture
from vaekit.distributions.discretized_logistic import DiscretizedLogistic
from vaekit.distributions.real_families import OptimalGaussian
from vaekit.distributions.real_families import StudentT as StudentTFamily
from vaekit.distributions.student_t import StudentT, log_gamma_ratio
from vaekit.errors import UsageError
from vaekit.evaluation import elbo as evaluate_elbo
from vaekit.objectives import elbo

F64 = torch.float64
N, FLOOR = 50_000, 2e-5
"""Draws of a goodness of fit; the seed is fixed, so a p-value below FLOOR is a fault."""


def tensor(values, dtype=F64):
    return torch.tensor(values, dtype=dtype)


def fit_of(counts, expected):
    """The p-value of chi-square, levels expected less than 5 times counted together."""
    counts, expected = np.asarray(counts, float), np.asarray(expected, float)
    rare = expected < 5
    pooled = [np.append(v[~rare], v[rare].sum()) for v in (counts, expected)]
    if pooled[1][-1] < 5:
        at = pooled[1][:-1].argmin()
        pooled = [np.append(np.delete(v[:-1], at), v[at] + v[-1]) for v in pooled]
    return stats.chisquare(pooled[0], pooled[1] * pooled[0].sum() / pooled[1].sum()).pvalue


# ---- Student's t


NUS = [0.7, 1.0, 2.05, 3.0, 5.0, 30.0, 150.0, 1e5]


@pytest.mark.parametrize("nu", NUS)
def test_student_t_is_scipys(nu):
    x = tensor([-300.0, -2.0, 0.0, 0.3, 1.0, 77.0, 1e8])
    p = StudentT(tensor(nu), tensor(0.3), tensor(1.7))
    expected = stats.t(nu, 0.3, 1.7)
    # scipy's own normalising constant loses digits at large nu
    assert_close(p.log_prob(x), tensor(expected.logpdf(x)), rtol=1e-10, atol=1e-10)
    if nu > 2:
        assert p.variance.item() == pytest.approx(expected.var(), rel=1e-9)


def test_student_t_integrates_to_one_and_has_its_mean():
    # x = c tan(t) has dx = c / cos^2 t, and an integrand without tails
    nodes, weights = np.polynomial.legendre.leggauss(400)
    angle = tensor(nodes * math.pi / 2)
    x, volume = 2 * torch.tan(angle), tensor(weights) * math.pi / torch.cos(angle).square()
    density = StudentT(tensor(NUS[3:])[:, None], tensor(0.8), tensor(1.3)).log_prob(x).exp() * volume
    assert_close(density.sum(1), torch.ones(len(NUS) - 3, dtype=F64), rtol=0, atol=1e-10)
    assert_close((density * x).sum(1), torch.full((len(NUS) - 3,), 0.8, dtype=F64), rtol=0, atol=1e-6)


def test_the_gamma_ratio_is_exact_and_keeps_single_precision():
    a = torch.logspace(-6, 6, 200, dtype=F64)
    exact = torch.lgamma(a + 0.5) - torch.lgamma(a)
    assert_close(log_gamma_ratio(a), exact, rtol=1e-9, atol=1e-9)
    assert_close(log_gamma_ratio(a.float()).double(), exact, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("nu", [1.0, 2.05, 5.0, 100.0])
def test_samples_of_student_t(nu):
    x = StudentT(tensor(nu), tensor([0.5, 9.0]), tensor([2.0, 0.1])).sample((N // 2,))
    assert stats.kstest((x - tensor([0.5, 9.0])) / tensor([2.0, 0.1]) + 0.0, stats.t(nu).cdf).pvalue.min() > FLOOR


def test_gradients_of_student_t():
    given = [tensor([2.3, 40.0])[:, None], tensor([-1.0, 0.2, 50.0]), tensor([0.01, 1.0, 3.0])]
    given = [v.requires_grad_() for v in given]
    assert torch.autograd.gradcheck(lambda *v: StudentT(*v).log_prob(tensor(0.4)), given)


@pytest.mark.parametrize("degrees", [2.0, 0, -1.0, float("nan"), float("inf"), "element"])
def test_degrees_without_a_variance_are_refused(degrees):
    with pytest.raises(UsageError, match="expected a number above 2"):
        StudentTFamily((1,), degrees)


def test_degrees_of_freedom_are_learned_from_the_data():
    x = tensor(stats.t(4, 1.0, 0.5).rvs(20_000, random_state=1))
    family = StudentTFamily((1,)).double()
    raw = torch.zeros(1, 1, dtype=F64, requires_grad=True)
    optimizer = torch.optim.LBFGS([raw, *family.parameters()], max_iter=100, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        value = -family(raw).log_prob(x[:, None]).mean()
        value.backward()
        return value

    optimizer.step(loss)
    nu, mu, scale = stats.t.fit(x.numpy())
    assert family.degrees.item() == pytest.approx(nu, rel=1e-3)
    assert raw.item() == pytest.approx(mu, abs=1e-4)
    assert soft_bound(family.sigma.log_sigma, -7.0, 7.0).exp().item() == pytest.approx(scale, rel=1e-3)


# ---- beta-binomial


LEVELS = [2, 5, 256]
MEANS, CONCENTRATIONS = [1e-6, 0.02, 0.5, 0.97], [0.01, 2.0, 50.0, 2e4]


def beta_binomial(levels, dtype=F64):
    mean, s = tensor(MEANS)[:, None], tensor(CONCENTRATIONS)[None]
    return BetaBinomial(mean.logit().to(dtype), s.log().to(dtype), levels)


def grid(levels, dtype=F64):
    return torch.arange(levels, dtype=dtype).view(-1, 1, 1) / (levels - 1)


@pytest.mark.parametrize("levels", LEVELS)
def test_beta_binomial_is_scipys_and_sums_to_one(levels):
    p, x = beta_binomial(levels), grid(levels)
    mean, s = np.array(MEANS)[:, None], np.array(CONCENTRATIONS)
    expected = stats.betabinom.logpmf(np.arange(levels)[:, None, None], levels - 1, mean * s, (1 - mean) * s)
    assert_close(p.log_prob(x), tensor(expected), rtol=1e-7, atol=1e-7)
    mass = p.log_prob(x).exp()
    assert_close(mass.sum(0), torch.ones(4, 4, dtype=F64), rtol=0, atol=1e-10)
    assert_close((mass * x).sum(0), p.mean, rtol=1e-9, atol=1e-12)
    assert_close((mass * (x - p.mean) ** 2).sum(0), p.variance, rtol=1e-8, atol=1e-13)


def test_beta_binomial_sums_to_one_in_single_precision():
    total = beta_binomial(256, torch.float32).log_prob(grid(256, torch.float32)).exp().sum(0)
    assert_close(total, torch.ones(4, 4), rtol=0, atol=2e-5)


def test_a_flat_chance_gives_flat_counts():
    p = BetaBinomial(tensor(0.0), tensor(2.0).log(), 17)
    assert_close(p.log_prob(grid(17)).exp().flatten(), torch.full((17,), 1 / 17, dtype=F64), rtol=1e-12, atol=0)


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize(("mean", "s"), [(0.3, 0.01), (0.02, 3.0), (0.5, 2.0), (0.9, 2e4)])
def test_samples_of_the_beta_binomial(levels, mean, s):
    p = BetaBinomial(tensor(mean).logit(), tensor(s).log(), levels)
    counts = torch.bincount((p.sample((N,)) * (levels - 1)).round().long(), minlength=levels)
    assert fit_of(counts, N * p.log_prob(grid(levels)).exp().flatten()) > FLOOR


def test_gradients_of_the_beta_binomial():
    given = [tensor([-3.0, 0.0, 2.0]).requires_grad_(), tensor([-2.0, 1.0, 7.0]).requires_grad_()]
    x = tensor([0.0, 0.2, 1.0])[:, None]
    assert torch.autograd.gradcheck(lambda *v: BetaBinomial(*v, 16).log_prob(x), given, rtol=1e-3)


# ---- categorical


def test_categorical_is_torchs():
    logits = torch.randn(2, 3, 5, 2, 4, dtype=F64) * 3
    p, other = CategoricalLevels(logits, 2), torch.distributions.Categorical(logits=logits.movedim(2, -1))
    x = torch.randint(0, 5, (3, 2, 4))
    assert (p.batch_shape, p.event_shape) == ((2, 3), (2, 4))
    assert_close(p.log_prob(x / 4.0), other.log_prob(x).sum((-1, -2)), rtol=1e-12, atol=0)
    level = torch.arange(5) / 4.0
    assert_close(p.mean, (other.probs * level).sum(-1))
    assert_close(p.variance, (other.probs * level**2).sum(-1) - p.mean**2)


def test_samples_and_gradients_of_the_categorical():
    logits = tensor([[0.0, -30.0, 2.0, 0.5], [1.0, 1.0, 1.0, -2.0]]).T
    p = CategoricalLevels(logits, 1)
    counts = (p.sample((N,)) * 3).round().long()
    for i in range(2):
        assert fit_of(torch.bincount(counts[:, i], minlength=4), N * logits[:, i].softmax(0)) > FLOOR
    x = tensor([[0.0, 1.0], [2 / 3, 1 / 3]])
    assert torch.autograd.gradcheck(lambda v: CategoricalLevels(v, 1).log_prob(x), logits.requires_grad_())


# ---- mixture of discretised logistics


def mixture(channels, levels, components=3, space=(1, 1), scale=1.0, seed=3):
    torch.manual_seed(seed)
    family = LogisticMixture((channels, *space), levels, components)
    raw = torch.randn(family.raw_shape, dtype=F64) * scale
    at = components
    raw[at : 2 * at] = 0.5 + 0.4 * torch.randn_like(raw[at : 2 * at])
    raw[2 * at : 3 * at] -= 1.5
    return family, raw


def everything(channels, levels):
    """All pixels (levels^C, C, 1, 1)."""
    values = torch.arange(levels, dtype=F64) / (levels - 1)
    return torch.cartesian_prod(*[values] * channels).view(-1, channels, 1, 1)


@pytest.mark.parametrize(("channels", "levels"), [(1, 2), (1, 256), (2, 17), (3, 2), (3, 17), (4, 5)])
def test_the_mixture_sums_to_one_over_all_channels_together(channels, levels):
    family, raw = mixture(channels, levels)
    total = family(raw).log_prob(everything(channels, levels)).logsumexp(0)
    assert total.item() == pytest.approx(0, abs=1e-11)


def test_the_mixture_is_pixelcnns_formula():
    """Written from the paper in plain loops, over the masses of logistic bins from scipy."""
    levels, m = 6, 2
    family, raw = mixture(3, levels, m)
    shares, loc, log_scale, w = raw.view(4, m, 3).numpy()
    weights, w = np.exp(shares.sum(1)) / np.exp(shares.sum(1)).sum(), np.tanh(w)
    scale = soft_bound(tensor(log_scale), -7.0, 2.0).exp().numpy()
    for x in ([0.0, 0.0, 0.0], [0.2, 1.0, 0.6], [1.0, 0.4, 0.8]):
        total = 0.0
        for i in range(m):
            r, g, _ = np.array(x) - 0.5
            centre = loc[i] + [0.0, w[i, 0] * r, w[i, 1] * r + w[i, 2] * g]
            above = [
                1.0 if v == 1 else stats.logistic.cdf(v + 0.1, c, s)
                for v, c, s in zip(x, centre, scale[i], strict=True)
            ]
            below = [
                0.0 if v == 0 else stats.logistic.cdf(v - 0.1, c, s)
                for v, c, s in zip(x, centre, scale[i], strict=True)
            ]
            total += weights[i] * np.prod(np.subtract(above, below))
        assert family(raw).log_prob(tensor(x).view(3, 1, 1)).item() == pytest.approx(math.log(total), abs=1e-10)


def test_one_channel_is_a_plain_mixture_and_pixels_are_independent():
    family, raw = mixture(1, 17, 3, (2, 2))
    x = torch.randint(0, 17, (5, 1, 2, 2)).double() / 16
    shares, loc, log_scale = raw.view(3, 3, 1, 2, 2)
    each = DiscretizedLogistic(loc, soft_bound(log_scale, -7.0, 2.0), 17).log_prob(x[:, None])
    expected = (shares.log_softmax(0) + each).logsumexp(1).sum((1, 2, 3))
    assert_close(family(raw).log_prob(x), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("components", "levels"), [(1, 9), (4, 9)])
def test_the_mixtures_mean_by_enumeration(components, levels):
    family, raw = mixture(3, levels, components)
    x = everything(3, levels)
    p = family(raw)
    exact = (p.log_prob(x).exp()[:, None, None, None] * x).sum(0)
    assert_close(p.mean[0], exact[0], rtol=0, atol=1e-12)
    # a later channel is right as far as the range does not cut its logistics, which here it does
    assert_close(p.mean, exact, rtol=0, atol=0.03)
    m = components
    raw[m : 2 * m], raw[2 * m : 3 * m] = 0.5 + 0.02 * raw[:m], -4.0 + 0.1 * raw[:m]
    raw[3 * m :] *= 0.2
    p = family(raw)
    exact = (p.log_prob(x).exp()[:, None, None, None] * x).sum(0)
    assert_close(p.mean, exact, rtol=0, atol=2e-3)


@pytest.mark.parametrize("components", [1, 3])
def test_samples_of_the_mixture_jointly(components):
    levels = 4
    family, raw = mixture(3, levels, components)
    x = family(raw).sample((N,))
    index = ((x * (levels - 1)).round().view(N, 3) @ tensor([levels**2, levels, 1.0])).long()
    counts = torch.bincount(index, minlength=levels**3)
    assert fit_of(counts, N * family(raw).log_prob(everything(3, levels)).exp()) > FLOOR


def test_gradients_of_the_mixture():
    family, raw = mixture(3, 5, 2)
    x = tensor([[0.0, 0.25, 1.0], [0.5, 1.0, 0.0]]).view(2, 3, 1, 1)
    assert torch.autograd.gradcheck(lambda r: family(r).log_prob(x), raw.requires_grad_())


def test_the_mixture_takes_draws_and_rows_together():
    family, _ = mixture(3, 17, 2, (2, 3))
    raw, x = torch.randn(4, 5, *family.raw_shape), torch.rand(5, 3, 2, 3).mul(16).round() / 16
    p = family(raw)
    assert (p.batch_shape, p.event_shape) == ((4, 5), (3, 2, 3))
    one = torch.stack([torch.stack([family(raw[k, b]).log_prob(x[b]) for b in range(5)]) for k in range(4)])
    assert_close(p.log_prob(x), one)
    assert p.mean.shape == p.sample().shape == (4, 5, 3, 2, 3)


@pytest.mark.parametrize(("shape", "components", "said"), [((6,), 5, "expected images"), ((1, 2, 2), 0, "at least 1")])
def test_a_mixture_that_cannot_be_is_refused(shape, components, said):
    with pytest.raises(UsageError, match=said):
        LogisticMixture(shape, 17, components)


# ---- every new family: no raw output breaks it, and it starts where it was asked to


def families():
    yield "student-t", StudentTFamily((2,), sigma="element", shift=(0.4, 0.6), scale=(0.2, 3.0))
    yield "student-t-fixed", StudentTFamily((2,), 2.5, 0.1)
    yield "optimal", OptimalGaussian((2,), (0.4, 0.6), (0.2, 3.0), 0.3)
    for levels in (2, 256):
        yield f"categorical-{levels}", Categorical((2,), levels)
        yield f"beta-binomial-{levels}", BetaBinomialFamily((2,), levels)
        yield f"mixture-{levels}", LogisticMixture((2, 1, 1), levels, 2)


FAMILIES = dict(families())


@pytest.mark.parametrize("size", [0.0, 30.0, 120.0, 1e4, 1e6])
@pytest.mark.parametrize("name", FAMILIES)
def test_no_raw_output_breaks_a_likelihood(name, size):
    family = FAMILIES[name]
    signs = torch.randint(0, 2, (64, *family.raw_shape)) * 2.0 - 1
    raw = (size * signs).requires_grad_()
    x = tensor([0.0, 1.0], torch.float32).view(family.event_shape)
    log_px = family(raw).log_prob(x) + family(raw).log_prob(1 - x)
    log_px.sum().backward()
    p = family.eval()(raw)
    for values in (log_px, raw.grad, p.mean, p.sample()):
        assert torch.isfinite(values).all()
    family.train()


@pytest.mark.parametrize("name", FAMILIES)
def test_start_gives_the_mean_it_was_asked_for(name):
    family = FAMILIES[name]
    mean = torch.tensor([0.15, 0.8]).view(family.event_shape)
    raw = family.start(mean)
    assert raw.shape == family.raw_shape
    assert_close(family(raw).mean, mean, rtol=0, atol=2e-5)


# ---- the optimal sigma


def test_the_optimal_sigma_is_the_maximum_over_sigma():
    family, x = OptimalGaussian((3,), shift=1.0, scale=2.0).double(), torch.randn(7, 3, dtype=F64) * 0.3
    raw = torch.randn(4, 7, 1, 3, dtype=F64, requires_grad=True)
    loc = 1 + 2 * raw.squeeze(-2)
    loss = -family(raw).log_prob(x).mean()
    variance = (x - loc).square().mean()
    closed = 3 * 0.5 * ((2 * math.pi * variance).log() + 1)
    assert loss.item() == pytest.approx(closed.item(), abs=1e-12)
    for factor in (0.9, 0.999, 1.001, 1.1):
        assert -Normal(loc, factor * variance.sqrt()).log_prob(x).sum(-1).mean() > loss + 1e-7
    # sigma is held constant, and yet the gradient is that of the closed form: its derivative by sigma is 0
    held, whole = (torch.autograd.grad(v, raw, retain_graph=True)[0] for v in (loss, closed))
    assert_close(held, whole, rtol=1e-10, atol=1e-14)


def test_a_likelihood_at_rest_has_a_sigma_that_no_row_can_move():
    family = OptimalGaussian((3,), begin=0.5).double()
    raw, x = torch.zeros(6, 1, 3, dtype=F64), torch.randn(6, 3, dtype=F64)
    at_first = Normal(tensor(0.0), tensor(0.5)).log_prob(x).sum(-1)
    assert_close(family.eval()(raw).log_prob(x), at_first, rtol=1e-12, atol=0)
    family.train()(raw).log_prob(x)
    sigma = x.square().mean().sqrt()
    assert_close(family.sigma, sigma)
    family.eval()
    assert_close(family(raw).log_prob(9 * x), Normal(tensor(0.0), sigma).log_prob(9 * x).sum(-1), rtol=1e-9, atol=0)
    assert_close(family(raw[:2]).log_prob(x[:2]), family(raw).log_prob(x)[:2], rtol=1e-12, atol=0)
    assert_close(family.sigma, sigma)
    with torch.no_grad():
        family.train()(raw).log_prob(9 * x)
    assert_close(family.sigma, sigma)


def test_sigma_is_the_average_of_the_last_batches():
    family = OptimalGaussian((1,)).double()
    errors = np.random.default_rng(0).uniform(0.5, 2, 12)
    for error in errors:
        family(torch.zeros(1, 1, 1, dtype=F64)).log_prob(tensor([[error]]))
    weights = 0.9 ** np.arange(12)[::-1]
    assert family.sigma.item() == pytest.approx(math.sqrt((weights * errors**2).sum() / weights.sum()), rel=1e-7)


def test_a_trained_optimal_sigma_is_the_error_of_the_model_and_survives_a_run(tmp_path):
    rng = np.random.default_rng(2)
    x = (rng.normal(size=(600, 2)) @ rng.normal(size=(2, 8)) + 0.1 * rng.normal(size=(600, 8))).astype("float32")
    torch.manual_seed(0)
    data = vk.load(x)
    model = vk.models.vae(data.schema, latent_dim=2, hidden=(), likelihood="gaussian", sigma="optimal")
    history = vk.fit(
        model, data, epochs=80, batch_size=60, learning_rate=2e-2, learning_rate_decay="cosine", progress=False
    )
    family, rows = model.decoder.family, data.train.values
    with torch.no_grad():
        draw = model.draw(rows, None, 50)
        error = ((model.decode(draw.z).mean - rows) / family.scale).square().mean().sqrt()
        assert family.sigma.item() == pytest.approx(error.item(), rel=0.02)
        closed = 8 * 0.5 * math.log(2 * math.pi * math.e) + 8 * error.log() + family.scale.log().sum()
    # the training loss, at each batch's own sigma, is not better than the bound at the stored one by more than its 1/2 nat
    bound = evaluate_elbo(model, data.train, samples=50)
    assert bound["distortion"].value == pytest.approx(closed.item(), abs=0.01)
    assert -history["train_loss"][-1] == pytest.approx(bound["elbo"].value, abs=0.05)
    vk.save_run(tmp_path / "run", model)
    again = vk.load_run(tmp_path / "run").model
    assert again.decoder.family.sigma.item() == family.sigma.item()
    assert evaluate_elbo(again, data.train, samples=50)["elbo"] == bound["elbo"]


def test_the_optimal_sigma_beats_sigma_one_on_gray_values():
    data, bounds = vk.load("digits"), {}
    for sigma in (1.0, "optimal"):
        torch.manual_seed(0)
        model = vk.models.vae(data.schema, latent_dim=8, hidden=(64,), likelihood="gaussian", sigma=sigma)
        vk.fit(model, data, elbo, epochs=8, learning_rate=5e-3, progress=False)
        bounds[sigma] = evaluate_elbo(model, data.test)["elbo"].value
    assert bounds["optimal"] > bounds[1.0] + 40
