"""Codes in layers: a linear model whose log p(x) is known, chains against brute force, the ladder against the VAE."""

import json
import math
from functools import partial
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence
from torch.testing import assert_close

import vaekit as vk
from vaekit.cli.main import main
from vaekit.distributions.chain import Chain
from vaekit.distributions.seeded import FromNoise, RowSeeded, row_seeds, unseeded
from vaekit.errors import UsageError
from vaekit.evaluation import elbo as evaluate_elbo
from vaekit.evaluation import evaluate, iwae_bound, kl_per_dim, log_likelihood_per_example
from vaekit.evaluation.latent import kl_per_layer
from vaekit.evaluation.layers import layer_arrays, settled
from vaekit.models.ladder import product as gaussian_product
from vaekit.models.layers import layer_sizes
from vaekit.objectives import elbo, iwae

Batch = vk.Batch
RNG = np.random.default_rng(17)
SIZE = 6


def inverse_bound(y, low=-16.0, high=8.0):
    """The raw value that `soft_bound` takes to y."""

    def inverse_softplus(v):
        return v + torch.log(-torch.expm1(-v))

    return high - inverse_softplus(high - low - inverse_softplus(y - low))


def set_linear(network, slope, mean, variance=None):
    """A linear network's raw output: mean + slope @ input and, where given, a constant log-variance."""
    slope, mean = torch.tensor(slope), torch.tensor(mean)
    with torch.no_grad():
        if variance is None:
            network.out.weight.copy_(slope)
            network.bias.copy_(mean[None])
        else:
            network.out.weight.copy_(torch.cat([slope, torch.zeros_like(slope)]))
            network.bias.copy_(torch.stack([mean, inverse_bound(torch.tensor(variance).log())]))


class Linear:
    """z_L ~ N(0, I), z_l = A_l z_{l+1} + a_l + s_l e, x = W z_1 + b + s e, every posterior of one layer diagonal.

    For that the A_l are rectangular diagonal and the columns of W orthogonal; all laws are worked out here as full
    multivariate normals, without a word of the models' code.
    """

    def __init__(self, sizes):
        self.sizes, depth = sizes, len(sizes)
        self.A = [np.eye(n, m) * RNG.uniform(0.5, 1.5, m) for n, m in pairwise(sizes)]
        self.a = [RNG.normal(size=n) for n in sizes[:-1]]
        self.s2 = [RNG.uniform(0.2, 0.9, n) for n in sizes[:-1]]
        self.W = np.linalg.qr(RNG.normal(size=(SIZE, sizes[0])))[0] * RNG.uniform(0.6, 1.7, sizes[0])
        self.b, self.noise = RNG.normal(size=SIZE), 0.3
        self.x = RNG.normal(size=(9, SIZE)) * 1.5
        mean, cov = [np.zeros(sizes[-1])], [np.eye(sizes[-1])]
        for A, a, s2 in zip(self.A[::-1], self.a[::-1], self.s2[::-1], strict=True):
            mean.insert(0, A @ mean[0] + a)
            cov.insert(0, A @ cov[0] @ A.T + np.diag(s2))
        self.mean, self.cov = mean, cov  # of each layer's marginal, the bottom first
        self.x_mean = self.W @ mean[0] + self.b
        self.x_cov = self.W @ cov[0] @ self.W.T + self.noise * np.eye(SIZE)
        # p(x | z_l) = N(U_l z_l + u_l, S_l)
        self.U, self.u, self.S = [self.W], [self.b], [self.noise * np.eye(SIZE)]
        for layer in range(depth - 1):
            U = self.U[-1]
            self.U.append(U @ self.A[layer])
            self.u.append(U @ self.a[layer] + self.u[-1])
            self.S.append(self.S[-1] + U @ np.diag(self.s2[layer]) @ U.T)

    @property
    def log_px(self):
        return torch.from_numpy(stats.multivariate_normal(self.x_mean, self.x_cov).logpdf(self.x))

    def rows(self):
        return torch.from_numpy(self.x)

    def said(self, layer):
        """What x says of z_l alone, p(x | z_l) as a Gaussian in z_l: slope, constant and (diagonal) variance."""
        U, S = self.U[layer], self.S[layer]
        precision = U.T @ np.linalg.solve(S, U)
        assert np.allclose(precision, np.diag(np.diag(precision)))
        slope = np.linalg.solve(precision, U.T @ np.linalg.inv(S))
        return slope, -slope @ self.u[layer], 1 / np.diag(precision)

    def posterior(self, layer):
        """p(z_l | x): slope, constant and variance."""
        gain = self.cov[layer] @ self.U[layer].T @ np.linalg.inv(self.x_cov)
        variance = self.cov[layer] - gain @ self.U[layer] @ self.cov[layer]
        assert np.allclose(variance, np.diag(np.diag(variance)))
        return gain, self.mean[layer] - gain @ self.x_mean, np.diag(variance)

    def upwards(self, layer):
        """p(z_{l+1} | z_l)."""
        gain = self.cov[layer + 1] @ self.A[layer].T @ np.linalg.inv(self.cov[layer])
        variance = self.cov[layer + 1] - gain @ self.A[layer] @ self.cov[layer + 1]
        return gain, self.mean[layer + 1] - gain @ self.mean[layer], np.diag(variance)

    def generator(self, model):
        for step, A, a, s2 in zip(model.prior.steps, self.A[::-1], self.a[::-1], self.s2[::-1], strict=True):
            set_linear(step.network, A, a, s2)
        set_linear(model.decoder.decoder.network, self.W, self.b)
        return model.double()

    def two_layer(self):
        """Its model with the exact posterior."""
        model = vk.models.two_layer(vector(), latent_dims=self.sizes, hidden=(), sigma=math.sqrt(self.noise)).double()
        set_linear(model.encoder.lower.network, *self.posterior(0))
        set_linear(model.encoder.upper.network, *self.upwards(0))
        return self.generator(model)

    def ladder(self):
        """Its model with the exact posterior: the top layer's, and below it what x says beside the prior."""
        model = vk.models.ladder(vector(), latent_dims=self.sizes, hidden=(), sigma=math.sqrt(self.noise)).double()
        for layer, head in enumerate(model.encoder.heads):
            top = layer == len(self.sizes) - 1
            set_linear(head.network, *(self.posterior(layer) if top else self.said(layer)))
        return self.generator(model)


