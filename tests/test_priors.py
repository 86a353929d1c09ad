"""Priors, learned, conditional and fitted afterwards: densities by hand, quadrature, scikit-learn; what reaches their parameters."""

import copy
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch.distributions import Independent, Normal
from torch.testing import assert_close

import vaekit as vk
from vaekit.conditional import Conditional
from vaekit.data.arrays import describe
from vaekit.distributions import closed_kl
from vaekit.distributions.posteriors import BOX, POSTERIORS, make_posterior
from vaekit.errors import DataError, UsageError
from vaekit.evaluation import elbo as evaluate_elbo
from vaekit.evaluation import log_likelihood_per_example
from vaekit.objectives import elbo
from vaekit.priors import PRIORS, VampPrior, make_prior
from vaekit.training.second_stage import draw_codes

ROWS = np.random.default_rng(2).normal(size=(60, 4)).astype(np.float32)
SCHEMA = describe(torch.from_numpy(ROWS), None, None)
X = torch.from_numpy(ROWS)


def vae(latent_dim=2, seed=0, **more):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return vk.models.vae(SCHEMA, latent_dim=latent_dim, hidden=(8,), activation="tanh", **more)


def moved(prior, seed=3, by=0.7):
    """The prior in double precision with its parameters away from their start."""
    prior, g = prior.double(), torch.Generator().manual_seed(seed)
    for parameter in prior.parameters():
        parameter.data.add_(by * torch.randn(parameter.shape, generator=g, dtype=torch.float64))
    return prior


# ---- mixtures


def mixture_by_hand(z, raw):
    """log sum_k softmax(w)_k N(z; m_k, s_k^2), in NumPy; raw (K, 1 + 2D) far from its bounds."""
    w, m, log_variance = raw[:, 0], *np.split(raw[:, 1:], 2, axis=1)
    parts = -0.5 * ((z[:, None] - m) ** 2 / np.exp(log_variance) + log_variance + math.log(2 * math.pi)).sum(-1)
    return np.log((np.exp(w) / np.exp(w).sum() * np.exp(parts)).sum(-1))


def test_a_mixtures_density_is_the_weighted_sum():
    prior = moved(make_prior("mixture", 2, components=3))
    z = torch.randn(20, 2, dtype=torch.float64)
    assert_close(
        prior().log_prob(z), torch.from_numpy(mixture_by_hand(z.numpy(), prior.raw.detach().numpy())), atol=2e-3, rtol=0
    )
    far = prior().log_prob(torch.full((1, 2), 1e4, dtype=torch.float64))
    assert torch.isfinite(far).all(), "a sum of densities would be log 0"
    drawn = prior().sample((40_000,))
    assert_close(drawn.mean(0), prior().mean.detach(), rtol=0, atol=0.05)


@pytest.mark.parametrize("posterior", ["diagonal", "full"])
@pytest.mark.parametrize("prior", ["mixture", "flow"])
def test_a_learned_priors_sampled_kl_is_the_integral(prior, posterior):
    model = vae(prior=prior, posterior=posterior, prior_components=3).double()
    moved(model.prior, by=0.7 if prior == "mixture" else 0.15)
    x, draws = X[:3].double(), 20_000
    q, p = model.posterior(x), model.prior()
    assert closed_kl(q, p) is None
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    grid = torch.from_numpy(np.stack(np.meshgrid(nodes, nodes), -1).reshape(-1, 1, 2)).expand(-1, 3, -1)
    mass = torch.from_numpy(np.outer(weights, weights).ravel() / weights.sum() ** 2)
    with torch.no_grad():
        z = q.from_noise(grid) if posterior == "full" else q.base_dist.loc + q.base_dist.scale * grid
        exact = mass @ (q.log_prob(z) - p.log_prob(z))
        draw = model.draw(x, None, draws)
        error = (draw.log_qz - draw.log_pz).std(0) / math.sqrt(draws)
        rate = elbo(model, vk.Batch(x), samples=draws).rate
    assert ((rate - exact).abs() < 4.5 * error + 1e-3).all()
    assert error.max() < 0.05
    assert evaluate_elbo(model, x, samples=20)["kl"].estimator == "sampled KL"


