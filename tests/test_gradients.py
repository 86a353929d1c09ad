"""Gradient estimators: of one value, each with the mean it should have, against closed forms and by hand."""

import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal
from torch.testing import assert_close

import vaekit as vk
from vaekit.conditional import Conditional, Parametric
from vaekit.distributions.families import Gaussian
from vaekit.distributions.seeded import RowSeeded, unseeded
from vaekit.distributions.wrapped import Given, PathDerivative, ScoreFunction
from vaekit.errors import UsageError
from vaekit.models import LatentModel
from vaekit.networks import MLP
from vaekit.objectives import elbo, iwae, miwae, piwae
from vaekit.objectives.importance import resample
from vaekit.priors import StandardNormal

Batch = vk.Batch
LATENTS, SIZE, VARIANCE = 2, 3, 0.4
WEIGHT = torch.tensor(
    [[1.2, 0.0], [0.0, 0.7], [0.0, 0.3]], dtype=torch.float64
)  # orthogonal: the posterior is diagonal
X = torch.tensor([0.8, -0.5, 1.1], dtype=torch.float64)
GRAM = (WEIGHT**2).sum(0)
POSTERIOR_VARIANCE = VARIANCE / (VARIANCE + GRAM)
POSTERIOR_MEAN = (X @ WEIGHT) / (VARIANCE + GRAM)


class Leaves(Conditional):
    """An encoder whose mean and scale are given: each row's gradient by them is one draw of an estimator."""

    def __init__(self, loc, scale):
        super().__init__()
        self.loc, self.scale = nn.Parameter(loc.clone()), nn.Parameter(scale.clone())

    def forward(self, *given):
        return Independent(Normal(self.loc, self.scale), 1)


def linear(rows=1, shift=0.6, widen=1.4):
    """p(x | z) = N(W z, v I), with q off the exact posterior by `shift` and `widen` standard deviations; and its batch."""
    std = POSTERIOR_VARIANCE.sqrt()
    encoder = Leaves((POSTERIOR_MEAN + shift * std).expand(rows, -1), (widen * std).expand(rows, -1))
    decoder = MLP((LATENTS,), (1, SIZE), ()).double()
    with torch.no_grad():
        decoder.out.weight.copy_(WEIGHT)
        decoder.bias.zero_()
    likelihood = Parametric(decoder, Gaussian((SIZE,), sigma=math.sqrt(VARIANCE)))
    return LatentModel(encoder, likelihood, StandardNormal(LATENTS), LATENTS).double(), Batch(X.expand(rows, -1))


def gradients(objective, rows=20_000, seed=0, **more):
    """The encoder's gradient for each of many independent rows, (rows, 2 * D)."""
    model, batch = linear(rows, **more)
    torch.manual_seed(seed)
    objective(model, batch).loss.sum().backward()
    return torch.cat([model.encoder.loc.grad, model.encoder.scale.grad], 1)


def exact_gradient(beta=1.0, shift=0.6, widen=1.4):
    """Of -E_q log p(x|z) + beta KL in closed form, by mean and scale, (2 * D,)."""
    std = POSTERIOR_VARIANCE.sqrt()
    m, s = (POSTERIOR_MEAN + shift * std).requires_grad_(), (widen * std).requires_grad_()
    error = ((X - WEIGHT @ m).square().sum() + (s**2 * GRAM).sum()) / (2 * VARIANCE)
    kl = 0.5 * (m**2 + s**2 - 1 - 2 * s.log()).sum()
    return torch.cat(torch.autograd.grad(error + beta * kl, (m, s)))


def standard_errors(values, expected):
    """How many standard errors each mean is off."""
    return (values.mean(0) - expected) / (values.std(0) / math.sqrt(len(values)))


ESTIMATORS = {
    "reparameterised": partial(elbo),
    "reparameterised, sampled KL": partial(elbo, kl="sampled", samples=3),
    "path": partial(elbo, kl="sampled", gradient="path"),
    "path, 3 draws": partial(elbo, kl="sampled", gradient="path", samples=3),
    "score": partial(elbo, gradient="score"),
    "score, 4 draws": partial(elbo, gradient="score", samples=4),
    "score, sampled KL": partial(elbo, gradient="score", kl="sampled"),
    "score, sampled KL, 4 draws": partial(elbo, gradient="score", kl="sampled", samples=4),
}


