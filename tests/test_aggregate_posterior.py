"""The aggregate posterior: its parts against quadrature, closed forms of a linear Gaussian, and codes that are constructed."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Independent, MultivariateNormal, Normal
from torch.testing import assert_close

import vaekit as vk
from vaekit.conditional import Conditional, Parametric
from vaekit.distributions.families import Gaussian
from vaekit.distributions.full_gaussian import FullGaussian
from vaekit.errors import UsageError
from vaekit.evaluation import aggregate_posterior, elbo
from vaekit.models import LatentModel
from vaekit.networks import MLP
from vaekit.priors import StandardNormal, make_prior

ALL = ("mutual_information", "marginal_kl", "total_correlation", "dimensionwise_kl")
RNG = np.random.default_rng(4)


class Stated(Conditional):
    """q(z | x) = N(m, diag(s^2)) with x = (m, log s): the rows say what the posterior is."""

    def forward(self, *given):
        loc, log_scale = given[0].chunk(2, -1)
        return Independent(Normal(loc, log_scale.exp(), validate_args=False), 1, validate_args=False)


class Tilted(Conditional):
    """The same with a correlation of 0.8."""

    def forward(self, *given):
        loc, log_scale = given[0].chunk(2, -1)
        lower = torch.tensor([[1.0, 0.0], [0.8, 0.6]], dtype=loc.dtype)
        return FullGaussian(loc, log_scale.exp()[..., None] * lower)


def model(encoder, dim=2, prior=None):
    decoder = Parametric(MLP((dim,), (1, 2 * dim), ()), Gaussian((2 * dim,), sigma=1.0))
    return LatentModel(encoder, decoder, prior or StandardNormal(dim), dim).double()


def stated(loc, scale):
    """Rows (n, 2 D) of the model above."""
    loc = np.asarray(loc, float)
    return torch.from_numpy(np.concatenate([loc, np.log(np.broadcast_to(scale, loc.shape))], 1))


FEW = stated(RNG.normal(size=(6, 2)) * 1.5, RNG.uniform(0.3, 1.2, (6, 2)))


def by_quadrature(rows, correlation=0.0):
    """All figures by sums over a grid of z in two dimensions."""
    at, step = np.linspace(-9, 9, 451, retstep=True)
    grid = np.stack(np.meshgrid(at, at, indexing="ij"), -1)
    tilt = np.array([[1, correlation], [correlation, 1]])
    means, scales = rows[:, :2].numpy(), rows[:, 2:].exp().numpy()
    each = [stats.multivariate_normal(m, tilt * s[:, None] * s).pdf(grid) for m, s in zip(means, scales, strict=True)]
    q, p = np.mean(each, 0), stats.norm.pdf(at)[:, None] * stats.norm.pdf(at)

    def kl(a, b):
        return float((np.where(a > 0, a * np.log(np.maximum(a, 1e-300) / np.maximum(b, 1e-300)), 0)).sum()) * step**2

    product = (q.sum(1) * step)[:, None] * (q.sum(0) * step)
    values = (np.mean([kl(e, q) for e in each]), kl(q, p), kl(q, product), kl(product, p))
    return dict(zip(ALL, values, strict=True))


def test_all_parts_are_their_integrals():
    exact = by_quadrature(FEW)
    found = aggregate_posterior(model(Stated()), FEW, samples=30_000)
    assert tuple(found) == ALL
    # 180,000 draws with a standard deviation below 1 leave 0.0024 nats
    assert {k: found[k].value for k in ALL} == pytest.approx(exact, abs=0.01)
    assert exact["total_correlation"] > 0.05


def test_a_posterior_that_does_not_factorise_has_the_first_two_and_they_are_their_integrals():
    rows = torch.cat([FEW[:, :2], FEW[:, 2:3].expand(-1, 2)], 1)
    exact = by_quadrature(rows, 0.8)
    found = aggregate_posterior(model(Tilted()), rows, samples=30_000)
    assert tuple(found) == ALL[:2]
    assert {k: found[k].value for k in found} == pytest.approx({k: exact[k] for k in found}, abs=0.01)


def population(n, rng):
    """Means of correlated codes, m ~ N(0, C), and posteriors of one width: q(z) = N(0, C + s^2) for n without end."""
    return stated(rng.multivariate_normal([0, 0], COVARIANCE, n), WIDTH)


WIDTH, COVARIANCE = 0.5, np.array([[1.0, 0.6], [0.6, 0.8]])


def closed_forms():
    total = COVARIANCE + WIDTH**2 * np.eye(2)
    half_log_det = 0.5 * np.linalg.slogdet(total)[1]
    split = 0.5 * np.log(np.diag(total)).sum()
    return {
        "mutual_information": half_log_det - 2 * math.log(WIDTH),
        "marginal_kl": 0.5 * (np.trace(total) - 2) - half_log_det,
        "total_correlation": split - half_log_det,
        "dimensionwise_kl": 0.5 * (np.trace(total) - 2) - split,
    }


def test_many_rows_of_a_linear_gaussian_reach_its_closed_forms():
    found = aggregate_posterior(model(Stated()), population(1500, np.random.default_rng(0)), samples=2)
    exact = closed_forms()
    for name in ALL:
        # beside the error, the mixture of 1,500 rows for the integral: about 0.004 nats
        assert abs(found[name].value - exact[name]) < 4 * found[name].standard_error + 0.005, name


def test_the_standard_error_is_the_spread_over_sets_of_rows():
    rng = np.random.default_rng(1)
    runs = [aggregate_posterior(model(Stated()), population(120, rng), samples=2) for _ in range(250)]
    for name in ALL:
        spread = np.std([run[name].value for run in runs])
        said = np.mean([run[name].standard_error for run in runs])
        assert said == pytest.approx(spread, rel=0.2), name


# ---- codes whose figures are known without integrals


def test_codes_on_a_grid_have_no_total_correlation():
    means = np.stack(np.meshgrid([-2.0, 0.1, 0.9], [-1.0, 1.5], indexing="ij"), -1).reshape(-1, 2)
    found = aggregate_posterior(model(Stated()), stated(means, [0.4, 0.7]), samples=50)
    assert found["total_correlation"].value == pytest.approx(0, abs=1e-12)


def test_codes_that_know_their_row_have_log_n_and_codes_that_know_nothing_have_none():
    apart = aggregate_posterior(model(Stated()), stated(np.arange(20).reshape(10, 2) * 10, 0.1))
    assert apart["mutual_information"].value == pytest.approx(math.log(10), abs=1e-12)
    # rows that differ in nothing a code shows
    alike = aggregate_posterior(model(Stated()), stated(np.zeros((10, 2)), 1.0))
    assert [alike[k].value for k in ALL] == pytest.approx([0] * 4, abs=1e-12)


# ---- the parts and the rate


@pytest.mark.parametrize("posterior", ["diagonal", "full", "flow", "box"])
def test_the_parts_sum_to_the_rate(posterior):
    torch.manual_seed(0)
    vae = vk.models.vae(
        vk.Schema("vector", (3,)),
        latent_dim=3,
        hidden=(8,),
        posterior=posterior,
        prior="uniform" if posterior == "box" else "normal",
    ).double()
    with torch.no_grad():
        for parameter in vae.encoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    rows = torch.randn(100, 3).double() * 2
    found, rate = (
        aggregate_posterior(vae, rows, samples=6 if posterior == "flow" else 500),
        elbo(vae, rows, samples=200)["kl"],
    )
    assert tuple(found) == (ALL if posterior in ("diagonal", "box") else ALL[:2])
    sums = [found["mutual_information"].value + found["marginal_kl"].value]
    if len(found) == 4:
        sums.append(sum(found[k].value for k in ALL if k != "marginal_kl"))
    assert sums == pytest.approx([sums[0]] * len(sums), abs=1e-9)
    assert sums[0] == pytest.approx(rate.value, rel=0.15 if posterior == "flow" else 0.03)
    assert 0 < found["mutual_information"].value < math.log(100)


def test_a_mixture_prior_has_no_dimensionwise_kl():
    found = aggregate_posterior(model(Stated(), prior=make_prior("mixture", 2, components=3)), FEW)
    assert tuple(found) == ALL[:3]


def test_a_conditional_posterior_is_aggregated_over_rows_and_conditions():
    data = vk.load("digits")
    rows = data.test.head(40)
    torch.manual_seed(1)
    cvae = vk.models.cvae(data.schema, latent_dim=2, hidden=(8,)).double()
    x, c = rows.rows(slice(0, 40)).double(), rows.condition(slice(0, 40), 10).double()
    q = cvae.posterior(x, c).base_dist
    with torch.no_grad():
        z = Normal(q.loc, q.scale).sample((3000,))
        each = [MultivariateNormal(m, torch.diag(s**2)).log_prob(z) for m, s in zip(q.loc, q.scale, strict=True)]
        mixed = torch.stack(each).logsumexp(0) - math.log(40)
        expected = float((Normal(q.loc, q.scale).log_prob(z).sum(-1) - mixed).mean())
    found = aggregate_posterior(cvae, rows, samples=1000)["mutual_information"]
    assert found.value == pytest.approx(expected, abs=0.01)
    assert found.n == 40


# ---- what the figures depend on


def test_chunks_rows_at_most_and_the_callers_generator(monkeypatch):
    vae, rows = model(Stated()), population(60, np.random.default_rng(2))
    state = torch.get_rng_state()
    found = aggregate_posterior(vae, rows, samples=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert aggregate_posterior(vae, rows, samples=3) == found
    assert aggregate_posterior(vae, rows, samples=3, seed=1) != found
    assert aggregate_posterior(vae, rows, most=25)["marginal_kl"].n == 25
    assert "log n = 3.219" in aggregate_posterior(vae, rows, most=25)["mutual_information"].estimator
    module = vk.evaluation.aggregate_posterior.__globals__
    monkeypatch.setitem(module, "MEMORY", 1)
    monkeypatch.setitem(module, "ROWS", 21)
    for name, again in aggregate_posterior(vae, rows, samples=3).items():
        assert_close(again.value, found[name].value, rtol=1e-12, atol=1e-12)


def test_what_has_no_aggregate_posterior_says_so():
    schema = vk.Schema("vector", (3,))
    rows = torch.zeros(4, 3)
    with pytest.raises(UsageError, match="no likelihood"):
        aggregate_posterior(vk.models.autoencoder(schema, latent_dim=2), rows)
    with pytest.raises(UsageError, match="samples 0: expected at least 1"):
        aggregate_posterior(model(Stated()), FEW, samples=0)
    with pytest.raises(UsageError, match="most 0: expected at least 1"):
        aggregate_posterior(model(Stated()), FEW, most=0)
    data = vk.load("digits")
    with pytest.raises(UsageError, match="prior depends on the condition"):
        aggregate_posterior(
            vk.models.cvae(data.schema, latent_dim=2, hidden=(8,), prior="conditional"), data.test.head(8)
        )
    with pytest.raises(UsageError, match="codebook_usage"):
        aggregate_posterior(vk.models.vqvae(data.schema), data.test.head(8))