# ---- the VampPrior


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_vamp_density_is_the_mean_of_the_posteriors_at_the_pseudo_inputs(posterior):
    model = vae(prior="vamp", posterior=posterior, prior_components=5).double()
    z = 0.5 * torch.randn(7, 3, 2, dtype=torch.float64)
    each = torch.stack([model.posterior(u[None]).log_prob(z) for u in model.prior.pseudo_inputs])
    assert_close(model.prior().log_prob(z), each.exp().mean(0).log(), rtol=1e-10, atol=1e-10)


def test_vamp_moves_its_pseudo_inputs_and_shares_the_encoder():
    model = vae(prior="vamp", prior_components=5)
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    assert [n for n in names if n.startswith("prior.")] == ["prior.raw"]
    elbo(model, vk.Batch(X)).loss.mean().backward()
    assert model.prior.raw.grad.abs().amax(1).min() > 0, "every pseudo-input is reached"
    twin = copy.deepcopy(model)
    before = twin.prior().mean
    twin.encoder.network[1].out.bias.data.add_(1.0)
    assert not torch.allclose(twin.prior().mean, before)
    assert torch.equal(model.prior().mean, before), "a copy has an encoder of its own"


KINDS = pytest.mark.parametrize(
    ("values", "maximum"), [(ROWS * 5 - 30, None), (np.random.default_rng(0).integers(0, 17, (50, 1, 4, 4)), 16)]
)


def described(values, maximum):
    return describe(
        torch.from_numpy(values) if maximum is None else torch.from_numpy(values).to(torch.uint8), maximum, None
    )


@KINDS
def test_pseudo_inputs_start_where_the_data_are(values, maximum):
    schema = replace(described(values, maximum), examples=None)
    u = vk.models.vae(schema, latent_dim=2, prior="vamp", prior_components=400).prior.pseudo_inputs.detach()
    scale = torch.tensor(schema.scale) if maximum is None else torch.tensor(0.25)
    assert ((u.mean(0) - schema.mean).abs() < 0.25 * scale).all()
    assert u.std(0).min() > 0.1 * scale.min()
    assert maximum is None or (u.min() > 0 and u.max() < 1)


@KINDS
@pytest.mark.parametrize("components", [7, 50, 2500])
def test_pseudo_inputs_start_at_training_rows_and_no_two_at_one_point(values, maximum, components):
    schema = described(values, maximum)
    rows = schema.examples.flatten(1)
    assert torch.equal(rows.unique(dim=0), (torch.from_numpy(values).float() / (maximum or 1)).flatten(1).unique(dim=0))
    u = vk.models.vae(schema, latent_dim=2, prior="vamp", prior_components=components).prior.pseudo_inputs.detach()
    assert len(u) == components
    scale = torch.tensor(schema.scale) if maximum is None else torch.tensor(0.25)
    off = torch.cdist(u.flatten(1) / scale, rows / scale) / rows.shape[1] ** 0.5
    assert off.amin(1).max() < 0.3, "each is near a row"
    assert off.argmin(1).unique().numel() == min(components, len(rows)), "and they are spread over the rows"
    assert len(u.flatten(1).unique(dim=0)) == components


def test_examples_are_even_distances_apart_and_stay_with_nobody():
    values = torch.arange(3000, dtype=torch.float32)[:, None]
    schema = describe(values, None, None)
    assert len(schema.examples) == 1000
    assert (schema.examples[0], schema.examples[-1]) == (0, 2999)
    assert schema.examples.diff(dim=0).max() <= 4
    model = vk.models.vae(schema, latent_dim=2, prior="vamp")
    assert model.origin.schema.examples is None
    assert "examples" not in schema.to_json()
    assert len(describe(torch.zeros(9, 3, 800, 800), None, None).examples) == 1, "a few megabytes at most"


# ---- conditions


