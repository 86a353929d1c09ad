"""The aggregate posterior: the parts of the KL by enumeration, MMD against its closed form, FactorVAE's two players."""

import math
from functools import partial
from itertools import combinations

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal
from torch.nn import functional as F
from torch.testing import assert_close

import vaekit as vk
from vaekit.distributions.seeded import RowSeeded, row_seeds
from vaekit.errors import UsageError
from vaekit.networks import MLP
from vaekit.objectives import beta_tc, elbo, factor, mmd
from vaekit.objectives.aggregate import aggregate_densities, log_weights, mmd_by_row
from vaekit.objectives.critic import criticism, permute_dimensions

Batch = vk.Batch
SCHEMA = vk.Schema("vector", (3,))


def vae(**more):
    torch.manual_seed(3)
    arguments = {"latent_dim": 2, "hidden": (4,), "activation": "tanh", "likelihood": "gaussian", **more}
    return vk.models.vae(SCHEMA, **arguments).double()


class Seeded:
    """A model whose rows draw from generators of their own."""

    def __init__(self, model):
        self.model, self.prior_codes = model, getattr(model, "prior_codes", None)

    def posterior(self, x, c=None):
        return RowSeeded(self.model.posterior(x), row_seeds(x, 0))

    def draw(self, x, c=None, samples=1, q=None):
        return self.model.draw(x, c, samples, self.posterior(x) if q is None else q)


def rows(n=6):
    return torch.rand(n, 3, generator=torch.Generator().manual_seed(1)).double()


def posterior(n, latents=2):
    generator = torch.Generator().manual_seed(2)
    loc, scale = (torch.randn(n, latents, generator=generator, dtype=torch.float64) for _ in range(2))
    return Independent(Normal(2 * loc, scale.exp()), 1)


def densities(q, z):
    """q(z_i | x_j) and q(z_id | x_j) by the formula of the normal density: (B, N), (B, N, D)."""
    loc, scale = q.base_dist.loc, q.base_dist.scale
    each = torch.exp(-0.5 * ((z[:, None] - loc) / scale) ** 2) / (scale * math.sqrt(2 * math.pi))
    return each.prod(-1), each


# ---- beta-TC


@pytest.mark.parametrize("sampling", ["stratified", "weighted"])
def test_the_parts_sum_to_the_kl_and_weights_of_one_are_the_elbo(sampling):
    model, batch = Seeded(vae()), Batch(rows())
    found = partial(beta_tc, samples=3, sampling=sampling, dataset_size=40)
    plain = elbo(model, batch, kl="sampled", samples=3)
    assert_close(found(model, batch, beta=1.0).loss, plain.loss, rtol=1e-12, atol=1e-12)
    none = {"beta": 0.0, "information": 0.0, "dimensions": 0.0}
    parts = [found(model, batch, **none | {key: 1.0}) for key in none]
    total = sum(part.loss - part.distortion for part in parts)
    assert_close(total, plain.rate, rtol=1e-12, atol=1e-12)
    assert_close(parts[0].rate, plain.rate, rtol=1e-12, atol=1e-12)
    weighed = found(model, batch, beta=5.0, information=0.5, dimensions=2.0).loss
    tc, information, dimensions = (part.loss - part.distortion for part in parts)
    assert_close(weighed, plain.distortion + 0.5 * information + 5 * tc + 2 * dimensions, rtol=1e-12, atol=1e-12)


