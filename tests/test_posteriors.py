"""Posteriors: densities, divergences and Jacobians against torch, SciPy, quadrature and autograd."""

import math
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Independent, MultivariateNormal, Normal, Uniform, kl_divergence
from torch.testing import assert_close

import vaekit as vk
from vaekit.conditional import Parametric
from vaekit.distributions import closed_kl, closed_kl_per_dim
from vaekit.distributions.bounds import soft_bound, unbounded
from vaekit.distributions.families import Gaussian
from vaekit.distributions.flow import fixed_points
from vaekit.distributions.full_gaussian import FullGaussian
from vaekit.distributions.posteriors import BOX, POSTERIORS, make_posterior
from vaekit.distributions.seeded import RowSeeded
from vaekit.distributions.truncated_normal import TruncatedNormal
from vaekit.errors import UsageError
from vaekit.evaluation import elbo as evaluate_elbo
from vaekit.evaluation import iwae_bound, log_likelihood_per_example
from vaekit.models import LatentModel
from vaekit.networks import MLP
from vaekit.objectives import elbo, iwae
from vaekit.priors import StandardNormal


def full(*batch, dim=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    lower = torch.randn(*batch, dim, dim, generator=g, dtype=torch.float64).tril(-1)
    scale = 0.2 + torch.rand(*batch, dim, generator=g, dtype=torch.float64)
    return FullGaussian(torch.randn(*batch, dim, generator=g, dtype=torch.float64), lower + torch.diag_embed(scale))


def diagonal(*batch, dim=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    loc = torch.randn(*batch, dim, generator=g, dtype=torch.float64)
    return Independent(Normal(loc, 0.2 + torch.rand(*batch, dim, generator=g, dtype=torch.float64)), 1)


def as_torch(d):
    return MultivariateNormal(d.loc, scale_tril=d.scale_tril)


def bent(name, dim, rows=4, seed=1, factor=8.0):
    """A posterior of that name, in double precision, whose raw values and flow are far from their start."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        family = make_posterior(name, dim).double()
        for parameter in family.parameters():
            parameter.data.mul_(factor if parameter.dim() > 1 else 1.0)
        return family(torch.randn(rows, *family.raw_shape, dtype=torch.float64)), family


# ---- full covariance


def test_full_gaussian_has_the_density_and_moments_of_torchs():
    q = full(4)
    z = q.rsample((5, 2))
    assert_close(q.log_prob(z), as_torch(q).log_prob(z), rtol=1e-12, atol=1e-12)
    assert_close(q.log_prob(z[0, 0, 0]), as_torch(q).log_prob(z[0, 0, 0]), rtol=1e-12, atol=1e-12)
    assert_close(q.covariance_matrix, as_torch(q).covariance_matrix)
    assert_close(q.variance, as_torch(q).variance)
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0]).double()] * 3)  # mean 0 and covariance I exactly
    drawn = q.from_noise(signs[:, None].expand(-1, 4, -1)) - q.mean
    assert_close(torch.einsum("kbi,kbj->bij", drawn, drawn) / len(signs), q.covariance_matrix)


@pytest.mark.parametrize("prior", [full(seed=3), full(4, seed=3), StandardNormal(3).double()(), diagonal(4, seed=5)])
def test_full_gaussian_kl_is_torchs_and_the_integral(prior):
    q, like = full(4), prior if isinstance(prior, FullGaussian) else None
    reference = like or FullGaussian(prior.base_dist.loc, torch.diag_embed(prior.base_dist.scale))
    assert_close(closed_kl(q, prior), kl_divergence(as_torch(q), as_torch(reference)), rtol=1e-12, atol=1e-12)
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    grid = torch.from_numpy(np.stack(np.meshgrid(*[nodes] * 3), -1).reshape(-1, 1, 3))
    mass = torch.from_numpy(np.einsum("i,j,k->ijk", *[weights / weights.sum()] * 3).ravel())
    z = q.from_noise(grid.expand(-1, 4, -1))
    assert_close(closed_kl(q, prior), mass @ (q.log_prob(z) - prior.log_prob(z)), rtol=1e-11, atol=1e-11)
    assert closed_kl_per_dim(q, prior) is None


def test_full_gaussian_without_covariances_is_the_diagonal_one():
    q, p = diagonal(4), diagonal(seed=7)
    same = FullGaussian(q.base_dist.loc, torch.diag_embed(q.base_dist.scale))
    z = torch.randn(6, 4, 3, dtype=torch.float64)
    assert_close(same.log_prob(z), q.log_prob(z), rtol=1e-12, atol=1e-12)
    assert_close(closed_kl(same, p), closed_kl(q, p), rtol=1e-12, atol=1e-12)
    assert_close(closed_kl(q, full(seed=3)), closed_kl(same, full(seed=3)), rtol=1e-12, atol=1e-12)


def test_full_family_reads_back_the_gaussian_it_is_told():
    q = full(4)
    family = make_posterior("full", 3).double()
    again = family(family.raw_of(q.loc, q.scale_tril))
    assert_close(again.loc, q.loc)
    assert_close(again.scale_tril, q.scale_tril, rtol=1e-12, atol=1e-12)
    values = torch.tensor([-7.9, -3.0, 0.0, 3.9], dtype=torch.float64)
    assert_close(soft_bound(unbounded(values, -8.0, 4.0), -8.0, 4.0), values, rtol=1e-12, atol=1e-12)


# ---- a linear model whose loadings are not orthogonal: its exact posterior has covariances

LATENTS, SIZE, VARIANCE = 2, 5, 0.4
RNG = np.random.default_rng(8)
W, B, ROWS = RNG.normal(size=(SIZE, LATENTS)), RNG.normal(size=SIZE), RNG.normal(size=(9, SIZE)) * 1.5
X = torch.from_numpy(ROWS)
LOG_PX = torch.from_numpy(stats.multivariate_normal(B, W @ W.T + VARIANCE * np.eye(SIZE)).logpdf(ROWS))


def linear_model(family, raw_of):
    """p(x | z) = N(W z + b, s2 I); q's mean is the posterior's, its spread what `raw_of(covariance)` makes of it."""
    covariance = np.linalg.inv(np.eye(LATENTS) + W.T @ W / VARIANCE)
    slope = covariance @ W.T / VARIANCE
    encoder = MLP((SIZE,), (math.prod(family.raw_shape),), ()).double()
    decoder = MLP((LATENTS,), (1, SIZE), ()).double()
    with torch.no_grad():
        encoder.out.weight.zero_()[:LATENTS] = torch.from_numpy(slope)
        encoder.bias.copy_(raw_of(torch.from_numpy(-slope @ B), torch.from_numpy(covariance)).flatten())
        decoder.out.weight.copy_(torch.from_numpy(W))
        decoder.bias.copy_(torch.from_numpy(B)[None])
    network = torch.nn.Sequential(encoder, torch.nn.Unflatten(-1, family.raw_shape))
    likelihood = Parametric(decoder, Gaussian((SIZE,), sigma=math.sqrt(VARIANCE)))
    return LatentModel(Parametric(network, family), likelihood, StandardNormal(LATENTS), LATENTS).double()


def exact_model():
    family = make_posterior("full", LATENTS).double()
    return linear_model(family, lambda m, v: family.raw_of(m, torch.linalg.cholesky(v)))


BOUNDS = {f"elbo-{k}": partial(elbo, kl="sampled", samples=k) for k in (1, 4)}
BOUNDS |= {f"iwae-{k}": partial(iwae, samples=k) for k in (1, 3, 7)}


@pytest.mark.parametrize("name", BOUNDS)
def test_every_bound_is_log_px_under_the_exact_full_posterior(name):
    assert_close(-BOUNDS[name](exact_model(), vk.Batch(X)).loss, LOG_PX, rtol=0, atol=1e-9)


def test_importance_sampling_and_closed_elbo_are_log_px_under_the_exact_full_posterior():
    model = exact_model()
    for samples in (1, 3, 300):
        assert_close(log_likelihood_per_example(model, X, samples=samples), LOG_PX, rtol=0, atol=1e-9)
    assert iwae_bound(model, X, samples=3).value == pytest.approx(float(LOG_PX.mean()), abs=1e-9)
    # the distortion is quadratic in the noise, whose sign points have the right mean and covariance
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0]).double()] * LATENTS)[:, None].expand(-1, len(X), -1)
    q = model.posterior(X)
    distortion = -model.decode(q.from_noise(signs)).log_prob(X).mean(0)
    assert_close(-(distortion + closed_kl(q, model.prior())), LOG_PX, rtol=0, atol=1e-9)
    found = evaluate_elbo(model, X, samples=2000)
    assert found["elbo"].value == pytest.approx(float(LOG_PX.mean()), abs=0.03)
    assert "closed-form" in found["kl"].estimator


def test_the_best_diagonal_posterior_leaves_the_gap_that_mean_field_theory_says():
    """KL(mean-field, exact) = 1/2 (sum_d log precision_dd - log det precision): the gap that covariances close."""
    family = make_posterior("diagonal", LATENTS).double()

    def mean_field(m, v):
        variance = 1 / torch.linalg.inv(v).diagonal()
        return torch.stack([m, unbounded(variance.log(), -16.0, 8.0)])

    model = linear_model(family, mean_field)
    precision = np.eye(LATENTS) + W.T @ W / VARIANCE
    gap = 0.5 * (np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1])
    assert gap > 0.01
    found = evaluate_elbo(model, X, samples=4000)["elbo"].value
    assert found == pytest.approx(float(LOG_PX.mean()) - gap, abs=0.02)
    assert_close(log_likelihood_per_example(model, X, samples=4000), LOG_PX, rtol=0, atol=0.1)


# ---- the box


LOCATIONS = torch.tensor([-1.7, -1.0, 0.0, 0.6, 1.73], dtype=torch.float64)
SCALES = torch.tensor([0.01, 0.3, 1.0, 5.0], dtype=torch.float64)[:, None]


def boxed():
    q = TruncatedNormal(*torch.broadcast_tensors(LOCATIONS, SCALES), -BOX, BOX)
    return q, stats.truncnorm(q.alpha.numpy(), q.beta.numpy(), q.loc.numpy(), q.scale.numpy())


def test_truncated_normal_is_scipys():
    q, reference = boxed()
    z = q.rsample((50,))
    assert (z.abs() < BOX).all()
    assert_close(q.log_prob(z), torch.from_numpy(reference.logpdf(z.numpy())), rtol=1e-9, atol=1e-9)
    assert (q.log_prob(torch.tensor(1.8)) == -math.inf).all()
    assert_close(q.mean, torch.from_numpy(reference.mean()), rtol=1e-9, atol=1e-9)
    assert_close(q.variance, torch.from_numpy(reference.var()), rtol=1e-7, atol=1e-9)
    assert_close(q.entropy(), torch.from_numpy(reference.entropy()), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 2e-5)])
def test_noise_is_carried_to_the_same_quantile(dtype, tolerance):
    q = TruncatedNormal(*(t.to(dtype) for t in torch.broadcast_tensors(LOCATIONS, SCALES)), -BOX, BOX)
    noise = torch.linspace(-5, 5, 101, dtype=dtype)[:, None, None].expand(101, *q.batch_shape)
    z, (_, reference) = q.from_noise(noise), boxed()
    assert (z[1:] >= z[:-1]).all()
    expected = torch.from_numpy(reference.ppf(stats.norm.cdf(noise.double().numpy())))
    assert_close(z.double(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("prior", [Uniform(-BOX, BOX), Normal(0.3, 0.8)], ids=["uniform", "normal"])
def test_truncated_normal_kl_is_the_integral(prior):
    q, reference = boxed()
    # equal masses of q: the midpoint rule in the quantile
    quantiles = (np.arange(20_000) + 0.5) / 20_000
    z = torch.from_numpy(reference.ppf(quantiles[:, None, None]))
    integral = (q.log_prob(z) - prior.log_prob(z)).mean(0)
    assert_close(kl_divergence(q, prior).double(), integral, rtol=0, atol=2e-4)


def test_box_posterior_reaches_the_uniform_prior_and_never_leaves_it():
    family = make_posterior("box", 2)
    wide = family(torch.tensor([[0.0, 0.0], [1e6, 1e6]]))
    prior = Independent(Uniform(torch.full((2,), -BOX), torch.full((2,), BOX)), 1)
    assert closed_kl(wide, prior).item() == pytest.approx(0, abs=2e-5)
    for raw in (torch.full((2, 2), 1e6), torch.full((2, 2), -1e6), torch.tensor([[1e6, -1e6], [-1e6, -1e6]])):
        q = family(raw)
        z = q.rsample((2000,))
        assert torch.isfinite(prior.log_prob(z)).all()
        assert torch.isfinite(closed_kl(q, prior))
        assert torch.isfinite(q.log_prob(z)).all()
    outside = Independent(TruncatedNormal(torch.zeros(2), torch.ones(2), -2.0, 2.0), 1)
    assert closed_kl(outside, prior).item() == math.inf


def test_truncated_normal_gradients_agree_with_differences():
    loc, scale = LOCATIONS[1:4].clone().requires_grad_(), torch.tensor([0.2, 0.9, 3.0]).double().requires_grad_()
    noise = torch.tensor([-1.3, 0.4, 2.1]).double()

    def everything(loc, scale):
        q = TruncatedNormal(loc, scale, -BOX, BOX)
        z = q.from_noise(noise)
        return z, q.log_prob(z), q.mean, q.entropy()

    assert torch.autograd.gradcheck(everything, (loc, scale))


# ---- flows


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_flow_log_det_is_the_jacobians(dim):
    q, _ = bent("flow", dim)
    noise = 1.5 * torch.randn(4, dim, dtype=torch.float64)
    z = q.from_noise(noise)
    jacobian = torch.stack([torch.autograd.functional.jacobian(q.from_noise, noise)[i, :, i] for i in range(4)])
    log_base = Independent(Normal(torch.zeros(dim).double(), 1.0), 1).log_prob(noise)
    assert_close(q.log_prob(z), log_base - torch.linalg.slogdet(jacobian)[1], rtol=1e-9, atol=1e-9)
    back, _ = q.transform.call_and_ladj((z - q.loc) / q.scale)
    assert_close(back, noise, rtol=0, atol=1e-8)
    linear = q.loc + q.scale * noise
    assert (z - linear).abs().max() > 0.1, "the flow is still the identity, this test says nothing"


def test_flow_density_integrates_to_one_in_one_dimension():
    q, _ = bent("flow", 1, rows=3, factor=3.0)
    t = torch.linspace(-14, 14, 40_001, dtype=torch.float64)
    with torch.no_grad():
        density = q.log_prob(q.loc + q.scale * t[:, None, None]).exp()
    assert_close(torch.trapezoid(density, t, dim=0) * q.scale[:, 0], torch.ones(3).double(), rtol=0, atol=1e-6)


def test_flow_density_integrates_to_one_in_two_dimensions():
    q, _ = bent("flow", 2, rows=1, factor=3.0)
    t = torch.linspace(-7, 7, 281, dtype=torch.float64)
    grid = torch.cartesian_prod(t, t)[:, None]
    with torch.no_grad():
        density = q.log_prob(q.loc + q.scale * grid).exp().view(281, 281)
    mass = torch.trapezoid(torch.trapezoid(density, t), t) * q.scale.prod()
    assert mass.item() == pytest.approx(1, abs=2e-3)


def test_a_flows_mean_is_deterministic_near_the_true_one_and_exact_where_it_is_linear():
    q, family = bent("flow", 2, rows=3, factor=3.0)
    assert torch.equal(q.mean, q.mean)
    with torch.no_grad():
        drawn = q.rsample((40_000,))
    assert ((q.mean - drawn.mean(0)).abs() / q.scale).max() < 0.05
    assert (q.variance.sqrt() / drawn.std(0) - 1).abs().max() < 0.1
    for parameter in family.parameters():
        parameter.data.zero_()
    plain = family(torch.randn(3, *family.raw_shape, dtype=torch.float64))
    assert_close(plain.mean, plain.loc, rtol=0, atol=1e-9)
    assert_close(plain.variance, plain.scale**2, rtol=1e-6, atol=0)
    points = fixed_points(5)
    assert_close(points.square().mean(0), torch.ones(5).double())


@pytest.mark.parametrize("dim", [1, 2])
def test_flow_gradients_agree_with_differences(dim):
    _, family = bent("flow", dim)
    raw = torch.randn(2, *family.raw_shape, dtype=torch.float64, requires_grad=True)
    noise, z = torch.randn(2, 2, dim, dtype=torch.float64).unbind()

    def both(raw):
        q = family(raw)
        return q.from_noise(noise), q.log_prob(z)

    assert torch.autograd.gradcheck(both, (raw,))


def test_a_flow_can_be_what_no_gaussian_is():
    """One-dimensional flows are not affine: their skewness is not 0."""
    q, _ = bent("flow", 1, rows=8)
    with torch.no_grad():
        z = q.rsample((20_000,))
    skew = stats.skew(z.squeeze(-1).numpy(), axis=0)
    assert np.abs(skew).max() > 0.2


def test_zuko_is_imported_when_it_is_needed_and_leaves_torchs_checks_on():
    code = (
        "import sys, torch, vaekit as vk; vk.models.vae(vk.Schema('vector', (3,)));"
        "print('zuko' in sys.modules); vk.models.vae(vk.Schema('vector', (3,)), posterior='flow');"
        "print('zuko' in sys.modules, torch.distributions.Distribution._validate_args)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "True"]


# ---- every posterior


@pytest.mark.parametrize("dim", [1, 3])
@pytest.mark.parametrize("name", POSTERIORS)
def test_a_seeded_row_has_its_own_stream_whatever_the_posterior(name, dim):
    q, _ = bent(name, dim, rows=4)
    state = torch.get_rng_state()
    together = RowSeeded(q, [11, 22, 33, 22]).rsample((200,))
    assert torch.equal(torch.get_rng_state(), state)
    divided = RowSeeded(q, [11, 22, 33, 22])
    assert_close(torch.cat([divided.rsample((k,)) for k in (3, 150, 47)]), together, rtol=1e-12, atol=1e-12)
    assert_close(
        q.log_prob(together), q.log_prob(together[:, :, None].expand(-1, -1, 4, -1).diagonal(dim1=1, dim2=2).mT)
    )


@pytest.mark.parametrize("name", POSTERIORS)
def test_extreme_raw_values_stay_finite(name):
    family = make_posterior(name, 3)
    for value in (-1e4, 1e4):
        q = family(torch.full((2, *family.raw_shape), value))
        z = q.rsample((5,))
        assert torch.isfinite(z).all()
        assert torch.isfinite(q.log_prob(z)).all()


@pytest.mark.parametrize("name", POSTERIORS)
def test_a_posterior_starts_at_its_mean(name):
    family = make_posterior(name, 3).double()
    mean = torch.tensor([0.3, -0.8, 1.1]).double()
    expected = BOX * torch.tanh(mean / BOX) if name == "box" else mean
    q = family(family.start(mean))
    centre = q.base_dist.loc if name == "box" else q.mean
    assert_close(centre, expected, rtol=0, atol=0.15 if name == "flow" else 1e-9)


def test_an_unknown_posterior_is_refused():
    with pytest.raises(UsageError, match="posterior 'student': expected one of diagonal, full, flow, box"):
        make_posterior("student", 2)


def test_without_its_kl_the_posteriors_variance_falls():
    """Why the KL is there: with beta = 0 nothing but the floor stops sigma."""
    data, sigma = vk.load("digits"), {}
    for beta in (0.0, 1.0):
        torch.manual_seed(0)
        model = vk.models.vae(data.schema, latent_dim=2, hidden=(64,), likelihood="gaussian", sigma=0.1)
        vk.fit(model, data, partial(elbo, beta=beta), epochs=12, batch_size=64, learning_rate=5e-3, progress=False)
        with torch.no_grad():
            sigma[beta] = model.posterior(data.test.rows(slice(None))).variance.sqrt().mean().item()
    assert sigma[0.0] < 0.5 * sigma[1.0]