@pytest.mark.parametrize("hidden", [(), (6,)])
@pytest.mark.parametrize("name", ["normal", "mixture", "flow"])
def test_a_conditional_prior_starts_as_the_unconditional_one_and_then_follows_its_condition(name, hidden):
    c, z = torch.randn(3, 4, dtype=torch.float64), torch.randn(5, 3, 2, dtype=torch.float64)
    prior = make_prior(name, 2, components=3, condition_dim=4, hidden=hidden).double()
    plain = prior.family(prior.network.bias)  # the same family at one raw value
    assert prior(c).batch_shape == (3,)
    assert_close(prior(c).log_prob(z), plain.log_prob(z), rtol=1e-12, atol=1e-12)
    if name == "normal":
        assert_close(prior(c).log_prob(z), make_prior("normal", 2).double()().log_prob(z), rtol=0, atol=0.01)
    moved(prior)
    p = prior(c)
    one_by_one = torch.stack([prior(c[i : i + 1]).log_prob(z[:, i : i + 1])[:, 0] for i in range(3)], 1)
    assert_close(p.log_prob(z), one_by_one, rtol=1e-10, atol=1e-10)
    assert not torch.allclose(p.log_prob(z), prior(c.flip(0)).log_prob(z), atol=0.1)
    assert p.sample().shape == (3, 2)
    assert p.mean.shape == (3, 2)
    with pytest.raises(UsageError, match="expected a condition c of length 4, got none"):
        prior()
    with pytest.raises(UsageError, match="length 4, got one of length 3"):
        prior(c[:, :3])


def test_priors_without_a_condition_are_the_same_for_every_one():
    c, z = torch.randn(3, 4), torch.rand(3, 2)
    for name in ("normal", "uniform", "mixture", "flow"):
        prior = make_prior(name, 2)
        assert torch.equal(prior(c).log_prob(z), prior().log_prob(z))


class ByCondition(Conditional):
    """q(z | x, c) = N(x + c, 1)."""

    def forward(self, *given):
        return Independent(Normal(sum(given), torch.ones_like(given[0])), 1)


def test_vamp_passes_a_condition_to_the_encoder():
    prior = VampPrior(ByCondition(), vk.Schema("vector", (2,), low=-5.0, high=5.0), 3)
    c, z = torch.randn(4, 2), torch.randn(6, 4, 2)
    by_hand = (
        torch.stack([Independent(Normal(u + c, 1.0), 1).log_prob(z) for u in prior.pseudo_inputs]).exp().mean(0).log()
    )
    assert_close(prior(c).log_prob(z), by_hand)
    assert_close(prior(torch.zeros(4, 2)).log_prob(z), prior().log_prob(z))
    assert prior(c).sample().shape == (4, 2)


def test_a_models_conditional_prior_is_sampled_row_by_row():
    model = vae()
    model.prior = make_prior("normal", 2, condition_dim=3)
    assert model.prior_codes(4, torch.randn(4, 3)).shape == (4, 2)


# ---- uniform, flow


def test_the_uniform_prior_and_whom_it_refuses():
    prior = make_prior("uniform", 3)()
    z = prior.sample((5000,))
    assert z.abs().max() < BOX
    assert_close(prior.log_prob(z), torch.full((5000,), -3 * math.log(2 * BOX)))
    assert_close(prior.variance, torch.ones(3))
    assert prior.log_prob(torch.full((3,), BOX + 1e-3)) == -math.inf
    for posterior in ("diagonal", "full", "flow"):
        with pytest.raises(UsageError, match=f"prior uniform with posterior {posterior}: .* take posterior box"):
            vae(prior="uniform", posterior=posterior)
    assert closed_kl(make_posterior("diagonal", 3)(torch.zeros(2, 3)), prior) == math.inf
    model = vae(prior="uniform", posterior="box").double()
    draw = model.draw(X.double(), None, 5000)
    error = (draw.log_qz - draw.log_pz).std(0) / math.sqrt(5000)
    assert (((draw.log_qz - draw.log_pz).mean(0) - draw.kl).abs() < 4.5 * error).all()
    assert (draw.kl_per_dim > 0).all()


