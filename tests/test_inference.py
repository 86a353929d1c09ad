"""Variational inference for any log-density: exact on Gaussians, and by quadrature on what is not Gaussian."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, StudentT
from torch.testing import assert_close

import vaekit as vk
from vaekit.distributions.posteriors import DiagonalGaussian, Mixture
from vaekit.errors import UsageError
from vaekit.inference import Target, forward_kl, reverse_kl
from vaekit.objectives import elbo, iwae
from vaekit.priors import Learned

F64 = torch.float64
MEAN = torch.tensor([1.0, -2.0, 0.5], dtype=F64)
COVARIANCE = torch.tensor([[2.0, 1.2, 0.3], [1.2, 1.0, 0.1], [0.3, 0.1, 0.5]], dtype=F64)
PRECISION = torch.linalg.inv(COVARIANCE)
LOG_Z = 1.7
ONE = vk.Batch(torch.zeros(1, 1))
EXACT = {"steps": 400, "learning_rate": 0.1, "dtype": F64}


def gaussian(z):
    """log f of N(MEAN, COVARIANCE), with log Z = LOG_Z."""
    off = z - MEAN
    return LOG_Z - 0.5 * ((off @ PRECISION * off).sum(-1) + 3 * math.log(2 * math.pi) + torch.logdet(COVARIANCE))


def two_modes(apart=3.0, share=0.3, scale=0.5):
    """A mixture in one dimension: `share` of the mass at -apart, the rest at +apart."""
    weights = Categorical(probs=torch.tensor([share, 1 - share], dtype=F64))
    locs = torch.tensor([[-apart], [apart]], dtype=F64)
    return MixtureSameFamily(weights, Independent(Normal(locs, torch.full_like(locs, scale)), 1))


# ---- Gaussian targets, exactly


@pytest.mark.parametrize("gradient", ["path", "score"])
def test_a_full_gaussian_finds_a_gaussian_exactly(gradient):
    result = vk.inference.fit(gaussian, 3, "full", gradient=gradient, **EXACT | {"steps": 700})
    assert_close(result.q.mean, MEAN, rtol=0, atol=1e-4)
    assert_close(result.q.covariance_matrix, COVARIANCE, rtol=0, atol=1e-4)
    assert result.elbo.value == pytest.approx(LOG_Z, abs=1e-6)
    assert result.log_evidence.value == pytest.approx(LOG_Z, abs=1e-6)
    assert result.log_evidence.standard_error < 1e-4
    assert result.effective_samples == pytest.approx(10_000, rel=1e-6)


@pytest.mark.parametrize("gradient", ["path", "reparameterised", "score"])
def test_mean_field_is_too_narrow_by_just_as_much_as_it_must(gradient):
    """The minimum of KL(q, p) over diagonal q has the variances 1 / P_ii (Bishop, 2006, section 10.1.2)."""
    result = vk.inference.fit(gaussian, 3, gradient=gradient, samples=500, **EXACT, evaluation_samples=100_000)
    assert_close(result.q.mean, MEAN, rtol=0, atol=0.03)
    assert_close(result.q.variance, 1 / PRECISION.diagonal(), rtol=0.03, atol=0)
    assert (result.q.variance < 0.75 * COVARIANCE.diagonal())[:2].all()
    gap = 0.5 * float(PRECISION.diagonal().log().sum() - torch.logdet(PRECISION))
    assert LOG_Z - result.elbo.value == pytest.approx(gap, abs=0.02)
    assert abs(result.log_evidence.value - LOG_Z) < 5 * result.log_evidence.standard_error + 0.05


def test_forward_kl_has_the_moments_of_the_target():
    """The minimum of KL(p, q) over diagonal q has p's own variances."""
    draws = Independent(Normal(0.0, 1.0).expand([4000, 3]), 1).sample().to(F64) @ torch.linalg.cholesky(COVARIANCE).T
    draws = draws + MEAN
    given = vk.inference.fit(gaussian, 3, divergence="forward", given=draws, **EXACT)
    assert_close(given.q.mean, draws.mean(0), rtol=0, atol=1e-3)
    assert_close(given.q.variance, draws.var(0, correction=0), rtol=2e-3, atol=0)
    keywords = {**EXACT, "steps": 600, "start_scale": 3.0}
    weighted = vk.inference.fit(gaussian, 3, "full", divergence="forward", samples=500, **keywords)
    assert_close(weighted.q.mean, MEAN, rtol=0, atol=1e-3)
    assert_close(weighted.q.covariance_matrix, COVARIANCE, rtol=0, atol=1e-3)