@pytest.mark.parametrize("beta", [1.0, 2.5])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_has_the_closed_forms_gradient_as_its_mean(name, beta):
    found = gradients(partial(ESTIMATORS[name], beta=beta))
    assert standard_errors(found, exact_gradient(beta)).abs().max() < 4


def test_the_score_of_the_decoder_is_that_of_the_plain_gradient():
    slopes = []
    for gradient in ("reparameterised", "score"):
        model, batch = linear(50)
        torch.manual_seed(3)
        elbo(model, batch, gradient=gradient, samples=2).loss.sum().backward()
        slopes.append(model.decoder.network.out.weight.grad)
    assert_close(*slopes, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize(("gradient", "kl"), [("path", "sampled"), ("score", "sampled"), ("score", "closed")])
def test_the_loss_has_one_value(gradient, kl, samples):
    terms = []
    for estimator in ("reparameterised", gradient):
        model, batch = linear(7)
        torch.manual_seed(5)
        terms.append(elbo(model, batch, kl=kl, samples=samples, beta=1.7, gradient=estimator))
    for field in ("loss", "rate", "distortion"):
        assert_close(getattr(terms[0], field), getattr(terms[1], field), rtol=1e-13, atol=1e-13)


def test_the_path_gradient_sticks_the_landing():
    at_rest = {"shift": 0.0, "widen": 1.0}
    path = gradients(partial(elbo, kl="sampled", gradient="path"), rows=200, **at_rest)
    assert path.abs().max() < 1e-12
    assert gradients(partial(elbo, kl="sampled"), rows=200, **at_rest).std(0).min() > 0.1


def test_the_score_function_is_noisier_and_its_baseline_helps():
    def spread(**keywords):
        return gradients(partial(elbo, **keywords)).var(0)

    plain, score = spread(samples=4), spread(samples=4, gradient="score")
    assert (score > 2 * plain).all()
    # without a baseline four draws have a quarter of one draw's variance
    assert (score < 0.5 * spread(gradient="score") / 4).all()


# ---- doubly reparameterised


def by_hand(z, loc, scale):
    """sum_k v_k^2 dlog w_k/dz_k dz_k/d(loc, scale), from the linear model's own formulas; z (K, D)."""
    eps = (z - loc) / scale
    log_w = -((X - z @ WEIGHT.T) ** 2).sum(-1) / (2 * VARIANCE) - 0.5 * (z**2).sum(-1) + 0.5 * (eps**2).sum(-1)
    slope = (X - z @ WEIGHT.T) @ WEIGHT / VARIANCE - z + eps / scale
    v = log_w.softmax(0)[:, None]
    return torch.cat([(v**2 * slope).sum(0), (v**2 * slope * eps).sum(0)])


@pytest.mark.parametrize("samples", [1, 2, 6])
def test_the_doubly_reparameterised_gradient_is_the_papers(samples):
    model, batch = linear(3)
    q = model.posterior(batch.x)
    torch.manual_seed(1)
    z = q.rsample((samples,)).detach()
    found = gradients(partial(iwae, samples=samples, gradient="doubly"), rows=3, seed=1)
    loc, scale = (t.detach() for t in (model.encoder.loc, model.encoder.scale))
    expected = torch.stack([by_hand(z[:, row], loc[row], scale[row]) for row in range(3)])
    assert_close(found, -expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("bound", [partial(iwae, samples=5), partial(miwae, samples=4, groups=3)])
def test_doubly_and_plain_gradients_agree_in_mean_and_decoder(bound):
    plain, doubly = gradients(bound), gradients(partial(bound, gradient="doubly"), seed=1)
    off = (plain.mean(0) - doubly.mean(0)) / ((plain.var(0) + doubly.var(0)) / len(plain)).sqrt()
    assert off.abs().max() < 4
    assert (doubly.var(0) < 0.8 * plain.var(0)).all()
    slopes = []
    for gradient in ("reparameterised", "doubly"):
        model, batch = linear(20)
        torch.manual_seed(2)
        terms = bound(model, batch, gradient=gradient)
        terms.loss.sum().backward()
        slopes.append((model.decoder.network.out.weight.grad, terms.loss.detach()))
    assert_close(*slopes, rtol=1e-11, atol=1e-11)


def test_the_encoders_signal_falls_with_k_unless_reparameterised_twice():
    """Rainforth et al., ICML 2018: the plain ratio falls like 1 / sqrt(K); Tucker et al.: theirs rises."""

    def signal(gradient, samples):
        found = gradients(partial(iwae, samples=samples, gradient=gradient), rows=8_000)[:, :LATENTS]
        return found.mean(0).norm() / found.var(0).sum().sqrt()

    few, many = (4, 64)
    assert signal("reparameterised", many) < 0.6 * signal("reparameterised", few)
    assert signal("doubly", many) > signal("doubly", few)


# ---- a gradient through some of the draws


@pytest.mark.parametrize("gradient", ["reparameterised", "doubly"])
@pytest.mark.parametrize("bound", [partial(iwae, samples=5), partial(miwae, samples=4, groups=3)])
def test_many_resampled_draws_have_the_gradient_of_all(bound, gradient):
    """Systematic resampling takes a draw S v_k times, to within one: with S = 5,000 the gradients differ by 1 / S."""
    found = []
    for resampled in (0, 5_000):
        model, batch = linear(4)
        torch.manual_seed(2)
        bound(model, batch, gradient=gradient, resampled=resampled).loss.sum().backward()
        found.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert_close(*found, rtol=2e-3, atol=5e-3)
    assert found[0].abs().max() > 1


@pytest.mark.parametrize("gradient", ["reparameterised", "doubly"])
@pytest.mark.parametrize("resampled", [1, 3])
def test_few_resampled_draws_have_its_mean(gradient, resampled):
    bound = partial(miwae, samples=6, groups=2, gradient=gradient)
    every, some = gradients(bound), gradients(partial(bound, resampled=resampled), seed=1)
    off = (every.mean(0) - some.mean(0)) / ((every.var(0) + some.var(0)) / len(every)).sqrt()
    assert off.abs().max() < 4
    assert (some.var(0) > every.var(0)).all()


def test_systematic_resampling_takes_every_draw_by_its_weight():
    torch.manual_seed(0)
    weights, count = torch.rand(2, 7, 1).double() ** 3, 5
    weights[0, 2] = 0.0
    weights = (weights / weights.sum(1, keepdim=True)).repeat(1, 1, 4000)
    chosen = resample(weights.flatten(0, 1), 2, count)
    assert chosen.shape == (2 * count, 4000)
    for group in range(2):
        mine = chosen[group * count : (group + 1) * count] - 7 * group
        assert ((mine >= 0) & (mine < 7)).all()
        taken = torch.nn.functional.one_hot(mine, 7).sum(0).double()  # (rows, draws)
        wanted = count * weights[group].T
        assert ((taken - wanted).abs() < 1).all()
        assert_close(taken.mean(0), wanted[0], rtol=0, atol=0.04)


def test_only_resampled_draws_are_decoded_with_a_gradient():
    model, batch = linear(3)
    seen, decode = [], model.decoder.forward

    def watched(z, *given):
        seen.append((len(z), torch.is_grad_enabled()))
        return decode(z, *given)

    model.decoder.forward = watched
    iwae(model, batch, samples=50, resampled=2)
    assert seen == [(50, False), (2, True)]


# ---- the wrappers


def posteriors():
    torch.manual_seed(0)
    loc = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    scale = torch.tensor([[1.0, 0.0], [0.5, 0.8]], dtype=torch.float64, requires_grad=True)
    yield "diagonal", Independent(Normal(loc, scale.diagonal()), 1), (loc, scale)
    yield "full", MultivariateNormal(loc, scale_tril=scale), (loc, scale)


@pytest.mark.parametrize(("name", "q", "parameters"), list(posteriors()))
def test_path_and_score_are_the_two_parts_of_the_gradient(name, q, parameters):
    def slopes(wrapped, seed=0):
        torch.manual_seed(seed)
        z = wrapped.rsample((3,))
        value = wrapped.log_prob(z)
        found = torch.autograd.grad(value.sum(), parameters, allow_unused=True)
        return value, [torch.zeros_like(p) if g is None else g for g, p in zip(found, parameters, strict=True)]

    (value, whole), (same, path), (too, score) = (slopes(w) for w in (q, PathDerivative(q), ScoreFunction(q)))
    assert torch.equal(value, same)
    assert_close(value, too, rtol=1e-13, atol=1e-13)
    for a, b, c in zip(whole, path, score, strict=True):
        assert_close(a, b + c, rtol=1e-11, atol=1e-11)
        assert c.abs().max() > 0


def test_wrappers_come_off_for_closed_forms():
    q = Independent(Normal(torch.zeros(2, 3), torch.ones(2, 3)), 1)
    seeded = RowSeeded(q, [1, 2])
    for wrapped in (
        seeded,
        PathDerivative(seeded),
        ScoreFunction(PathDerivative(seeded)),
        Given(q, torch.zeros(1, 2, 3)),
    ):
        assert unseeded(wrapped) is q
        assert (wrapped.batch_shape, wrapped.event_shape) == (q.batch_shape, q.event_shape)
    assert torch.equal(PathDerivative(RowSeeded(q, [1, 2])).rsample((4,)), RowSeeded(q, [1, 2]).rsample((4,)))
    assert unseeded(q) is q


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (partial(elbo, gradient="sticky"), "gradient 'sticky': expected one of reparameterised, path, score"),
        (partial(elbo, gradient="path", kl="closed"), "a closed KL has no score"),
        (partial(elbo, capacity=1.0, gradient="score", kl="sampled"), "take another gradient"),
        (partial(iwae, gradient="path"), "gradient 'path': expected one of reparameterised, doubly"),
        (partial(iwae, resampled=-1), "resampled -1: expected a number of draws"),
    ],
)
def test_gradients_that_there_are_not_are_refused(call, said):
    with pytest.raises(UsageError, match=said):
        call(*linear(2))