@pytest.mark.parametrize("dim", [1, 2])
def test_a_flow_prior_integrates_to_one_and_samples_its_density(dim):
    prior = moved(make_prior("flow", dim), by=0.15)
    t = torch.linspace(-12, 12, 40_001 if dim == 1 else 401, dtype=torch.float64)
    with torch.no_grad():
        density = prior().log_prob(torch.cartesian_prod(*[t] * dim).view(-1, dim)).exp().view(*[len(t)] * dim)
        drawn = prior().sample((20_000,))
    mass = density
    for _ in range(dim):
        mass = torch.trapezoid(mass, t)
    assert mass.item() == pytest.approx(1, abs=1e-5 if dim == 1 else 5e-3)
    marginal = density if dim == 1 else torch.trapezoid(density, t)
    expected = torch.trapezoid(marginal * t, t) / mass
    spread = (torch.trapezoid(marginal * t**2, t) / mass - expected**2).sqrt()
    assert abs(drawn[:, 0].mean() - expected) < 5 * spread / math.sqrt(20_000) + 1e-2
    assert drawn[:, 0].std() == pytest.approx(spread.item(), rel=0.03)


@pytest.mark.parametrize("call", [partial(make_prior, "gamma"), partial(vae, prior="gamma")])
def test_an_unknown_prior_is_refused(call):
    with pytest.raises(UsageError, match="prior 'gamma': expected one of normal, uniform, mixture, vamp, flow"):
        call(2)


def test_priors_that_cannot_be_are_refused():
    with pytest.raises(UsageError, match="mixture of 0 components"):
        vae(prior="mixture", prior_components=0)
    with pytest.raises(UsageError, match="vamp prior of 0 pseudo-inputs"):
        vae(prior="vamp", prior_components=0)
    with pytest.raises(UsageError, match="give it encoder and schema"):
        make_prior("vamp", 2)
    assert set(PRIORS) == {"normal", "uniform", "mixture", "vamp", "flow"}


# ---- a second stage


def clusters(n=400):
    """Rows in two far groups: their codes are nothing like N(0, I)."""
    g = torch.Generator().manual_seed(0)
    side = torch.randint(2, (n, 1), generator=g) * 2.0 - 1
    return torch.cat([3 * side, -2 * side, side, side], 1) + 0.3 * torch.randn(n, 4, generator=g)


def trained(recipe="autoencoder", **more):
    x = clusters()
    schema = describe(x, None, None)
    torch.manual_seed(0)
    model = vk.models.RECIPES[recipe].function(schema, latent_dim=2, hidden=(8,), activation="tanh", **more)
    vk.fit(model, x, vk.models.RECIPES[recipe].objective, epochs=30, learning_rate=0.01, progress=False)
    return model, x


def test_a_mixture_on_the_codes_is_scikit_learns():
    model, x = trained(second_stage="mixture", prior_components=2)
    found = vk.fit_prior(model, x)
    z = model.encode(x)
    standard = ((z - model.second_stage.shift) / model.second_stage.scale).double().numpy()
    reference = GaussianMixture(2, reg_covar=1e-4, random_state=0).fit(standard)
    expected = reference.score_samples(standard) - float(model.second_stage.scale.double().log().sum())
    # scikit-learn sees the rows in another order here, and stops at 1e-3
    assert_close(model.second_stage().log_prob(z).double(), torch.from_numpy(expected), rtol=0, atol=0.05)
    assert found == pytest.approx(expected.mean(), abs=0.02)
    assert found > Independent(Normal(z.mean(0), z.std(0)), 1).log_prob(z).mean() + 0.3, "one Gaussian is not enough"


def test_a_flow_on_the_codes_learns_their_density():
    model, x = trained(second_stage="flow")
    found = vk.fit_prior(model, x, epochs=30, learning_rate=1e-2)
    z = model.encode(x)
    assert found > Independent(Normal(z.mean(0), z.std(0)), 1).log_prob(z).mean() + 0.3
    assert not any(p.requires_grad for p in model.second_stage.parameters())
    assert all(p.requires_grad for p in model.encoder.parameters())


def test_an_autoencoder_samples_once_its_second_stage_is_fitted():
    model, x = trained(second_stage="mixture", prior_components=2)
    assert not model.can_sample
    with pytest.raises(UsageError, match=r"no prior to sample from; .* second_stage"):
        model.sample(3)
    with pytest.raises(UsageError, match=r"not fitted yet; .* vaekit\.fit_prior"):
        model.second_stage()
    vk.fit_prior(model, x)
    assert model.can_sample
    samples = model.sample(2000)
    assert_close(samples.mean(0), x.mean(0), rtol=0, atol=0.5)
    assert (samples[:, 0].abs() > 1.5).float().mean() > 0.9, "both groups, and nothing between them"
    assert abs((samples[:, 0] > 0).float().mean() - (x[:, 0] > 0).float().mean()) < 0.05


