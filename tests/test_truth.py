"""The numbers are true: a model whose log p(x) is known, probabilistic PCA, closed forms against quadrature."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.decomposition import PCA, FactorAnalysis
from torch.distributions import Independent, Normal
from torch.testing import assert_close

import vaekit as vk
from vaekit.conditional import Parametric
from vaekit.distributions import closed_kl, closed_kl_per_dim
from vaekit.distributions.bounds import soft_bound
from vaekit.distributions.families import Gaussian
from vaekit.distributions.posteriors import DiagonalGaussian
from vaekit.evaluation import elbo as evaluate_elbo
from vaekit.evaluation import iwae_bound, log_likelihood, log_likelihood_per_example
from vaekit.models import LatentModel
from vaekit.networks import MLP
from vaekit.objectives import elbo, iwae
from vaekit.priors import StandardNormal

Batch = vk.Batch
LATENTS, SIZE, VARIANCE = 2, 6, 0.3
RNG = np.random.default_rng(5)
# orthogonal columns, so that the exact posterior is diagonal
W = np.linalg.qr(RNG.normal(size=(SIZE, LATENTS)))[0] * [1.7, 0.6]
B, ROWS = RNG.normal(size=SIZE), RNG.normal(size=(12, SIZE)) * 1.5
WEIGHT, BIAS, X = torch.from_numpy(W), torch.from_numpy(B), torch.from_numpy(ROWS)
LOG_PX = torch.from_numpy(stats.multivariate_normal(B, W @ W.T + VARIANCE * np.eye(SIZE)).logpdf(ROWS))


def unbound(y, low=-16.0, high=8.0):
    """The raw value that `soft_bound` takes to y."""

    def inverse_softplus(v):
        return v + torch.log(-torch.expm1(-v))

    return high - inverse_softplus(high - low - inverse_softplus(y - low))


def linear_model(shift=0.0, widen=1.0):
    """p(x | z) = N(W z + b, s2 I) and its exact posterior, or one off by `shift` and `widen` standard deviations."""
    gram = (WEIGHT**2).sum(0)
    variance = VARIANCE / (VARIANCE + gram)
    encoder = MLP((SIZE,), (2, LATENTS), ()).double()
    decoder = MLP((LATENTS,), (1, SIZE), ()).double()
    slope = (WEIGHT / (VARIANCE + gram)).T
    with torch.no_grad():
        encoder.out.weight.copy_(torch.cat([slope, torch.zeros_like(slope)]))
        encoder.bias.copy_(torch.stack([shift * variance.sqrt() - slope @ BIAS, unbound((widen**2 * variance).log())]))
        decoder.out.weight.copy_(WEIGHT)
        decoder.bias.copy_(BIAS[None])
    posterior = Parametric(encoder, DiagonalGaussian(LATENTS))
    likelihood = Parametric(decoder, Gaussian((SIZE,), sigma=math.sqrt(VARIANCE)))
    return LatentModel(posterior, likelihood, StandardNormal(LATENTS), LATENTS).double()


class GivenNoise(Normal):
    """A Normal whose draws are loc + scale * noise for the noise it was given."""

    def __init__(self, base, noise):
        super().__init__(base.loc, base.scale, validate_args=False)
        self.noise = noise

    def rsample(self, sample_shape=()):
        return self.loc + self.scale * self.noise


class SignPoints:
    """A model whose noise is every vector of signs: mean 0 and covariance I exactly, so E_q of a quadratic is exact."""

    def __init__(self, model):
        self.model = model

    def draw(self, x, c=None, samples=1):
        signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0]).double()] * LATENTS)[:, None]
        q = Independent(GivenNoise(self.model.posterior(x).base_dist, signs), 1)
        return self.model.draw(x, c, samples, q)


# ---- a model whose log p(x) is known, with its exact posterior: every bound and estimate is log p(x)

EXACT = {"elbo-1": partial(elbo, kl="sampled"), "elbo-4": partial(elbo, kl="sampled", samples=4)}
EXACT |= {f"iwae-{k}": partial(iwae, samples=k) for k in (1, 3, 7)}


@pytest.mark.parametrize("name", EXACT)
def test_every_bound_is_log_px_under_the_exact_posterior(name):
    terms = EXACT[name](linear_model(), Batch(X))
    assert_close(-terms.loss, LOG_PX, rtol=0, atol=1e-9)


def test_elbo_with_closed_kl_is_log_px_under_the_exact_posterior():
    terms = elbo(SignPoints(linear_model()), Batch(X), samples=2**LATENTS)
    assert_close(-terms.loss, LOG_PX, rtol=0, atol=1e-9)
    assert_close(terms.rate + terms.distortion, terms.loss, rtol=0, atol=1e-12)


@pytest.mark.parametrize("samples", [1, 3, 7, 300])
def test_importance_sampling_is_log_px_under_the_exact_posterior(samples):
    model = linear_model()
    assert_close(log_likelihood_per_example(model, X, samples=samples), LOG_PX, rtol=0, atol=1e-9)
    assert iwae_bound(model, X, samples=samples).value == pytest.approx(float(LOG_PX.mean()), abs=1e-9)


def test_evaluated_elbo_is_log_px_less_the_posteriors_error():
    off = evaluate_elbo(linear_model(0.5, 1.3), X, samples=4000)
    gap = LATENTS * (0.5 * (0.5**2 + 1.3**2 - 1) - math.log(1.3))
    # 4,000 draws of 12 rows leave about 0.006 nats of noise
    assert off["elbo"].value == pytest.approx(float(LOG_PX.mean()) - gap, abs=0.03)
    assert off["elbo"].value == pytest.approx(-(off["kl"].value + off["distortion"].value), abs=1e-12)


def test_bounds_rise_from_elbo_to_log_px():
    model, rows = linear_model(0.6, 1.6), X[:4].repeat(4000, 1)
    objectives = [elbo, *(partial(iwae, samples=k) for k in (2, 3, 8, 40))]
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(1)
        values = [-objective(model, Batch(rows)).loss for objective in objectives]
        single = -iwae(model, Batch(rows), samples=1).loss
    means = [float(v.mean()) for v in values]
    # the rows repeat, so the noise of a mean is the spread about each row's own mean
    errors = [float((v.view(-1, 4) - v.view(-1, 4).mean(0)).std()) / math.sqrt(len(rows)) for v in values]
    steps = [(b - a) / math.hypot(s, t) for a, b, s, t in zip(means, means[1:], errors, errors[1:], strict=False)]
    assert min(steps) > 4
    assert means[-1] < float(LOG_PX[:4].mean()) + 4 * errors[-1]
    exact = float(LOG_PX[:4].mean()) - LATENTS * (0.5 * (0.6**2 + 1.6**2 - 1) - math.log(1.6))
    assert means[0] == pytest.approx(exact, abs=5 * errors[0])
    assert float(single.mean()) == pytest.approx(exact, abs=0.1)


# ---- a linear VAE is probabilistic PCA (Tipping & Bishop, 1999; Lucas et al., NeurIPS 2019)


def test_linear_vae_reaches_the_maximum_likelihood_of_probabilistic_pca():
    rng, size = np.random.default_rng(0), 10
    loadings = np.linalg.qr(rng.normal(size=(size, LATENTS)))[0] * [4.0, 2.0]
    x = rng.normal(size=(1000, LATENTS)) @ loadings.T + 0.7 * rng.normal(size=(1000, size)) + rng.normal(size=size)
    data = vk.load(x * rng.uniform(0.3, 4, size))
    standard, log_scale = standardised(data)
    best, sigma, rate = maximum_likelihood(standard, LATENTS)
    model = vk.models.vae(data.schema, latent_dim=LATENTS, hidden=(), likelihood="gaussian", sigma="shared")
    vk.fit(model, data, epochs=100, batch_size=100, learning_rate=0.02, learning_rate_decay="cosine", progress=False)
    assert_close(model.encoder.network[0](data.train.values).double(), torch.from_numpy(standard), rtol=0, atol=1e-5)
    found = evaluate_elbo(model, data.train, samples=50)
    assert found["elbo"].value == pytest.approx(best - log_scale, abs=0.01)
    assert log_likelihood(model, data.train, samples=50).value == pytest.approx(best - log_scale, abs=0.01)
    assert found["kl"].value == pytest.approx(rate, abs=0.03)
    learned = soft_bound(model.decoder.family.sigma.log_sigma, -7.0, 7.0).exp()
    assert learned.item() == pytest.approx(sigma, rel=0.01)


def standardised(data):
    """The training rows as the model's network sees them, and the log-determinant that its densities carry."""
    rows, scale = data.train.values.double().numpy(), np.array(data.schema.scale)
    return (rows - np.array(data.schema.shift)) / scale, np.log(scale).sum()