def test_an_autoencoder_has_no_score():
    model = vk.models.autoencoder(vk.Schema("vector", (3,)), latent_dim=2, hidden=(4,))
    with pytest.raises(UsageError, match="use reconstruction"):
        elbo(model, Batch(torch.rand(2, 3)), gradient="score")


# ---- with every posterior and prior: what the estimators ask of them

MODELS = {
    "full": (vk.models.vae, {"posterior": "full"}),
    "flow": (vk.models.vae, {"posterior": "flow"}),
    "box": (vk.models.vae, {"posterior": "box", "prior": "uniform"}),
    "vamp": (vk.models.vae, {"prior": "vamp", "prior_components": 3}),
    "two_layer": (vk.models.two_layer, {}),
    "ladder": (vk.models.ladder, {}),
}


def any_model(name):
    torch.manual_seed(0)
    make, more = MODELS[name]
    schema = vk.Schema("vector", (3,), mean=torch.full((3,), 0.5))
    model = make(schema, latent_dim=4, hidden=(5,), activation="tanh", likelihood="gaussian", **more).double()
    return model, Batch(torch.rand(6, 3).double())


def encoder_slopes(model, value):
    found = torch.autograd.grad(value.sum(), list(model.parameters()), allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(found, model.parameters(), strict=True)]