def test_over_the_whole_data_set_the_aggregate_is_exact():
    """Then the three parts are mutual information, total correlation and dimension-wise KL by their definitions."""
    q = posterior(6)
    z = q.sample((4,))
    for sampling in ("stratified", "weighted"):
        joint, product = aggregate_densities(q, z, 6, sampling)
        if sampling == "weighted":  # 1 / (N B) is 1 / B too small: its own estimate counts the batch twice
            joint, product = joint + math.log(6), product + 2 * math.log(6)
        for k in range(4):
            each, by_dim = densities(q, z[k])
            assert_close(joint[k], each.mean(1).log(), rtol=1e-11, atol=1e-11)
            assert_close(product[k], by_dim.mean(1).log().sum(-1), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("batch", [2, 3, 5])
def test_stratified_sampling_is_unbiased_by_enumeration(batch):
    """The mean over every batch that holds row i is q(z_i), for the joint density and for each dimension."""
    n, q = 6, posterior(6)
    z = q.sample()
    each, by_dim = densities(q, z)
    total, by_dim_total, count = torch.zeros(n).double(), torch.zeros(n, 2).double(), math.comb(n - 1, batch - 1)
    for chosen in combinations(range(n), batch):
        at = list(chosen)
        w = log_weights(batch, n, "stratified").exp()
        total[at] += (w * each[at][:, at]).sum(1) / count
        by_dim_total[at] += (w[..., None] * by_dim[at][:, at]).sum(1) / count
    assert_close(total, each.mean(1), rtol=1e-11, atol=1e-13)
    assert_close(by_dim_total, by_dim.mean(1), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(("batch", "size"), [(1, 9), (2, 9), (4, 9), (9, 9)])
def test_a_rows_own_weight_stands_on_the_diagonal(batch, size):
    w = log_weights(batch, size, "stratified").exp()
    assert_close(w.diagonal(), torch.full((batch,), 1 / size).double())
    if batch > 1:
        assert_close(w.sum(1), torch.ones(batch).double())
    assert_close(log_weights(batch, size, "weighted").exp(), torch.full((batch, batch), 1 / (batch * size)).double())


def test_the_order_of_a_batch_plays_no_part():
    model, x = Seeded(vae()), rows()
    order = [3, 0, 5, 1, 4, 2]
    loss = beta_tc(model, Batch(x), dataset_size=50).loss
    assert_close(beta_tc(model, Batch(x[order]), dataset_size=50).loss, loss[order], rtol=1e-11, atol=1e-11)


def test_the_total_correlation_of_correlated_codes_is_the_closed_form():
    """Narrow posteriors at draws of a correlated Gaussian: q(z) is that Gaussian, TC = -1/2 log(1 - rho^2)."""
    rho, n = 0.8, 1500
    torch.manual_seed(0)
    width = 0.15
    inner = torch.tensor([[1.0, rho], [rho, 1.0]]).double() - width**2 * torch.eye(2).double()
    loc = MultivariateNormal(torch.zeros(2).double(), inner).sample((n,))
    q = Independent(Normal(loc, torch.full_like(loc, width)), 1)
    joint, product = aggregate_densities(q, q.sample((1,)), n, "stratified")
    assert float((joint - product).mean()) == pytest.approx(-0.5 * math.log(1 - rho**2), abs=0.06)


def test_beta_tc_weighs_the_gradient_of_the_total_correlation():
    x = rows()

    def slopes(**weights):
        model = vae()
        beta_tc(Seeded(model), Batch(x), dataset_size=6, **weights).loss.mean().backward()
        return torch.cat([p.grad.flatten() for p in model.encoder.parameters()])

    def total_correlation():
        model = vae()
        seen = Seeded(model)
        q = seen.posterior(x)
        each, by_dim = densities(q.plain, q.rsample((1,))[0])
        (each.mean(1).log() - by_dim.mean(1).log().sum(-1)).mean().backward()
        return torch.cat([p.grad.flatten() for p in model.encoder.parameters()])

    assert_close(slopes(beta=4.0) - slopes(beta=1.0), 3 * total_correlation(), rtol=1e-8, atol=1e-10)


def test_fit_tells_an_objective_how_many_rows_there_are():
    seen = []

    def objective(model, batch, *, dataset_size=None):
        seen.append(dataset_size)
        return beta_tc(model, batch, dataset_size=dataset_size)

    for given in (objective, partial(objective, dataset_size=99)):
        vk.fit(vae(), torch.rand(13, 3), given, epochs=1, batch_size=6, progress=False)  # the last batch is one row
    assert seen == [13] * 3 + [99] * 3


# ---- MMD


def gaussian_mmd(mean, std, scale):
    """MMD^2 of N(mean, diag std^2) from N(0, I) for the kernel exp(-|a - b|^2 / scale)."""

    def expected(difference, variance):
        return ((scale / (scale + 2 * variance)).sqrt() * (-(difference**2) / (scale + 2 * variance)).exp()).prod()

    zero, one = torch.zeros_like(mean), torch.ones_like(mean)
    return expected(zero, 2 * std**2) + expected(zero, 2 * one) - 2 * expected(mean, std**2 + 1)


@pytest.mark.parametrize(("mean", "std", "bandwidth"), [((0.0, 0.0), (1.0, 1.0), 1.0), ((0.7, -0.3), (0.5, 1.6), 0.6)])
def test_mmd_is_the_closed_form_of_two_gaussians(mean, std, bandwidth):
    mean, std = torch.tensor(mean).double(), torch.tensor(std).double()
    torch.manual_seed(0)
    estimates = []
    for _ in range(200):
        z, y = mean + std * torch.randn(100, 2).double(), torch.randn(100, 2).double()
        estimates.append(mmd_by_row(z, y, "rbf", bandwidth).mean())
    found = torch.stack(estimates)
    expected = gaussian_mmd(mean, std, 2 * 2 * bandwidth**2)
    assert abs(found.mean() - expected) < 4 * found.std() / math.sqrt(len(found))
    assert found.std() / math.sqrt(len(found)) < 0.002  # a biased estimate would be off by 2 / 100


@pytest.mark.parametrize("kernel", ["rbf", "imq"])
def test_mmd_by_row_has_the_u_statistic_as_its_mean(kernel):
    z, y = torch.randn(5, 3).double(), torch.randn(5, 3).double()
    s = 2 * 3 * 0.8**2

    def k(a, b):
        square = ((a - b) ** 2).sum()
        return torch.exp(-square / s) if kernel == "rbf" else s / (s + square)

    pairs = [(i, j) for i in range(5) for j in range(5)]
    within = sum(k(z[i], z[j]) + k(y[i], y[j]) for i, j in pairs if i != j) / 20
    across = sum(k(z[i], y[j]) for i, j in pairs) / 25
    assert_close(mmd_by_row(z, y, kernel, 0.8).mean(), within - 2 * across, rtol=1e-12, atol=1e-12)
    assert mmd_by_row(z[:1], y[:1], kernel).tolist() == [0.0]
    assert torch.autograd.gradcheck(lambda a: mmd_by_row(a, y, kernel, 0.8), z.requires_grad_())


def test_mmd_adds_its_distance_to_distortion_and_rate():
    model, batch = Seeded(vae()), Batch(rows())
    torch.manual_seed(1)
    prior = model.model.prior_codes(6)
    torch.manual_seed(1)
    terms, plain = mmd(model, batch, weight=7.0, beta=0.3), elbo(model, batch, beta=0.3)
    distance = mmd_by_row(model.draw(batch.x).z[0], prior)
    assert_close(terms.loss, plain.loss + 7 * distance, rtol=1e-12, atol=1e-12)
    assert_close(terms.rate, plain.rate)


def test_mmd_brings_the_aggregate_posterior_to_the_prior():
    torch.manual_seed(0)
    x = 3 + torch.randn(256, 3) * torch.tensor([2.0, 0.5, 1.0])
    spreads = {}
    for weight in (0.0, 100.0):
        torch.manual_seed(1)
        model = vk.models.vae(SCHEMA, latent_dim=2, hidden=(16,), likelihood="gaussian", sigma=0.3)
        vk.fit(model, x, partial(mmd, weight=weight), epochs=60, batch_size=128, learning_rate=0.01, progress=False)
        z = model.draw(x).z[0].detach()
        spreads[weight] = float(z.mean(0).norm() + (z.std(0) - 1).norm())
    assert spreads[100.0] < 0.5 < spreads[0.0]


# ---- FactorVAE


def factorvae(**more):
    torch.manual_seed(0)
    return vk.models.factorvae(SCHEMA, latent_dim=2, hidden=(8,), critic_width=16, critic_layers=2, **more)


def test_permuted_dimensions_keep_their_marginals_and_lose_their_company():
    z = torch.randn(4000, 1).repeat(1, 3) * torch.tensor([1.0, 2.0, -1.0])
    permuted = permute_dimensions(z)
    assert_close(permuted.sort(0).values, z.sort(0).values)
    assert torch.corrcoef(permuted.T).fill_diagonal_(0).abs().max() < 0.08


def test_factor_adds_gamma_times_the_critics_logit():
    model, batch = factorvae().double(), Batch(rows())
    torch.manual_seed(1)
    terms = factor(model, batch, gamma=5.0, samples=2)
    torch.manual_seed(1)
    plain = elbo(model, batch, samples=2)
    torch.manual_seed(1)
    z = model.draw(batch.x, None, 2).z
    assert_close(terms.loss, plain.loss + 5 * model.critic(z)[..., 0].mean(0), rtol=1e-12, atol=1e-12)


def test_the_critics_loss_is_its_cross_entropy():
    model, batch = factorvae().double(), Batch(rows())
    torch.manual_seed(1)
    found = criticism(model, batch).loss
    torch.manual_seed(1)
    z, other = model.draw(batch.x, None, 2).z.detach()
    joint, product = (model.criticise(v) for v in (z, permute_dimensions(other)))
    ones = torch.ones_like(joint)
    halves = [
        F.binary_cross_entropy_with_logits(v, t, reduction="none") for v, t in ((joint, ones), (product, 0 * ones))
    ]
    assert_close(found, sum(halves) / 2, rtol=1e-12, atol=1e-12)
    torch.nn.init.zeros_(model.critic.out.weight)
    torch.nn.init.zeros_(model.critic.out.bias)
    assert_close(criticism(model, batch).loss, torch.full((6,), math.log(2)).double())


def test_no_gradient_passes_between_the_players():
    model, batch = factorvae(), Batch(rows().float())
    autoencoder, critic = model.updates(factor)
    criticism(model, batch).loss.mean().backward()
    assert all(p.grad is None for p in model.vae.parameters())
    assert all(p.grad is not None for p in model.critic.parameters())
    mine, other = ({id(p) for p in update.parameters} for update in (autoencoder, critic))
    assert not mine & other
    assert mine | other == {id(p) for p in model.parameters()}


@pytest.mark.parametrize("still", ["vae", "critic"])
def test_a_player_is_moved_in_its_own_turn_only(still):
    """Training with the other player's step at 0 leaves this one's weights as they were, to the bit."""
    model = factorvae()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    updates = [
        vk.Update(u.objective, u.parameters, learning_rate=0.0 if (at == 0) == (still == "vae") else 1e-2)
        for at, u in enumerate(model.updates(partial(factor, gamma=1000.0)))
    ]
    vk.fit(model, torch.rand(40, 3), epochs=2, batch_size=10, updates=updates, progress=False)
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]) == name.startswith(still), name