def test_draws_alone_are_enough_for_a_forward_kl():
    draws = two_modes().sample((2000,))
    result = vk.inference.fit(None, 1, "full", divergence="forward", given=draws, **EXACT)
    assert result.q.mean.item() == pytest.approx(draws.mean().item(), abs=2e-3)
    assert (result.elbo, result.log_evidence, result.effective_samples) == (None, None, None)


# ---- two modes


def test_reverse_kl_seeks_a_mode_and_forward_kl_covers_both():
    p = two_modes()
    found = vk.inference.fit(p.log_prob, 1, **EXACT)
    assert abs(found.q.mean.item()) == pytest.approx(3.0, abs=1e-3)
    assert found.q.stddev.item() == pytest.approx(0.5, abs=1e-3)
    share = 0.3 if found.q.mean.item() < 0 else 0.7
    # the other mode is out of reach of q, which misses its mass: the ELBO is short of log Z = 0 by -log(share)
    assert found.elbo.value == pytest.approx(math.log(share), abs=1e-4)
    covers = vk.inference.fit(
        p.log_prob, 1, divergence="forward", samples=2000, start_scale=4.0, **EXACT, evaluation_samples=100_000
    )
    assert covers.q.mean.item() == pytest.approx(p.mean.item(), abs=0.05)
    assert covers.q.variance.item() == pytest.approx(p.variance.item(), rel=0.03)
    assert abs(covers.log_evidence.value) < 5 * covers.log_evidence.standard_error
    assert covers.elbo.value < -0.5


def test_a_mixture_finds_both_modes_by_reverse_kl():
    p = two_modes()
    result = vk.inference.fit(p.log_prob, 1, "mixture", components=4, start_scale=3.0, **EXACT | {"steps": 600})
    assert result.elbo.value == pytest.approx(0.0, abs=0.01)
    assert result.effective_samples > 9_800
    below = (result.q.sample((40_000,)) < 0).double()
    assert below.mean().item() == pytest.approx(0.3, abs=0.02)


# ---- gradients of both divergences, against quadrature


def bumpy():
    """A mixture q whose two components overlap, in one dimension, at fixed parameters."""
    torch.manual_seed(4)
    q = Learned(Mixture(DiagonalGaussian(1), 2)).to(F64)
    with torch.no_grad():
        q.raw.copy_(torch.tensor([[0.4, -0.7, -0.5], [-0.3, 0.9, 0.6]]))
    return q


def skewed(z):
    return (-0.5 * z.square() + torch.tanh(2 * z) - 0.1 * z**4).sum(-1)


def by_quadrature(q, integrand):
    """The integral over one dimension, and its gradient by q's raw value."""
    nodes, weights = np.polynomial.legendre.leggauss(300)
    z, w = 12 * torch.from_numpy(nodes)[:, None], 12 * torch.from_numpy(weights)
    value = (w * integrand(z)).sum()
    return value.item(), torch.autograd.grad(value, q.raw)[0]


def by_draws(objective, q, blocks=40):
    """Mean loss and gradient of many calls, with the standard error of the gradient."""
    values, slopes = [], []
    for _ in range(blocks):
        loss = objective(Target(q, skewed), ONE).loss.mean()
        values.append(loss.item())
        slopes.append(torch.autograd.grad(loss, q.raw)[0])
    slopes = torch.stack(slopes)
    return np.mean(values), np.std(values) / math.sqrt(blocks), slopes.mean(0), slopes.std(0) / math.sqrt(blocks)


@pytest.mark.parametrize("gradient", ["path", "reparameterised", "score"])
def test_the_reverse_kl_of_a_mixture_and_its_gradient_are_the_integral(gradient):
    q = bumpy()

    def integrand(z):
        return q().log_prob(z).exp() * (q().log_prob(z) - skewed(z))

    exact, slope = by_quadrature(q, integrand)
    value, error, found, spread = by_draws(partial(reverse_kl, samples=2000, gradient=gradient), q)
    assert value == pytest.approx(exact, abs=5 * error)
    assert ((found - slope).abs() < 5 * spread + 1e-12).all()
    assert (spread < 0.05 * slope.abs().max()).all()


def test_the_forward_kl_and_its_gradient_are_the_integral():
    q = bumpy()
    with torch.no_grad():
        z = torch.linspace(-12, 12, 20_001, dtype=F64)[:, None]
        log_z = torch.logsumexp(skewed(z), 0) + math.log(24 / 20_000)
    exact, slope = by_quadrature(q, lambda z: -(skewed(z) - log_z).exp() * q().log_prob(z))
    value, error, found, spread = by_draws(partial(forward_kl, samples=5000), q)
    assert value == pytest.approx(exact, abs=5 * error)
    assert ((found - slope).abs() < 5 * spread + 1e-12).all()
    assert (spread < 0.05 * slope.abs().max()).all()