@pytest.mark.parametrize("name", MODELS)
def test_path_and_score_make_up_the_gradient_of_any_posterior(name):
    model, batch = any_model(name)
    parts = []
    for wrap in (lambda q: q, PathDerivative, ScoreFunction):
        torch.manual_seed(1)
        draw = model.draw(batch.x, None, 3, wrap(model.posterior(batch.x)))
        parts.append((draw.log_qz.detach(), encoder_slopes(model, draw.log_qz)))
    (value, whole), (same, path), (too, score) = parts
    assert_close(value, same, rtol=1e-12, atol=1e-12)
    assert_close(value, too, rtol=1e-12, atol=1e-12)
    for a, b, c in zip(whole, path, score, strict=True):
        assert_close(a, b + c, rtol=1e-9, atol=1e-10)


ONE_VALUE = [
    [partial(elbo, kl="sampled", samples=2, gradient=g) for g in ("reparameterised", "path", "score")],
    [
        partial(iwae, samples=6),
        partial(iwae, samples=6, gradient="doubly"),
        partial(iwae, samples=6, resampled=2),
        partial(iwae, samples=6, gradient="doubly", resampled=3),
        partial(piwae, samples=2, groups=3),
    ],
]


@pytest.mark.parametrize("objectives", ONE_VALUE, ids=["elbo", "iwae"])
@pytest.mark.parametrize("name", MODELS)
def test_a_bound_has_one_value_and_finite_gradients_with_any_posterior(name, objectives):
    model, batch = any_model(name)
    values = []
    for objective in objectives:
        torch.manual_seed(1)
        loss = objective(model, batch).loss
        assert all(torch.isfinite(g).all() for g in encoder_slopes(model, loss))
        values.append(loss.detach())
    for value in values[1:]:
        assert_close(value, values[0], rtol=1e-11, atol=1e-11)