@pytest.mark.parametrize("recipe", ["vae", "autoencoder"])
@pytest.mark.parametrize("kind", ["mixture", "flow"])
def test_a_second_stage_is_saved_with_the_run(recipe, kind, tmp_path):
    model, x = trained(recipe, second_stage=kind)
    vk.fit_prior(model, x, epochs=1)
    again = vk.load_run(vk.save_run(tmp_path / "run", model)).model
    torch.manual_seed(5)
    first = model.sample(6)
    torch.manual_seed(5)
    assert torch.equal(again.sample(6), first)


def test_a_second_stage_made_later_is_kept_too(tmp_path):
    model, x = trained("vae")
    torch.manual_seed(5)
    plain = model.sample(6)
    vk.fit_prior(model, x, "mixture")
    again = vk.load_run(vk.save_run(tmp_path / "run", model)).model
    torch.manual_seed(5)
    samples = again.sample(6)
    assert again.second_stage.fitted
    assert not torch.allclose(samples, plain)


def test_the_likelihood_stays_with_the_models_own_prior():
    model, x = trained("vae", second_stage="mixture")
    before, weights = log_likelihood_per_example(model, x, samples=5), copy.deepcopy(model.encoder.state_dict())
    vk.fit_prior(model, x)
    assert torch.equal(log_likelihood_per_example(model, x, samples=5), before)
    for name, value in model.encoder.state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_training_leaves_an_unfitted_second_stage_alone():
    model = vae(second_stage="flow")
    before = copy.deepcopy(model.second_stage.state_dict())
    vk.fit(model, X, elbo, epochs=1, progress=False)
    for name, value in model.second_stage.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_codes_are_draws_and_not_means():
    """Codes have the variance of the means and the posteriors' own; the same seed gives the same codes."""
    model = vae().double()
    rows = vk.data.as_split(X.repeat(100, 1))
    z, q = draw_codes(model, rows).x, model.posterior(X.double())
    spread = q.mean.var(0, correction=0) + q.variance.mean(0)
    assert_close(z.var(0), spread, rtol=0.1, atol=0)
    assert spread.min() > 1.5 * q.mean.var(0).max()
    assert torch.equal(draw_codes(model, rows).x, z)


def test_second_stages_that_cannot_be_are_refused():
    model, x = trained("vae")
    with pytest.raises(UsageError, match="no second stage; say which kind, mixture or flow"):
        vk.fit_prior(model, x)
    with pytest.raises(UsageError, match="expected none, mixture or flow"):
        vk.fit_prior(model, x, "vamp")
    assert model.origin.arguments["second_stage"] == "none"
    with pytest.raises(DataError, match="a mixture of 10 needs at least as many rows, there are 4"):
        vk.fit_prior(model, x[:4], "mixture")


@pytest.mark.parametrize("prior", ["normal", "mixture", "flow", "uniform", "vamp"])
def test_a_prior_wider_than_the_box_of_the_posterior_leaves_a_lower_bound_that_is_called_one(prior):
    """On one dimension, against quadrature over the whole line."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = vk.models.vae(SCHEMA, latent_dim=1, hidden=(8,), posterior="box", prior=prior).double()
    x = X[:6].double()
    found = vk.evaluation.log_likelihood(model, x, samples=4000)
    each = vk.evaluation.log_likelihood_per_example(model, x, samples=4000)
    edge = BOX if prior in ("uniform", "vamp") else 8.0
    z = torch.linspace(-edge, edge, 20_001, dtype=torch.float64)[1:-1, None]
    with torch.no_grad():
        joint = torch.stack([model.decode(z).log_prob(row) for row in x], 1) + model.prior().log_prob(z)[:, None]
    truth = joint.logsumexp(0) + math.log(float(z[1] - z[0]))
    assert ("a lower bound" in found.estimator) == (prior in ("normal", "mixture", "flow"))
    assert (each < truth + 0.1).all()