def test_the_critic_does_not_feel_gamma():
    trained = []
    for gamma in (0.0, 50.0):
        model = factorvae(critic_learning_rate=1e-2)
        first, second = model.updates(partial(factor, gamma=gamma))
        resting = vk.Update(first.objective, first.parameters, learning_rate=0.0)
        vk.fit(model, torch.rand(40, 3), epochs=2, batch_size=10, updates=[resting, second], progress=False)
        trained.append(torch.cat([p.detach().flatten() for p in model.critic.parameters()]))
    assert torch.equal(*trained)


def test_fit_asks_the_model_for_its_players():
    model = factorvae(critic_learning_rate=1e-2)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    history = vk.fit(
        model,
        torch.rand(40, 3),
        factor,
        epochs=1,
        batch_size=10,
        schedules={"gamma": lambda step: step},
        progress=False,
    )
    assert all(not torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert history["gamma"] == [3]


class Correlated:
    """A stub whose codes are draws of a Gaussian with correlation rho."""

    def __init__(self, critic, rho):
        self.critic, self.rho = critic, rho

    def criticise(self, z):
        return self.critic(z)[..., 0]

    def draw(self, x, c=None, samples=1):
        e = torch.randn(samples, len(x), 2)
        second = self.rho * e[..., 0] + math.sqrt(1 - self.rho**2) * e[..., 1]
        return type("Drawn", (), {"z": torch.stack([e[..., 0], second], -1)})()


def test_a_trained_critic_measures_the_total_correlation():
    rho = 0.7
    model, batch = Correlated(MLP((2,), (1,), (32, 32)), rho), Batch(torch.zeros(512, 1))
    optimizer = torch.optim.Adam(model.critic.parameters(), 5e-3)
    for step in range(600):
        optimizer.param_groups[0]["lr"] = 5e-3 * (1 - step / 600)
        optimizer.zero_grad()
        criticism(model, batch).loss.mean().backward()
        optimizer.step()
    with torch.no_grad():
        found = model.criticise(model.draw(torch.zeros(20_000, 1)).z[0]).mean()
    assert float(found) == pytest.approx(-0.5 * math.log(1 - rho**2), abs=0.05)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (beta_tc, "dataset_size None: expected N"),
        (partial(beta_tc, dataset_size=3), "dataset_size 3: expected N"),
        (partial(beta_tc, dataset_size=9, beta=-1.0), "beta -1.0: expected a number of at least 0"),
        (partial(beta_tc, dataset_size=9, samples=0), "samples 0"),
        (partial(beta_tc, dataset_size=9, sampling="even"), "sampling 'even': expected stratified or weighted"),
        (partial(mmd, kernel="linear"), "kernel 'linear': expected imq or rbf"),
        (partial(mmd, bandwidth=0.0), "bandwidth 0.0: expected a positive number"),
        (partial(mmd, weight=-1.0), "weight -1.0"),
        (factor, "needs a model with a critic; take model factorvae"),
    ],
)
def test_arguments_that_cannot_be_right_are_refused(call, said):
    with pytest.raises(UsageError, match=said):
        call(vae(), Batch(rows()))


def test_beta_tc_needs_a_posterior_that_factorises():
    with pytest.raises(UsageError, match="take the diagonal one"):
        beta_tc(vae(posterior="full"), Batch(rows()), dataset_size=9)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"critic_width": 0}, "critic_width 0"),
        ({"critic_layers": 0}, "critic_layers 0"),
        ({"critic_learning_rate": 0.0}, "critic_learning_rate 0.0"),
    ],
)
def test_critics_that_cannot_be_are_refused(arguments, said):
    with pytest.raises(UsageError, match=said):
        vk.models.factorvae(SCHEMA, **arguments)
