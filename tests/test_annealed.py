"""Annealed importance sampling against closed forms: the marginal of a linear model, HMC's invariants, bounds from two sides."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch.testing import assert_close

import vaekit as vk
from vaekit.conditional import Parametric
from vaekit.distributions.families import Gaussian
from vaekit.distributions.posteriors import DiagonalGaussian
from vaekit.errors import UsageError
from vaekit.evaluation import (
    annealed_importance_sampling,
    annealed_importance_sampling_per_example,
    annealed_log_weights,
    bidirectional,
    effective_sample_size,
    importance_sampling,
    log_likelihood,
    trust,
)
from vaekit.evaluation import chains as module
from vaekit.evaluation import elbo as evaluate_elbo
from vaekit.evaluation.annealed import _simulated
from vaekit.evaluation.chains import Path, schedule
from vaekit.evaluation.hmc import hmc, leapfrog
from vaekit.evaluation.likelihood import effective_draws
from vaekit.models import LatentModel
from vaekit.networks import MLP
from vaekit.objectives import Draw
from vaekit.priors import StandardNormal

LATENTS, SIZE, VARIANCE = 2, 5, 0.2
RNG = np.random.default_rng(3)
W, B = RNG.normal(size=(SIZE, LATENTS)), RNG.normal(size=SIZE)
MARGINAL = stats.multivariate_normal(B, W @ W.T + VARIANCE * np.eye(SIZE))
ROWS = MARGINAL.rvs(6, random_state=1)
X, LOG_PX = torch.from_numpy(ROWS), torch.from_numpy(MARGINAL.logpdf(ROWS))
PRECISION = np.eye(LATENTS) + W.T @ W / VARIANCE
POSTERIOR_COV = torch.from_numpy(np.linalg.inv(PRECISION))
POSTERIOR_MEAN = torch.from_numpy((ROWS - B) @ W / VARIANCE @ np.linalg.inv(PRECISION))
FEW = {"chains": 24, "temperatures": 120, "leapfrog": 4}


def linear_model(encoder_std=0.5):
    """p(x | z) = N(W z + b, s2 I); q(z | x) has about the right mean, no correlations and a width of its own."""
    encoder = MLP((SIZE,), (2, LATENTS), ()).double()
    decoder = MLP((LATENTS,), (1, SIZE), ()).double()
    slope = torch.from_numpy(np.linalg.inv(PRECISION) @ W.T / VARIANCE)
    with torch.no_grad():
        encoder.out.weight.copy_(torch.cat([slope, torch.zeros_like(slope)]))
        raw = torch.full((LATENTS,), 2 * math.log(encoder_std)).double()
        encoder.bias.copy_(torch.stack([-slope @ torch.from_numpy(B), raw]))
        decoder.out.weight.copy_(torch.from_numpy(W))
        decoder.bias.copy_(torch.from_numpy(B)[None])
    posterior = Parametric(encoder, DiagonalGaussian(LATENTS))
    likelihood = Parametric(decoder, Gaussian((SIZE,), sigma=math.sqrt(VARIANCE)))
    return LatentModel(posterior, likelihood, StandardNormal(LATENTS), LATENTS).double()


def path(start="prior"):
    return Path(linear_model(), vk.Batch(X), start)


def mean_weight(log_w):
    """log mean w over the chains and its standard error in nats (delta method), for each row."""
    relative = (log_w - log_w.logsumexp(0) + math.log(len(log_w))).exp()
    return log_w.logsumexp(0) - math.log(len(log_w)), relative.std(0) / math.sqrt(len(log_w))


# ---- Hamiltonian Monte Carlo


@pytest.mark.parametrize("start", ["prior", "posterior"])
def test_slopes_are_finite_differences(start):
    p, z, h = path(start), torch.randn(3, len(X), LATENTS, dtype=torch.float64), 1e-5
    state, b = p.at(z), 0.3
    for d in range(LATENTS):
        shift = h * torch.eye(LATENTS, dtype=torch.float64)[d]
        difference = (p.at(z + shift).log_f(b) - p.at(z - shift).log_f(b)) / (2 * h)
        assert_close(state.slope(b)[..., d], difference, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("start", ["prior", "posterior"])
def test_path_runs_from_its_start_to_the_joint_density(start):
    model, p, z = linear_model(), path(start), torch.randn(3, len(X), LATENTS, dtype=torch.float64)
    first = model.prior() if start == "prior" else model.posterior(X)
    assert_close(p.at(z).log_f(0.0), first.log_prob(z), rtol=1e-12, atol=1e-12)
    posterior = torch.distributions.MultivariateNormal(POSTERIOR_MEAN, POSTERIOR_COV)
    assert_close(p.at(z).log_f(1.0), posterior.log_prob(z) + LOG_PX, rtol=1e-9, atol=1e-9)


def test_leapfrog_turned_round_comes_back():
    p, step = path(), torch.full((4, len(X)), 0.1, dtype=torch.float64)
    z, momentum = torch.randn(2, 4, len(X), LATENTS, dtype=torch.float64)
    there, after = leapfrog(p, p.at(z), momentum, 0.7, step, 12)
    back, before = leapfrog(p, there, -after, 0.7, step, 12)
    assert float((there.z - z).abs().max()) > 0.3
    assert_close(back.z, z, rtol=0, atol=1e-10)
    assert_close(-before, momentum, rtol=0, atol=1e-10)


def test_leapfrog_keeps_volume_and_nearly_the_energy():
    p = Path(linear_model(), vk.Batch(X[:1]), "prior")

    def flow(point, e=0.1, steps=6):
        z, momentum = point.view(1, 1, 2 * LATENTS).split(LATENTS, -1)
        s, m = leapfrog(p, p.at(z), momentum, 1.0, torch.full((1, 1), e, dtype=torch.float64), steps)
        return torch.cat([s.z, m], -1).flatten()

    # a linear target has an affine flow, so that central differences are its Jacobian to rounding
    point, eye = torch.randn(2 * LATENTS, dtype=torch.float64), torch.eye(2 * LATENTS, dtype=torch.float64)
    jacobian = torch.stack([(flow(point + v) - flow(point - v)) / 2 for v in eye], 1)
    assert torch.linalg.det(jacobian).item() == pytest.approx(1, abs=1e-10)

    def energy(point):
        return float(-p.at(point[:LATENTS].view(1, 1, -1)).log_f(1.0) + 0.5 * point[LATENTS:].square().sum())

    errors = [abs(energy(flow(point, e, n)) - energy(point)) for e, n in ((0.02, 10), (0.01, 20))]
    assert errors[1] < 0.3 * errors[0]  # second order: a quarter


def test_hmc_leaves_the_posterior_invariant():
    chains, p = 4000, path()
    root = torch.linalg.cholesky(POSTERIOR_COV)
    state = p.at(POSTERIOR_MEAN + torch.randn(chains, len(X), LATENTS, dtype=torch.float64) @ root.T)
    rates = []
    # steps so coarse that a fifth is refused: without the refusals the moments would be wrong
    step = torch.full((len(X),), 1.6 * float(torch.linalg.eigvalsh(POSTERIOR_COV)[0].sqrt()))
    for _ in range(8):
        noise = torch.randn(chains, len(X), LATENTS + 2, dtype=torch.float64)
        state, rate = hmc(p, state, 1.0, step.double(), 3, noise)
        rates.append(rate.mean())
    assert 0.3 < float(torch.stack(rates).mean()) < 0.9
    white = (state.z - POSTERIOR_MEAN) @ torch.linalg.inv(root).T
    assert float(white.mean(0).abs().max()) < 5 / math.sqrt(chains)
    cov = torch.einsum("kbd,kbe->bde", white, white)
    assert float((cov / chains - torch.eye(LATENTS)).abs().max()) < 5 * math.sqrt(2 / chains)


# ---- annealed importance sampling


def test_schedule_rises_from_0_to_1():
    b = np.array(schedule(50))
    assert (b[0], b[-1], len(b)) == (0, 1, 51)
    assert (np.diff(b) > 0).all()
    assert_close(b + b[::-1], np.ones(51), rtol=0, atol=1e-12)
    assert schedule(1) == [0, 1]


@pytest.mark.parametrize("start", ["prior", "posterior"])
def test_annealed_importance_sampling_is_log_px(start):
    log_w = annealed_log_weights(linear_model(), X, start=start, **FEW)
    found, error = mean_weight(log_w)
    assert float(error.max()) < 0.6
    assert float(((found - LOG_PX) / error).abs().max()) < 4
    estimate = annealed_importance_sampling(linear_model(), X, start=start, **FEW)
    assert estimate.value == pytest.approx(float(found.mean()), abs=1e-12)
    assert (estimate.n, estimate.samples, estimate.unit) == (len(X), 24, "nats")
    assert estimate.standard_error == pytest.approx(float(found.std()) / math.sqrt(len(X)), abs=1e-12)


def test_weights_are_unbiased_even_with_few_temperatures():
    """E w = p(x) whatever the kernels, which a wrong acceptance or steps that look at their own chain would break."""
    log_w = annealed_log_weights(linear_model(), X[:2], chains=5000, temperatures=20, leapfrog=3)
    found, error = mean_weight(log_w)
    assert float(error.max()) < 0.2
    assert float(((found - LOG_PX[:2]) / error).abs().max()) < 4


def test_single_chains_begin_and_move_by_different_numbers():
    """A z_0 made of the numbers of its first momentum would bias the weights: one chain a row draws them most alike."""
    n, betas = 1500, schedule(6)
    p, seeds = Path(linear_model(), vk.Batch(X[:1].expand(n, -1)), "posterior"), list(range(n))
    sizes = torch.full((5, n), 0.2, dtype=torch.float64)
    found, error = mean_weight(module._log_weights(p, p.begin(1, seeds), betas, sizes, 3, seeds).T)
    assert float(error) < 0.1
    assert float((found - LOG_PX[0]).abs() / error) < 4


def test_one_temperature_is_importance_sampling():
    log_w = annealed_log_weights(linear_model(), X, chains=3, temperatures=1, start="posterior", seed=4)
    p = path("posterior")
    z = p.begin(3, module._seeds(p, 4, module._FORWARD))
    model = linear_model()
    expected = model.decode(z).log_prob(X) + model.prior().log_prob(z) - model.posterior(X).log_prob(z)
    assert_close(log_w, expected.detach(), rtol=1e-12, atol=1e-12)


def test_a_rows_result_depends_on_neither_company_nor_memory_nor_the_callers_generator():
    model, state = linear_model(), torch.get_rng_state()
    few = {"chains": 3, "temperatures": 8, "leapfrog": 2}
    values = annealed_importance_sampling_per_example(model, X, **few)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    again = annealed_importance_sampling_per_example(model, X.flip(0)[:4], memory=1, **few)
    assert_close(again, values.flip(0)[:4], rtol=1e-9, atol=1e-9)
    other = annealed_importance_sampling_per_example(model, X, seed=1, **few)
    assert not torch.allclose(other, values, atol=1e-3)
    assert all(p.grad is None for p in model.parameters())


def test_learned_steps_are_accepted_as_often_as_they_should(monkeypatch):
    rates, plain = [], module.hmc

    def watched(*given):
        state, rate = plain(*given)
        rates.append(rate.mean(0))
        return state, rate

    monkeypatch.setattr(module, "hmc", watched)
    annealed_log_weights(linear_model(), X, chains=64, temperatures=200, leapfrog=5)
    main = torch.stack(rates[-199:])
    assert float(main.mean()) == pytest.approx(module.ACCEPTANCE, abs=0.07)
    assert float((main.mean(0) - module.ACCEPTANCE).abs().max()) < 0.12


# ---- bidirectional Monte Carlo


def test_bounds_from_both_sides_hold_the_truth_between_them():
    few = {"n": 80, "chains": 4, "temperatures": 12, "leapfrog": 4}
    model = linear_model()
    with torch.random.fork_rng():
        _, simulated = _simulated(model, few["n"], None, 0)
    truth = MARGINAL.logpdf(simulated.x.numpy())
    found = bidirectional(model, **few)
    lower, upper, gap = (found[k] for k in ("lower", "upper", "gap"))
    # the examples simulated from the marginal itself have its moments
    assert truth.mean() == pytest.approx(-MARGINAL.entropy(), abs=4 * truth.std() / math.sqrt(few["n"]))
    assert gap.value == pytest.approx(upper.value - lower.value, abs=1e-9)
    assert gap.value > 4 * gap.standard_error
    assert lower.value < truth.mean() < upper.value
    closer = bidirectional(model, **few | {"temperatures": 120, "chains": 8})
    assert closer["gap"].value < 0.35 * gap.value
    assert closer["lower"].value == pytest.approx(truth.mean(), abs=0.3)
    assert closer["upper"].value == pytest.approx(truth.mean(), abs=0.3)


def test_reverse_weights_are_unbiased_for_one_over_px():
    model, n, betas = linear_model(0.35), 1000, schedule(40)
    root = torch.linalg.cholesky(POSTERIOR_COV)
    p = Path(model, vk.Batch(X[:1].expand(n, -1)), "posterior")
    z = POSTERIOR_MEAN[0] + torch.randn(1, n, LATENTS, dtype=torch.float64) @ root.T
    sizes = torch.full((39, n), 0.25, dtype=torch.float64)
    log_w = module._log_weights(p, z, betas[::-1], sizes, 2, list(range(n)))
    found, error = mean_weight(-log_w.T)
    assert float(error) < 0.15
    assert float((-found - LOG_PX[0]).abs() / error) < 4


# ---- effective draws


def test_effective_draws_by_hand():
    class Weighed(LatentModel):
        def draw(self, x, c=None, samples=1, q=None):
            log_w = torch.tensor([[1.0, 2.0], [3.0, 2.0], [4.0, 2.0]]).double().log() - 900
            return Draw(z=log_w, log_px=log_w, log_pz=torch.zeros(3, 2), log_qz=torch.zeros(3, 2))

    plain = linear_model()
    model = Weighed(plain.encoder, plain.decoder, plain.prior, LATENTS).double()
    found = importance_sampling(model, X[:2], samples=3)
    assert_close(found.effective, torch.tensor([64 / 26, 3.0], dtype=torch.float64), rtol=1e-9, atol=0)
    assert_close(found.log_px, torch.tensor([8 / 3, 2.0], dtype=torch.float64).log() - 900, rtol=1e-12, atol=0)
    assert effective_draws(found, 3).value == pytest.approx((64 / 26 + 3) / 2)


@pytest.mark.parametrize("memory", [1, 10**8])
def test_effective_draws_of_a_narrow_gaussian_target(memory):
    """q = N(m, s^2) for p = N(m, v): K / ess -> E_q w^2 / (E_q w)^2 = s^2 / sqrt(v (2 s^2 - v)) in each dimension."""
    model, v = linear_model(), POSTERIOR_COV
    with torch.no_grad():
        scale = model.posterior(X[:1]).variance[0].diag()
    second = torch.linalg.inv(2 * torch.linalg.inv(v) - torch.linalg.inv(scale))
    ratio = torch.linalg.det(second).sqrt() * torch.linalg.det(scale).sqrt() / torch.linalg.det(v)
    samples = 300 if memory == 1 else 20_000
    found = importance_sampling(model, X, samples=samples, memory=memory)
    tolerance = 0.35 if memory == 1 else 0.05
    assert_close(samples / found.effective, ratio.expand(len(X)), rtol=tolerance, atol=0)


def test_median_has_the_error_of_a_median():
    rng = np.random.default_rng(0)
    draws = rng.exponential(size=(1000, 101))
    single = [effective_draws(_found(row), 10**6).standard_error for row in draws[:200]]
    assert np.mean(single) == pytest.approx(np.median(draws, 1).std(), rel=0.1)


def _found(values):
    values = torch.from_numpy(values)
    return vk.evaluation.likelihood.Importance(values, values)


def test_trust_says_what_is_wrong():
    assert trust(1000.0, 1000) is None
    assert trust(5.0, 5) is None
    assert trust(12.0, 5000) is None
    finding = trust(2.0, 1000)
    assert "2.0 effective draws of 1,000" in finding
    assert "0.25 nats" in finding
    too_wide = effective_sample_size(linear_model(20.0), X, samples=50)
    assert too_wide.estimator.endswith("too few to trust log p(x)")
    assert "trust" not in effective_sample_size(linear_model(), X, samples=1000).estimator


# ---- a trained network


def test_on_a_trained_vae_elbo_is_below_importance_sampling_is_below_annealing():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(600, 2))
    x = (rng.random((600, 12)) < 1 / (1 + np.exp(-3 * np.sin(z @ rng.normal(size=(2, 12)))))).astype(np.uint8)
    data = vk.load(x)
    model = vk.models.vae(data.schema, latent_dim=2, hidden=(16,))
    vk.fit(model, data, epochs=8, batch_size=50, learning_rate=0.01, progress=False)
    rows = data.train.values[:30]
    bound = evaluate_elbo(model, rows, samples=200)["elbo"].value
    sampled = importance_sampling(model, rows, samples=3)
    annealed = annealed_importance_sampling_per_example(model, rows, chains=16, temperatures=100, leapfrog=5)
    many = log_likelihood(model, rows, samples=20_000).value
    assert bound < float(sampled.log_px.mean()) < many + 0.02
    assert float(annealed.mean()) == pytest.approx(many, abs=0.05)
    assert float(annealed.mean()) > bound
    both = bidirectional(model, n=30, chains=4, temperatures=60, leapfrog=4)
    assert -3 * both["gap"].standard_error < both["gap"].value < 0.3


@torch.no_grad()
def weights_of_the_prior(model, x, c=None, draws=20_000):
    """log p(x | z, c) of many codes from the prior, where no encoder and no chain can mislead."""
    z = (model.prior() if c is None else model.prior(c)).sample((draws,))
    return model.decode(z if z.dim() == 3 else z[:, None], c).log_prob(x)


@pytest.mark.parametrize(
    "keywords", [{"prior": "mixture"}, {"prior": "vamp"}, {"posterior": "box", "prior": "uniform"}]
)
def test_other_priors_agree_with_many_draws_from_the_prior(keywords):
    x = (np.random.default_rng(0).random((40, 6)) < 0.5).astype(np.uint8)
    model = vk.models.vae(vk.load(x).schema, latent_dim=2, hidden=(8,), **keywords).double()
    with torch.no_grad():
        model.decoder.network.out.weight.mul_(4)
    rows = torch.from_numpy(x[:6]).double()
    exact, its_error = mean_weight(weights_of_the_prior(model, rows))
    found, error = mean_weight(annealed_log_weights(model, rows, **FEW))
    assert float(((found - exact) / (error + its_error)).abs().max()) < 4


def test_conditions_reach_prior_and_decoder():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 60)
    x = (rng.random((60, 6)) < 0.2 + 0.3 * labels[:, None]).astype(np.uint8)
    data = vk.load(x, labels=labels)
    model = vk.models.cvae(data.schema, latent_dim=2, prior="conditional", hidden=(8,)).double()
    with torch.no_grad():
        for parameter in model.prior.parameters():
            parameter.normal_(0, 0.5)
    split = data.train
    c = torch.eye(3, dtype=torch.float64)[split.labels[:8].long()]
    exact, its_error = mean_weight(weights_of_the_prior(model, split.values[:8].double(), c))
    log_w = annealed_log_weights(model, split, chains=16, temperatures=20, leapfrog=3)[:, :8]
    found, error = mean_weight(log_w)
    assert float(((found - exact) / (error + its_error)).abs().max()) < 4
    gap = bidirectional(model, n=5, conditions=torch.eye(3)[[0, 1, 2, 0, 1]], chains=2, temperatures=20, leapfrog=3)[
        "gap"
    ]
    assert -0.05 < gap.value < 0.5
    with pytest.raises(UsageError, match=r"expected conditions \(5, 3\), got None"):
        bidirectional(model, n=5)


# ---- errors


def test_errors_say_what_is_wrong_in_one_line():
    model = linear_model()
    plain = LatentModel(model.encoder, model.decoder, None, LATENTS)
    quantised = vk.models.vqvae(vk.load(np.zeros((20, 1, 8, 8), np.uint8)).schema)
    wrong = [
        (lambda: annealed_importance_sampling(plain, X), "has no likelihood; train a vae"),
        (lambda: bidirectional(plain), "has no likelihood; train a vae"),
        (lambda: annealed_importance_sampling(quantised, torch.zeros(2, 1, 8, 8)), "continuous code .* got VQVAE"),
        (lambda: annealed_importance_sampling(model, X, chains=0), "chains 0, expected at least 1"),
        (lambda: annealed_importance_sampling(model, X, temperatures=0), "temperatures 0"),
        (lambda: annealed_importance_sampling(model, X, leapfrog=0), "leapfrog 0"),
        (lambda: annealed_importance_sampling(model, X, memory=0), "memory 0"),
        (lambda: annealed_importance_sampling(model, X, start="middle"), "expected prior or posterior"),
        (lambda: bidirectional(model, n=0), "n 0, expected at least 1"),
        (lambda: bidirectional(model, n=2, conditions=torch.zeros(2, 1)), "expected conditions None"),
        (lambda: importance_sampling(model, X, samples=0), "expected at least 1"),
    ]
    for call, message in wrong:
        with pytest.raises(UsageError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_a_start_that_does_not_cover_the_posterior_is_too_low_and_the_prior_is_not():
    """What the file warns of: from a narrow q the weights' own spread hides what is missing."""
    narrow = linear_model(0.05)
    from_q, its_error = mean_weight(
        annealed_log_weights(narrow, X, start="posterior", chains=24, temperatures=3, leapfrog=2)
    )
    assert float(((LOG_PX - from_q) / its_error).max()) > 4
    found, error = mean_weight(annealed_log_weights(narrow, X, **FEW))
    assert float(((found - LOG_PX) / error).abs().max()) < 4