def vector(size=SIZE):
    return vk.Schema("vector", (size,))


EXACT = {
    "two-layer": (Linear((3, 2)), Linear.two_layer),
    "ladder-1": (Linear((3,)), Linear.ladder),
    "ladder-2": (Linear((3, 2)), Linear.ladder),
    "ladder-3": (Linear((4, 3, 1)), Linear.ladder),
    "ladder-4": (Linear((3, 3, 2, 2)), Linear.ladder),
}
every = pytest.mark.parametrize("name", EXACT)
hierarchies = pytest.mark.parametrize("name", [name for name in EXACT if name != "ladder-1"])


def exact(name):
    truth, make = EXACT[name]
    return truth, make(truth)


# ---- log p(x) in closed form: with the exact posterior every bound is log p(x)

BOUNDS = {"elbo-1": partial(elbo, kl="sampled"), "elbo-3": partial(elbo, kl="sampled", samples=3)}
BOUNDS |= {f"iwae-{k}": partial(iwae, samples=k) for k in (1, 4)}


@every
@pytest.mark.parametrize("bound", BOUNDS)
def test_every_bound_is_log_px_under_the_exact_posterior(name, bound):
    truth, model = exact(name)
    assert_close(-BOUNDS[bound](model, Batch(truth.rows())).loss, truth.log_px, rtol=0, atol=1e-9)


@every
def test_importance_sampling_is_log_px_under_the_exact_posterior(name):
    truth, model = exact(name)
    for samples in (1, 5, 150):
        values = log_likelihood_per_example(model, truth.rows(), samples=samples)
        assert_close(values, truth.log_px, rtol=0, atol=1e-9)
    assert iwae_bound(model, truth.rows(), samples=5).value == pytest.approx(float(truth.log_px.mean()), abs=1e-9)


def spoiled(model):
    """The model with a posterior that is wrong in every layer."""
    with torch.no_grad():
        for name, parameter in model.encoder.named_parameters():
            parameter.add_((0.2 if name.endswith("bias") else 0.02) * torch.randn_like(parameter))
    return model