def maximum_likelihood(x, q):
    """Nats per example, sigma and mean KL of probabilistic PCA with q components, from the covariance's eigenvalues."""
    n, size = x.shape
    values = np.linalg.eigvalsh(np.cov(x.T, bias=True))[::-1]
    noise = values[q:].mean()
    best = -0.5 * (size * math.log(2 * math.pi) + np.log(values[:q]).sum() + (size - q) * math.log(noise) + size)
    # scikit-learn divides by n - 1, which widens its covariance by n / (n - 1)
    widened = best + 0.5 * size * (1 / n + math.log1p(-1 / n))
    assert PCA(q).fit(x).score(x) == pytest.approx(widened, abs=1e-9)
    return best, math.sqrt(noise), 0.5 * np.log(values[:q] / noise).sum()


# ---- KL


@pytest.mark.parametrize("mean", [-3.0, 0.0, 0.4, 20.0])
@pytest.mark.parametrize("std", [0.003, 0.5, 1.0, 7.0])
def test_closed_kl_is_the_integral(mean, std):
    nodes, weights = np.polynomial.hermite_e.hermegauss(12)
    at = mean + std * nodes
    integral = (weights / weights.sum()) @ (stats.norm(mean, std).logpdf(at) - stats.norm.logpdf(at))
    q = Independent(Normal(*torch.tensor([[[mean, 0.0]], [[std, 1.0]]], dtype=torch.float64).unbind()), 1)
    p = StandardNormal(2).double()()
    expected = torch.tensor([[integral, 0.0]], dtype=torch.float64)
    assert_close(closed_kl_per_dim(q, p), expected, rtol=1e-12, atol=1e-10)
    assert_close(closed_kl(q, p), expected.sum(1), rtol=1e-12, atol=1e-10)