def test_forward_kl_is_the_wake_phase_of_a_vae():
    """At the exact posterior all weights are equal, and the loss is the cross-entropy of q with itself: its entropy."""
    schema = vk.Schema("vector", (4,), shift=0.0, scale=1.0, low=-9.0, high=9.0)
    model = vk.models.vae(schema, latent_dim=2, hidden=())
    with torch.no_grad():  # a decoder that ignores its code: the posterior is the prior
        for p in [*model.encoder.network.parameters(), *model.decoder.network.parameters()]:
            p.zero_()
    terms = forward_kl(model, vk.Batch(torch.randn(5, 4)), samples=20_000)
    assert_close(terms.loss, torch.full((5,), 2 * 0.5 * math.log(2 * math.pi * math.e)), rtol=0, atol=0.05)
    gradients = torch.autograd.grad(terms.loss.mean(), list(model.encoder.parameters()))
    assert max(g.abs().max() for g in gradients) < 0.05


# ---- what the objectives of a VAE say of a log-density


def test_elbo_and_iwae_bound_log_z():
    torch.manual_seed(1)
    target = Target(Learned(DiagonalGaussian(3)).to(F64), gaussian)
    rows = vk.Batch(torch.zeros(1, 1))
    with torch.no_grad():
        bounds = [np.mean([-iwae(target, rows, samples=k).loss.item() for _ in range(400)]) for k in (1, 10, 1000)]
        single = np.mean([-elbo(target, rows, samples=400).loss.item() for _ in range(10)])
    # E_q log f + H(q) at q = N(0, I)
    log_f = gaussian(torch.zeros(1, 3, dtype=F64)).item() - 0.5 * PRECISION.diagonal().sum().item()
    exact = log_f + 1.5 * math.log(2 * math.pi * math.e)
    assert single == pytest.approx(exact, abs=0.5)
    assert bounds[0] == pytest.approx(exact, abs=1.5)
    assert bounds[0] < bounds[1] - 1 < bounds[2] - 2 < LOG_Z


def test_evidence_needs_no_gradient_of_q():
    from vaekit.inference.fitting import _evidence
    from vaekit.inference.target import Target

    module = vk.inference.fit(lambda z: -z.square().sum(-1) / 2, dim=2, steps=50, evaluation_samples=10).module
    target = Target(module, lambda z: -z.square().sum(-1) / 2, bounded_below=True)
    assert math.isfinite(_evidence(target, 10)[1].value)


def test_an_objective_may_take_the_place_of_the_divergence():
    """A tighter bound is less afraid of q's tails: its optimum is wider than that of the ELBO."""
    widths = []
    for objective in (None, partial(iwae, samples=20, gradient="doubly")):
        result = vk.inference.fit(gaussian, 3, objective=objective, samples=20, **EXACT)
        widths.append(result.q.variance)
    assert (widths[1] > 1.05 * widths[0]).all()


# ---- a q of one's own, and a flow


class Shifted(nn.Module):
    """Student's t with a learned centre and scale."""

    def __init__(self):
        super().__init__()
        self.loc, self.log_scale = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))

    def forward(self):
        return Independent(StudentT(5.0, self.loc, self.log_scale.exp()), 1)


def test_a_module_of_ones_own():
    p = Independent(StudentT(torch.tensor(5.0), torch.tensor([2.0]), torch.tensor([0.3])), 1)
    result = vk.inference.fit(p.log_prob, 1, Shifted(), steps=400, learning_rate=0.1)
    assert result.q.mean.item() == pytest.approx(2.0, abs=1e-3)
    assert result.module.log_scale.exp().item() == pytest.approx(0.3, rel=2e-3)
    assert not result.q.mean.requires_grad


def test_a_flow_bends_to_what_a_gaussian_cannot_follow():
    z = torch.linspace(-12, 12, 20_001)[:, None]
    log_z = (torch.logsumexp(skewed(z), 0) + math.log(24 / 20_000)).item()
    bounds = {
        q: vk.inference.fit(skewed, 1, q, steps=150, learning_rate=0.03, gradient="reparameterised")
        for q in ("full", "flow")
    }
    gaps = {q: log_z - result.elbo.value for q, result in bounds.items()}
    assert gaps["full"] > 0.02
    assert -0.003 < gaps["flow"] < 0.4 * gaps["full"]
    estimate = bounds["flow"].log_evidence
    assert abs(estimate.value - log_z) < 5 * estimate.standard_error