@every
def test_bounds_lie_below_log_px_under_another_posterior(name):
    truth, model = exact(name)
    spoiled(model)
    found = evaluate_elbo(model, truth.rows(), samples=400)["elbo"].value
    assert found < float(truth.log_px.mean()) - 0.02
    values = log_likelihood_per_example(model, truth.rows(), samples=20_000)
    assert float((values - truth.log_px).abs().max()) < 0.1


# ---- the KL: layers, dimensions and draws


def full_kl(model, x):
    """KL(q(z|x), p(z)) for linear conditionals, from the joint normals that 2 D + 1 evaluations of each chain determine."""
    q, p = model.posterior(x[None]), model.prior()
    joint = MultivariateNormal(*moments(q))
    return float(kl_divergence(joint, MultivariateNormal(*moments(p))))


def moments(chain):
    """Mean and covariance of a linear Gaussian chain: from_noise is affine in the noise, so its columns are the factor."""
    d = chain.noise_dim
    probes = torch.cat([torch.zeros(1, d), torch.eye(d)]).double()
    images = chain.from_noise(probes[:, None] if chain.batch_shape else probes).reshape(d + 1, d)
    factor = (images[1:] - images[0]).T
    return images[0], factor @ factor.T


@hierarchies
def test_layers_sum_to_the_kl_of_the_joint_normals(name):
    truth, model = exact(name)
    spoiled(model)
    x = truth.rows()[0]
    with torch.no_grad():
        wanted, repeated = full_kl(model, x), x.expand(40_000, -1)
        q, p = model.posterior(repeated), model.prior()
        z = q.rsample((1,))
        layers = q.kl_per_layer(p, z)
        sampled = (q.log_prob(z) - p.log_prob(z))[0]
    for values in (layers.sum(1), sampled):
        error = float(values.std()) / math.sqrt(len(values))
        assert float(values.mean()) == pytest.approx(wanted, abs=4 * error)
    assert layers.shape == (40_000, len(truth.sizes))
    per_dim = q.kl_per_dim(p, z)
    if name == "two-layer":
        assert per_dim is None
        return
    split = per_dim.split(truth.sizes, -1)
    assert_close(torch.stack([part.sum(-1) for part in split], -1), layers)
    assert (per_dim >= 0).all()
    # given the layers above, a KL has less noise than the densities at the draw
    assert layers.sum(1).var() < sampled.var()


@hierarchies
def test_a_term_of_the_kl_is_the_mean_of_its_log_ratio(name):
    """Each layer on its own, against log q - log p at draws."""
    truth, model = exact(name)
    spoiled(model)
    with torch.no_grad():
        x = truth.rows()[1].expand(40_000, -1)
        q, p = model.posterior(x), model.prior()
        z = q.rsample((1,))
        closed = q.kl_per_layer(p, z)
        ratios = torch.stack([a - b for a, b in zip(q.log_prob_per_layer(z), p.log_prob_per_layer(z), strict=True)], -1)
    difference = ratios[0] - closed
    error = difference.std(0) / math.sqrt(len(difference))
    assert (difference.mean(0).abs() <= 4 * error + 1e-12).all()


def line(mean, std):
    return Independent(Normal(mean, std), 1)


def test_the_lower_term_of_two_layers_may_be_negative():
    """q(z1) is wider than p(z1 | z2): its term is -log(0.9 / 0.1), and the KL is positive all the same."""
    one, width = torch.ones(1).double(), torch.full((1,), 0.1).double()
    q = Chain(line(torch.zeros(50_000, 1).double(), 0.9 * one), [lambda z: line(z, width)], (1, 1), top_down=False)
    p = Chain(line(0 * one, one), [lambda z: line(z, width)], (1, 1), top_down=True)
    layers = q.kl_per_layer(p, q.rsample((1,))).mean(0)
    assert float(layers[0]) == pytest.approx(-math.log(9), abs=0.02)
    assert float(layers[1]) == pytest.approx((0.81 + 0.01 - 1) / 2 - math.log(0.1), abs=0.02)


def test_two_layers_take_no_free_bits():
    with pytest.raises(UsageError, match="free_bits"):
        elbo(MODELS["two-layer"](), Batch(torch.rand(3, 3).double()), free_bits=0.1)