# ---- evaluation: the stated number of draws, one pass of the encoder, the same figure every time


def counted(model, **keywords):
    """Rows that went through encoder and decoder in each call, without those that find out what a draw is and costs."""
    seen = {"encoder": [], "decoder": []}

    def watch(part):
        return getattr(model, part).register_forward_hook(
            lambda m, given, out: seen[part].append(given[0][..., 0].numel())
        )

    hooks = [watch(part) for part in seen]
    values = log_likelihood_per_example(model, X, **keywords)
    for hook in hooks:
        hook.remove()
    return values, seen["encoder"][3:], seen["decoder"][2:]


@pytest.mark.parametrize("samples", [1, 37, 300])
@pytest.mark.parametrize("memory", [1, 10_000, 10**9])
def test_exactly_k_draws_and_one_pass_of_the_encoder(samples, memory):
    values, encoded, decoded = counted(linear_model(0.3, 1.2), samples=samples, memory=memory)
    assert sum(decoded) == samples * len(X)
    assert sum(encoded) == len(X)
    if memory == 10**9:
        assert (len(encoded), len(decoded)) == (1, 1)
    if memory == 1:
        assert set(decoded) == {1}
    reference, *_ = counted(linear_model(0.3, 1.2), samples=samples)
    assert_close(values, reference, rtol=1e-12, atol=1e-12)


def test_evaluation_depends_on_row_model_and_seed_alone():
    model, state = linear_model(0.3, 1.2), torch.get_rng_state()
    first = log_likelihood_per_example(model, X, samples=20)
    bounds = evaluate_elbo(model, X)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    assert torch.equal(log_likelihood_per_example(model, X, samples=20), first)
    assert evaluate_elbo(model, X) == bounds
    others = log_likelihood_per_example(model, X.flip(0)[3:7], samples=20)
    assert_close(others, first.flip(0)[3:7], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(log_likelihood_per_example(model, X, samples=20, seed=1), first, atol=1e-3)


# ---- factor analysis: one noise variance for each element, against scikit-learn


def test_importance_sampling_of_a_factor_analyser_is_scikit_learns():
    """p(x | z) = N(W z + b, diag(s^2)) fitted by scikit-learn, its parameters put into a decoder."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, LATENTS)) @ W.T + rng.normal(size=(400, SIZE)) * np.linspace(0.3, 1.2, SIZE) + B
    theirs = FactorAnalysis(LATENTS).fit(x)
    loadings, noise = theirs.components_.T, theirs.noise_variance_
    precision = np.eye(LATENTS) + loadings.T @ (loadings / noise[:, None])
    slope = torch.from_numpy(np.linalg.solve(precision, (loadings / noise[:, None]).T))
    mean, variance = torch.from_numpy(theirs.mean_), torch.from_numpy(np.diag(np.linalg.inv(precision)).copy())
    encoder, decoder = MLP((SIZE,), (2, LATENTS), ()).double(), MLP((LATENTS,), (2, SIZE), ()).double()
    with torch.no_grad():
        encoder.out.weight.copy_(torch.cat([slope, torch.zeros_like(slope)]))
        encoder.bias.copy_(torch.stack([-slope @ mean, unbound((1.5 * variance).log())]))
        decoder.out.weight.copy_(torch.cat([torch.from_numpy(loadings), torch.zeros(SIZE, LATENTS)]))
        decoder.bias.copy_(torch.stack([mean, unbound(torch.from_numpy(noise).log() / 2, -7.0, 7.0)]))
    posterior, likelihood = (
        Parametric(encoder, DiagonalGaussian(LATENTS)),
        Parametric(decoder, Gaussian((SIZE,), "element")),
    )
    ours = LatentModel(posterior, likelihood, StandardNormal(LATENTS), LATENTS).double()
    found = log_likelihood_per_example(ours, torch.from_numpy(x[:20]), samples=10_000)
    assert_close(found, torch.from_numpy(theirs.score_samples(x[:20])), rtol=0, atol=0.05)