# ---- nothing else is touched, and what cannot be right is refused


def test_the_log_density_and_the_process_are_left_as_they_were():
    decoder, state = nn.Linear(2, 1), torch.get_rng_state()
    before = [p.detach().clone() for p in decoder.parameters()]

    def log_density(z):
        return decoder(z).squeeze(-1) - z.square().sum(-1)

    first, again = (vk.inference.fit(log_density, 2, steps=50) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.q.mean, again.q.mean)
    assert first.elbo == again.elbo
    assert not torch.equal(vk.inference.fit(log_density, 2, steps=50, seed=1).q.mean, first.q.mean)
    assert all(p.grad is None and p.requires_grad for p in decoder.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, decoder.parameters(), strict=True))
    # N(b / 2, 1 / 2) exactly
    assert len(first.history.records) == 50


def box(z):
    """Uniform on (0, 1) in every dimension."""
    return torch.where((z > 0) & (z < 1), 0 * z, -math.inf).sum(-1)


WRONG = {
    "one number": (lambda z: z.sum(), "expected shape"),
    "a number a dimension": (lambda z: -z.square(), "expected shape .*got shape .*sum over the dimensions"),
    "no tensor": (lambda z: 3.0, "expected shape .*got float"),
    "nan": (lambda z: z.sum(-1) * math.nan, "log_density: is nan at z = "),
    "infinite": (lambda z: z.sum(-1) + math.inf, "log_density: is inf at z = "),
    "a box": (box, "is -inf at z = .*divergence='forward'"),
    "not torch": (lambda z: torch.from_numpy(z.detach().numpy()).sum(-1), "has no gradient by z"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_log_density_that_cannot_be_is_refused_in_words_that_help(name):
    log_density, said = WRONG[name]
    module = Learned(DiagonalGaussian(2))
    raw = module.raw.detach().clone()
    with pytest.raises(UsageError, match=said):
        vk.inference.fit(log_density, 2, module, steps=20)
    assert torch.equal(module.raw, raw)


def test_a_box_by_forward_kl_and_numpy_by_score():
    result = vk.inference.fit(box, 1, "full", divergence="forward", samples=500, start_scale=3.0, **EXACT)
    assert result.q.mean.item() == pytest.approx(0.5, abs=0.02)
    assert result.q.variance.item() == pytest.approx(1 / 12, rel=0.05)
    assert result.log_evidence.value == pytest.approx(0.0, abs=5 * result.log_evidence.standard_error)
    assert result.elbo.value == -math.inf

    def numpy(z):
        return torch.from_numpy(-0.5 * (z.numpy() ** 2).sum(-1))

    found = vk.inference.fit(numpy, 2, gradient="score", start_scale=2.0, **EXACT)
    assert found.log_evidence.value == pytest.approx(math.log(2 * math.pi), abs=1e-6)


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"dim": 0}, "dim 0: expected a whole number of at least 1"),
        ({"dim": 2.0}, "dim 2.0"),
        ({"samples": 0}, "samples 0"),
        ({"steps": 0}, "steps 0"),
        ({"q": "banana"}, "q 'banana': expected a module or one of mean-field"),
        ({"q": nn.Linear(2, 2)}, r"q: Linear\(\) without arguments must give a Distribution"),
        ({"q": Shifted()}, "expected a Distribution of batch shape .* event shape"),
        ({"q": "mixture", "components": 0}, "mixture of 0 components"),
        ({"divergence": "sideways"}, "expected reverse or forward"),
        ({"gradient": "magic"}, "gradient 'magic'"),
        ({"start_scale": 0.0}, "start_scale 0.0"),
        ({"given": torch.zeros(9, 2)}, "say divergence='forward'"),
        ({"given": torch.zeros(9, 3), "divergence": "forward"}, "expected at least 2 finite draws of shape"),
        ({"given": torch.full((9, 2), math.nan), "divergence": "forward"}, "finite draws"),
        ({"objective": elbo, "divergence": "forward"}, "either an objective"),
        ({"log_density": None}, "needs a log-density, or draws in given"),
    ],
)
def test_arguments_that_cannot_be_right_are_refused(keywords, said):
    with pytest.raises(UsageError, match=said):
        vk.inference.fit(**{"log_density": lambda z: -z.square().sum(-1), "dim": 2, "steps": 5, **keywords})