# ---- the chain as a distribution


def small(top_down):
    """A chain of two layers of one dimension whose second conditional bends and changes its width."""

    def step(z):
        return line(torch.sin(2 * z), 0.4 + 0.3 * torch.sigmoid(z))

    first = line(torch.tensor([0.4], dtype=torch.float64), torch.tensor([0.8], dtype=torch.float64))
    return Chain(first, [step], (1, 1), top_down=top_down), step


@pytest.mark.parametrize("top_down", [True, False])
def test_density_is_the_product_and_integrates_to_one(top_down):
    chain, _ = small(top_down)
    axis = torch.linspace(-5, 6, 700, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    density = chain.log_prob(grid).exp()
    assert float(density.sum()) * float(axis[1] - axis[0]) ** 2 == pytest.approx(1, abs=1e-6)
    start, end = (grid.flip(-1) if top_down else grid).numpy().T
    by_hand = stats.norm(0.4, 0.8).logpdf(start) + stats.norm(
        np.sin(2 * start), 0.4 + 0.3 / (1 + np.exp(-start))
    ).logpdf(end)
    assert_close(chain.log_prob(grid), torch.as_tensor(by_hand), rtol=0, atol=1e-10)


@pytest.mark.parametrize("top_down", [True, False])
def test_draws_have_the_density(top_down):
    chain, _ = small(top_down)
    z = chain.sample((20_000,))
    start, end = (z.flip(-1) if top_down else z).numpy().T
    first = stats.norm(0.4, 0.8).cdf(start)
    second = stats.norm(np.sin(2 * start), 0.4 + 0.3 / (1 + np.exp(-start))).cdf(end)
    counts = np.histogram2d(first, second, bins=10, range=[[0, 1], [0, 1]])[0]
    assert stats.chisquare(counts.ravel()).pvalue > 2e-5


@pytest.mark.parametrize("top_down", [True, False])
def test_a_draw_is_the_same_function_of_its_noise(top_down):
    """`rsample` and `from_noise` agree in gradient: noise by hand, then the derivative of one layer by the other."""
    chain, _ = small(top_down)
    assert isinstance(chain, FromNoise)
    noise = torch.randn(5, 2).double().requires_grad_()
    z = chain.from_noise(noise)
    first, second = noise.flip(-1).unbind(-1) if top_down else noise.unbind(-1)
    start = 0.4 + 0.8 * first
    end = torch.sin(2 * start) + (0.4 + 0.3 * torch.sigmoid(start)) * second
    assert_close(z, torch.stack([end, start] if top_down else [start, end], -1))
    assert torch.autograd.gradcheck(chain.from_noise, noise)


def test_mean_and_variance_follow_the_chain():
    chain, step = small(True)
    assert_close(chain.mean, torch.cat([step(chain.first.mean).mean, chain.first.mean]))
    assert_close(chain.variance[0], step(chain.first.mean).variance[0])
    assert_close(chain.variance[1], torch.tensor(0.64).double())


def test_below_leaves_the_layers_above_as_they_are():
    truth, model = exact("ladder-3")
    z, prior = torch.randn(5, sum(truth.sizes)).double(), model.prior()
    z1, z2, z3 = z.split(truth.sizes, -1)
    A1, A2 = (torch.from_numpy(A) for A in truth.A)
    a1, a2 = (torch.from_numpy(a) for a in truth.a)
    assert torch.equal(prior.below(z, 0), z)
    assert_close(prior.below(z, 1), torch.cat([z2 @ A1.T + a1, z2, z3], -1))
    assert_close(prior.below(z, 2), torch.cat([(z3 @ A2.T + a2) @ A1.T + a1, z3 @ A2.T + a2, z3], -1))
    assert z1.shape == (5, 4)


@hierarchies
def test_a_rows_draws_are_its_own(name):
    truth, model = exact(name)
    x = truth.rows()
    q = RowSeeded(model.posterior(x), row_seeds(x, 3))
    alone = RowSeeded(model.posterior(x[4:5]), row_seeds(x[4:5], 3))
    whole = q.rsample((6,))
    assert_close(alone.rsample((6,))[:, 0], whole[:, 4], rtol=0, atol=1e-12)
    assert isinstance(unseeded(q), Chain)
    assert float((whole[0] - whole[1]).detach().abs().min()) > 0


def test_a_product_of_gaussians_is_what_quadrature_says():
    a = Independent(Normal(torch.tensor([1.2]).double(), torch.tensor([0.7]).double()), 1)
    b = Independent(Normal(torch.tensor([-0.5]).double(), torch.tensor([0.4]).double()), 1)
    axis = torch.linspace(-8, 8, 40_001, dtype=torch.float64)[:, None]
    weight = (a.log_prob(axis) + b.log_prob(axis)).exp()
    weight = weight / weight.sum()
    mean = (weight * axis[:, 0]).sum()
    found = gaussian_product(a, b)
    assert_close(found.mean[0], mean, rtol=0, atol=1e-10)
    assert_close(found.variance[0], (weight * (axis[:, 0] - mean) ** 2).sum(), rtol=0, atol=1e-10)


# ---- the ladder of one layer is the VAE


@pytest.mark.parametrize("network", ["mlp", "linear"])
def test_a_ladder_of_one_layer_is_the_vae(network):
    hidden = (9, 7) if network == "mlp" else ()
    shape = {"hidden": hidden, "activation": "tanh", "latent_dim": 3, "sigma": 0.4}
    vae, ladder = vk.models.vae(vector(), **shape).double(), vk.models.ladder(vector(), layers=1, **shape).double()
    # the same parameters in the same order of the way from x to the code, and from the code to x
    for one, other in ((vae.encoder, ladder.encoder), (vae.decoder, ladder.decoder)):
        for a, b in zip(one.parameters(), other.parameters(), strict=True):
            a.data.copy_(b.data)
    x = torch.randn(8, SIZE).double()
    assert_close(vae.encode(x), ladder.encode(x), rtol=1e-12, atol=1e-12)
    assert_close(vae.reconstruct(x), ladder.reconstruct(x), rtol=1e-12, atol=1e-12)
    for objective in (elbo, partial(elbo, free_bits=0.3), partial(iwae, samples=3)):
        terms = []
        for model in (vae, ladder):
            torch.manual_seed(4)
            terms.append(objective(model, Batch(x)))
        for field in ("loss", "rate", "distortion"):
            assert_close(getattr(terms[0], field), getattr(terms[1], field), rtol=1e-12, atol=1e-12)
    assert_close(
        log_likelihood_per_example(vae, x, samples=9),
        log_likelihood_per_example(ladder, x, samples=9),
        atol=1e-10,
        rtol=0,
    )


# ---- gradients


def tiny(recipe, **more):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return recipe(vector(3), hidden=(4,), activation="tanh", likelihood="gaussian", **more).double()


MODELS = {
    "two-layer": partial(tiny, vk.models.two_layer, latent_dims=(2, 1)),
    "ladder": partial(tiny, vk.models.ladder, latent_dims=(2, 1, 1)),
}
OBJECTIVES = {
    "elbo": elbo,
    "sampled": partial(elbo, kl="sampled", samples=2),
    "iwae": partial(iwae, samples=3),
    "free-bits": partial(elbo, free_bits=0.02),
}
PAIRS = [pair for pair in product(MODELS, OBJECTIVES) if pair != ("two-layer", "free-bits")]


class Seeded(torch.nn.Module):
    """An objective whose noise is a function of each row, and whose parameters can be given from outside."""

    def __init__(self, model, objective):
        super().__init__()
        self.model, self.objective = model, objective

    def draw(self, x, c=None, samples=1):
        return self.model.draw(x, c, samples, RowSeeded(self.model.posterior(x), row_seeds(x, 0)))

    def forward(self, x):
        return self.objective(self, Batch(x)).loss


@pytest.mark.parametrize(("name", "objective"), PAIRS)
def test_gradients_agree_with_differences_in_every_layer(name, objective):
    loss, x = Seeded(MODELS[name](), OBJECTIVES[objective]), torch.randn(2, 3).double()
    names, values = zip(*loss.named_parameters(), strict=True)

    def value(*given):
        return torch.func.functional_call(loss, dict(zip(names, given, strict=True)), (x,))

    assert torch.autograd.gradcheck(value, values)
    gradients = torch.autograd.grad(loss(x).sum(), values)
    assert all(float(g.abs().max()) > 0 for g in gradients)


@pytest.mark.parametrize(("name", "objective"), PAIRS)
def test_loss_does_not_depend_on_how_a_batch_is_split(name, objective):
    loss, x = Seeded(MODELS[name](), OBJECTIVES[objective]), torch.randn(7, 3).double()
    assert_close(torch.cat([loss(part) for part in x.split([1, 4, 2])]), loss(x), rtol=1e-12, atol=1e-12)


def test_the_priors_networks_are_registered_once_and_shared():
    model, x = MODELS["ladder"](), torch.zeros(1, 3).double()
    assert len(model.state_dict()) == len(list(model.parameters()))
    before = model.encode(x)
    with torch.no_grad():
        model.prior.steps[0].network.bias.add_(1)
    changed = (model.encode(x) - before)[0].abs() > 1e-6
    assert changed.tolist() == [True, True, True, False]  # the layers below the top, whose posterior shares it


# ---- sizes


def test_sizes_of_the_layers():
    found = partial(layer_sizes, dims=28, depth=3)
    assert found(None, None, None) == (16, 8, 4)
    assert found(None, 3, None) == (1, 1, 1)
    assert found(None, 30, 1) == (30,)
    assert found((5, 9), None, None) == (5, 9)
    for total, layers in product(range(1, 40), range(1, 6)):
        if total >= layers:
            sizes = found(None, total, layers)
            assert (sum(sizes), len(sizes), min(sizes) > 0) == (total, layers, True)
            assert sizes == tuple(sorted(sizes, reverse=True))


@pytest.mark.parametrize(
    "sizes",
    [
        {"latent_dims": (3, 0)},
        {"latent_dims": ()},
        {"latent_dims": (3, 2), "latent_dim": 6},
        {"latent_dims": (3, 2), "layers": 3},
        {"layers": 0},
        {"latent_dim": 2},
        {"latent_dim": 0},
    ],
)
def test_sizes_that_cannot_be_right_are_refused(sizes):
    with pytest.raises(UsageError, match=r"latent_dim|layers"):
        vk.models.ladder(vector(), **sizes)


@pytest.mark.parametrize("sizes", [(4,), (4, 2, 1)])
def test_two_layers_are_two(sizes):
    with pytest.raises(UsageError, match="two layers"):
        vk.models.two_layer(vector(), latent_dims=sizes)


# ---- evaluation and report


@pytest.mark.parametrize("name", MODELS)
def test_the_evaluation_has_a_kl_for_every_layer(name):
    model = MODELS[name]()
    data = vk.load(RNG.normal(size=(40, 3)).astype(np.float32))
    figures = evaluate(model, data, samples=20)
    layers = figures["kl_per_layer"]
    assert len(layers) == (2 if name == "two-layer" else 3)
    assert sum(e.value for e in layers) == pytest.approx(figures["kl"].value, abs=1e-9)
    assert all(e.samples == 10 and e.unit == "nats" for e in layers)
    if name == "ladder":
        dims = figures["kl_per_dim"]
        assert sum(e.value for e in dims) == pytest.approx(figures["kl"].value, abs=1e-9)
        assert sum(e.value for e in dims[:2]) == pytest.approx(layers[0].value, abs=1e-9)
    else:
        assert "kl_per_dim" not in figures
        with pytest.raises(UsageError, match="kl_per_dim"):
            kl_per_dim(model, data.test)


def test_a_code_without_layers_has_no_kl_of_layers():
    model = tiny(vk.models.vae, latent_dim=2)
    with pytest.raises(UsageError, match="layers"):
        kl_per_layer(model, torch.randn(4, 3))


# ---- gradient estimators


def mean_gradient(model, objective, rows=250, blocks=50):
    """The gradient of every parameter as one vector, its mean over blocks of rows and the standard error."""
    x, parts = torch.tensor([[0.3, -1.0, 0.8]]).double().expand(rows, -1), []
    for _ in range(blocks):
        loss = objective(model, Batch(x)).loss.mean()
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        parts.append(torch.cat([g.flatten() for g in gradients]))
    found = torch.stack(parts)
    return found.mean(0), found.std(0) / math.sqrt(blocks)


ESTIMATORS = {
    "score": (partial(elbo, gradient="score"), elbo),
    "score-sampled": (partial(elbo, gradient="score", kl="sampled"), elbo),
    "path": (partial(elbo, gradient="path", kl="sampled"), elbo),
    "doubly": (partial(iwae, gradient="doubly"), iwae),
    "resampled": (partial(iwae, gradient="doubly", resampled=1), iwae),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_estimator_has_the_same_mean_gradient(name, estimator):
    """In the ladder some parameters belong to q and to p; they get both parts."""
    model, (one, plain) = MODELS[name](), ESTIMATORS[estimator]
    wanted, error = mean_gradient(model, partial(plain, samples=2))
    found, other = mean_gradient(model, partial(one, samples=2))
    assert float(((found - wanted) / (error.square() + other.square()).sqrt().clamp_min(1e-12)).abs().max()) < 5


@every
def test_the_path_gradient_of_the_exact_posterior_is_zero(name):
    truth, model = exact(name)
    loss = elbo(model, Batch(truth.rows()), gradient="path", kl="sampled").loss.sum()
    gradients = torch.autograd.grad(loss, list(model.encoder.parameters()))
    assert max(float(g.abs().max()) for g in gradients) < 1e-9


# ---- pictures, report and command line


def test_an_upper_dimension_moves_the_picture_through_the_layers_below():
    truth, model = exact("ladder-3")
    grid = torch.zeros(2, 5, 8).double()
    grid[0, :, 1] = grid[1, :, 7] = torch.linspace(-1, 1, 5).double()
    moved = settled(model, grid, [1, 7])
    assert torch.equal(moved[0], grid[0])
    top = grid[1, :, 7:] @ torch.from_numpy((truth.A[0] @ truth.A[1]).T)
    assert_close(moved[1, :, :4] - moved[1, 2, :4], top, rtol=1e-10, atol=1e-10)
    assert torch.equal(settled(tiny(vk.models.vae, latent_dim=2), grid[..., :2], [0, 1]), grid[..., :2])


def test_layers_in_the_gallery_are_ever_less_of_the_code():
    model, rows = MODELS["ladder"](), vk.Split(torch.randn(9, 3))
    arrays = layer_arrays(model, rows)
    assert arrays["layer_sizes"].tolist() == [2, 1, 1]
    assert_close(
        torch.from_numpy(arrays["layer_images"][0]), model.reconstruct(rows.rows(slice(0, 8)).double()).float()
    )
    z = model.encode(rows.rows(slice(0, 8)).double())
    second = model.prior.steps[1](z[:, 2:3]).mean
    assert_close(torch.from_numpy(arrays["layer_images"][1]), model.decode(second).mean.detach().float())
    assert layer_arrays(tiny(vk.models.vae, latent_dim=2), rows) == {}


@pytest.mark.parametrize("recipe", ["two_layer", "ladder"])
def test_the_command_trains_reports_and_answers(recipe, tmp_path, capsys):
    run, dims = str(tmp_path / "run"), "5,3" if recipe == "two_layer" else "4,3,2"
    small = ["--hidden", "16", "--epochs", "1", "--evaluation-samples", "5", "--latent-dims", dims]
    assert main(["train", "digits", "--model", recipe, *small, "--out", run]) == 0
    assert f"layers of codes, {dims.replace(',', '-')} from the bottom up" in capsys.readouterr().out
    figures = json.loads((tmp_path / "run" / "evaluation.json").read_text("utf-8"))
    layers = figures["kl_per_layer"]
    assert sum(layer["value"] for layer in layers) == pytest.approx(figures["kl"]["value"], abs=1e-4)
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert 'id="layers"' in page
    assert f"z{len(layers)}: " in page
    assert ('id="kl"' in page) == (recipe == "ladder")
    assert main(["encode", run, "digits", "--out", str(tmp_path / "codes.npz")]) == 0
    assert np.load(tmp_path / "codes.npz")["mean"].shape[1] == sum(map(int, dims.split(",")))
    assert main(["sample", run, "-n", "4", "--out", str(tmp_path / "samples.npy")]) == 0
