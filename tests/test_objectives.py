"""Objectives: gradients against closed forms and differences; what one row's loss may depend on; free bits."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal
from torch.testing import assert_close

import vaekit as vk
from vaekit.distributions.seeded import RowSeeded, row_seeds
from vaekit.errors import UsageError
from vaekit.networks.sparse import KSparse
from vaekit.objectives import Draw, elbo, iwae, reconstruction
from vaekit.objectives.codes import corrupt

Batch = vk.Batch


class Changed:
    """What an objective sees: a model with its posterior q(z|x) replaced by `change(q, x)`; it keeps its last draw."""

    def __init__(self, model, change):
        self.model, self.change = model, change

    def draw(self, x, c=None, samples=1):
        self.last = self.model.draw(x, c, samples, self.change(self.model.posterior(x), x))
        return self.last


def seeded(q, x):
    return RowSeeded(q, row_seeds(x, 0))


def tiny(likelihood="gaussian", **more):
    schema = vk.Schema("vector", (3,), levels={"bernoulli": 2, "discretized-logistic": 5}.get(likelihood))
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = vk.models.vae(schema, latent_dim=2, hidden=(4,), activation="tanh", likelihood=likelihood, **more)
    return model.double()


@pytest.mark.parametrize("beta", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("rows", [lambda q, x: q, seeded], ids=["plain", "seeded"])
def test_gradients_of_mean_and_sigma_are_reparameterised(beta, rows):
    x, model = torch.rand(5, 3).double(), tiny()
    posterior = model.posterior(x).base_dist
    loc, scale = (t.detach().clone().requires_grad_() for t in (posterior.loc, posterior.scale))
    seen = Changed(model, lambda q, x: rows(Independent(Normal(loc, scale), 1), x))
    loss = elbo(seen, Batch(x), beta=beta).loss.sum()
    (slope,) = torch.autograd.grad(-seen.last.log_px.sum(), seen.last.z, retain_graph=True)
    eps = ((seen.last.z - loc) / scale).detach()
    loss.backward()
    assert_close(loc.grad, slope[0] + beta * loc.detach())
    assert_close(scale.grad, (slope * eps)[0] + beta * (scale - 1 / scale).detach())


OBJECTIVES = {
    "elbo": elbo,
    "elbo-sampled": partial(elbo, kl="sampled", samples=2),
    "beta": partial(elbo, beta=3.0),
    "free-bits": partial(elbo, free_bits=0.02),
    "iwae": partial(iwae, samples=3),
}
LIKELIHOODS = [
    ("gaussian", "shared"),
    ("gaussian", "element"),
    ("bernoulli", None),
    ("continuous-bernoulli", None),
    ("discretized-logistic", "element"),
]


class Loss(nn.Module):
    """An objective as a module, so that its parameters can be given from outside."""

    def __init__(self, model, objective):
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, x):
        return self.objective(Changed(self.model, seeded), Batch(x)).loss


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize(("likelihood", "sigma"), LIKELIHOODS)
def test_gradients_agree_with_differences(name, likelihood, sigma):
    loss, x = Loss(tiny(likelihood, sigma=sigma), OBJECTIVES[name]), torch.tensor([[0.0, 1.0, 0.0], [1.0, 1.0, 0.0]])
    names, values = zip(*loss.named_parameters(), strict=True)

    def value(*given):
        return torch.func.functional_call(loss, dict(zip(names, given, strict=True)), (x.double(),))

    assert torch.autograd.gradcheck(value, values)


# ---- one row's loss is its own


@pytest.mark.parametrize("name", OBJECTIVES)
def test_loss_does_not_depend_on_how_a_batch_is_split(name):
    x, seen = torch.rand(7, 3).double(), Changed(tiny(), seeded)
    whole = OBJECTIVES[name](seen, Batch(x))
    parts = [OBJECTIVES[name](seen, Batch(part)) for part in x.split([1, 4, 2])]
    for field in ("loss", "rate", "distortion"):
        together = torch.cat([getattr(part, field) for part in parts])
        assert_close(together, getattr(whole, field), rtol=1e-12, atol=1e-12)
        assert float(together.detach().std()) > 0


class Fixed:
    """A stub whose draw has a given KL per dimension and log p(x|z) = -2."""

    def __init__(self, kl):
        self.kl = kl

    def draw(self, x, c=None, samples=1):
        return Draw(z=x[None], log_px=torch.full((1, len(x)), -2.0), log_pz=None, log_qz=None, kl_per_dim=self.kl)


@pytest.mark.parametrize("beta", [1.0, 3.0])
def test_free_bits_hold_each_dimension_of_each_row_at_its_threshold(beta):
    kl = torch.tensor([[0.1, 0.9], [0.7, 0.49], [0.0, 0.2]], requires_grad=True)
    terms = elbo(Fixed(kl), Batch(torch.zeros(3, 2)), beta=beta, free_bits=0.5)
    assert_close(terms.loss, 2 + beta * torch.tensor([1.4, 1.2, 1.0]))
    assert_close(terms.rate, torch.tensor([1.0, 1.19, 0.2]))
    terms.loss.sum().backward()
    assert torch.equal(kl.grad, beta * torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]))


def test_iwae_weighs_draws_by_their_likelihood():
    """A hand-made draw: the bound is the log of the mean weight, and the heavier draw gets the larger gradient."""
    log_px = torch.tensor([[-1.0], [-3.0], [-2.0]], requires_grad=True)
    draw = Draw(z=torch.zeros(3, 1, 1), log_px=log_px, log_pz=torch.zeros(3, 1), log_qz=torch.zeros(3, 1))
    terms = iwae(type("Given", (), {"draw": lambda self, x, c, samples: draw})(), Batch(torch.zeros(1, 1)), samples=3)
    weights = torch.tensor([[-1.0], [-3.0], [-2.0]]).exp()
    assert_close(terms.loss, -weights.mean(0).log())
    terms.loss.sum().backward()
    assert_close(log_px.grad, -weights / weights.sum())


def test_reconstruction_is_half_the_squared_error_and_a_constant():
    model, x = (
        vk.models.autoencoder(vk.Schema("vector", (3,)), latent_dim=2, hidden=(4,), likelihood="gaussian", sigma=1.0),
        torch.rand(5, 3),
    )
    terms = reconstruction(model, Batch(x))
    squared = (model.reconstruct(x) - x).square().sum(1)
    assert_close(terms.loss, squared / 2 + 1.5 * torch.log(torch.tensor(2 * torch.pi)))
    assert torch.equal(terms.rate, torch.zeros(5))


@pytest.mark.parametrize("beta", [1.0, 3.0])
def test_capacity_charges_the_distance_of_each_rows_rate(beta):
    kl = torch.tensor([[0.1, 0.9], [0.7, 2.4]], requires_grad=True)
    terms = elbo(Fixed(kl), Batch(torch.zeros(2, 2)), beta=beta, capacity=2.0)
    assert_close(terms.loss, 2 + beta * torch.tensor([1.0, 1.1]))
    assert_close(terms.rate, torch.tensor([1.0, 3.1]))
    terms.loss.sum().backward()
    assert torch.equal(kl.grad, beta * torch.tensor([[-1.0, -1.0], [1.0, 1.0]]))


# ---- the autoencoder's regularised forms


def one_layer(activation="tanh"):
    """code = act(W x + b), its analytic Jacobian at x, and the model."""
    model = vk.models.autoencoder(
        vk.Schema("vector", (3,)), latent_dim=2, hidden=(4,), likelihood="gaussian", sigma=1.0
    )
    first = nn.Linear(3, 2)
    model.encoder.network = nn.Sequential(first, nn.Tanh(), nn.Unflatten(-1, (1, 2)))
    model.double()
    return model, lambda x: (1 - torch.tanh(first(x)) ** 2)[..., None] * first.weight


def test_the_contractive_penalty_is_the_analytic_jacobians_norm():
    model, jacobian = one_layer()
    batch = Batch(torch.rand(5, 3).double())
    plain, terms = reconstruction(model, batch), reconstruction(model, batch, contractive=0.7)
    norm = jacobian(batch.x).square().sum((1, 2))
    assert_close(terms.loss, plain.loss + 0.7 * norm, rtol=1e-12, atol=1e-12)
    assert_close(terms.distortion, plain.distortion)
    parameters = list(model.encoder.parameters())
    found = torch.autograd.grad((terms.loss - terms.distortion).sum(), parameters)
    for a, b in zip(found, torch.autograd.grad(0.7 * norm.sum(), parameters), strict=True):
        assert_close(a, b, rtol=1e-10, atol=1e-12)
    with torch.no_grad():
        assert_close(reconstruction(model, batch, contractive=0.7).loss, terms.loss.detach())


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_the_contractive_penalty_is_exact_for_any_network(network):
    schema = vk.Schema("image", (1, 4, 4))
    model = vk.models.autoencoder(schema, latent_dim=3, hidden=(4,), network=network, activation="silu").double()
    x = torch.rand(2, 1, 4, 4).double()
    whole = torch.autograd.functional.jacobian(lambda x: model.posterior(x).mean, x)  # (2, 3, 2, 1, 4, 4)
    norm = torch.stack([whole[row, :, row].square().sum() for row in range(2)])
    terms = reconstruction(model, Batch(x), contractive=1.0)
    assert_close(terms.loss - terms.distortion, norm, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("corruption", ["gaussian", "mask", "salt"])
def test_denoising_encodes_the_corrupted_and_scores_the_clean_example(corruption):
    model, _ = one_layer()
    batch = Batch(torch.rand(5, 3).double())
    torch.manual_seed(4)
    dirty = corrupt(batch.x, 0.4, corruption)
    torch.manual_seed(4)
    terms = reconstruction(model, batch, noise=0.4, corruption=corruption)
    assert_close(terms.loss, -model.decode(model.encode(dirty)).log_prob(batch.x), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(terms.loss, reconstruction(model, batch).loss)


def test_corruptions_are_what_they_say():
    x = torch.full((4000, 5), 0.5)
    assert float((corrupt(x, 0.3) - x).std()) == pytest.approx(0.3, rel=0.05)
    assert set(corrupt(x, 0.3, "mask").unique().tolist()) == {0.0, 0.5}
    assert set(corrupt(x, 0.3, "salt").unique().tolist()) == {0.0, 0.5, 1.0}
    for kind in ("mask", "salt"):
        assert float((corrupt(x, 0.3, kind) != x).float().mean()) == pytest.approx(0.3, abs=0.02)


def test_l1_is_the_sum_of_the_codes_magnitudes():
    model, _ = one_layer()
    batch = Batch(torch.rand(5, 3).double())
    terms, plain = reconstruction(model, batch, l1=0.3), reconstruction(model, batch)
    assert_close(terms.loss, plain.loss + 0.3 * model.encode(batch.x).abs().sum(1), rtol=1e-12, atol=1e-12)
    assert_close(terms.distortion, plain.distortion)


def test_a_k_sparse_code_has_its_largest_elements_and_their_gradient():
    x = torch.tensor([[0.3, -2.0, 1.0, 0.5], [4.0, 0.0, -0.1, 0.2]], requires_grad=True)
    kept = KSparse(2, 4)(x)
    assert torch.equal(kept, torch.tensor([[0.0, -2.0, 1.0, 0.0], [4.0, 0.0, 0.0, 0.2]]))
    kept.sum().backward()
    assert torch.equal(x.grad, torch.tensor([[0.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 1.0]]))
    model = vk.models.autoencoder(vk.Schema("vector", (3,)), latent_dim=6, hidden=(4,), k_sparse=2)
    assert ((model.encode(torch.rand(5, 3)) != 0).sum(1) == 2).all()
    with pytest.raises(UsageError, match="k_sparse 7: expected 1 to 6"):
        vk.models.autoencoder(vk.Schema("vector", (3,)), latent_dim=6, k_sparse=7)


@pytest.mark.parametrize(
    "call",
    [
        partial(elbo, samples=0),
        partial(iwae, samples=0),
        partial(elbo, kl="exact"),
        partial(elbo, free_bits=-0.1),
        partial(elbo, free_bits=0.1, kl="sampled"),
        partial(elbo, beta=-1.0),
        partial(elbo, capacity=-1.0),
        partial(elbo, capacity=1.0, free_bits=0.1),
        partial(reconstruction, noise=-0.1),
        partial(reconstruction, noise=1.1, corruption="mask"),
        partial(reconstruction, noise=0.1, corruption="rain"),
        partial(reconstruction, l1=-1.0),
        partial(reconstruction, contractive=float("nan")),
    ],
)
def test_arguments_that_cannot_be_right_are_refused(call):
    with pytest.raises(
        UsageError, match=r"samples 0|kl 'exact'|free_bits|beta -1|capacity|noise|corruption|l1 -1|contractive nan"
    ):
        call(tiny(), Batch(torch.rand(2, 3).double()))


@pytest.mark.parametrize("objective", [elbo, iwae])
def test_an_autoencoder_has_no_bound(objective):
    model = vk.models.autoencoder(vk.Schema("vector", (3,)), latent_dim=2, hidden=(4,))
    with pytest.raises(UsageError, match="use reconstruction"):
        objective(model, Batch(torch.rand(2, 3)))


def test_a_closed_kl_that_does_not_exist_is_refused_and_auto_samples_it():
    model = vk.models.vae(vk.Schema("vector", (3,)), latent_dim=2, hidden=(4,), posterior="flow")
    with pytest.raises(UsageError, match="no KL in closed form"):
        elbo(model, Batch(torch.rand(2, 3)), kl="closed")
    torch.manual_seed(1)
    sampled = elbo(model, Batch(torch.rand(2, 3)), kl="sampled").loss
    torch.manual_seed(1)
    assert torch.equal(elbo(model, Batch(torch.rand(2, 3))).loss, sampled)
