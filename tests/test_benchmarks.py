"""What the benchmarks make themselves: the lagging VampPrior of the published tables."""

import importlib.util
from pathlib import Path

import torch
from torch.testing import assert_close

import vaekit as vk

SCHEMA = vk.Schema("vector", (6,), levels=2)


def module(name):
    path = Path(__file__).parents[1] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def gradients(model, batches):
    model.zero_grad()
    torch.manual_seed(1)
    for batch in batches:
        vk.elbo(model, batch).loss.mean().backward()
    return [p.grad.clone() for p in model.parameters()]


def test_a_lagging_prior_gathers_the_gradient_of_the_steps_between():
    torch.manual_seed(0)
    model = vk.models.vae(SCHEMA, latent_dim=2, hidden=(8,), prior="vamp", prior_components=4).double()
    batches = [vk.Batch((torch.rand(5, 6) < 0.3).double()) for _ in range(7)]
    plain = gradients(model, batches)
    model.prior.make = module("lagging").lagging(model.prior, model.encoder, 3)
    # the weights stand still, so nothing is lost: the fourth and the seventh call pass on what was gathered
    for got, expected in zip(gradients(model, batches), plain, strict=True):
        assert_close(got, expected, rtol=1e-9, atol=1e-12)
    # the calls to come are 8th and 9th: the mixture stands, and nothing reaches the pseudo-inputs
    model.zero_grad()
    vk.elbo(model, batches[0]).loss.mean().backward()
    assert model.prior.raw.grad is None


def test_a_lagging_prior_is_evaluated_as_it_is():
    model = vk.models.vae(SCHEMA, latent_dim=2, hidden=(8,), prior="vamp", prior_components=4)
    model.prior.make = module("lagging").lagging(model.prior, model.encoder, 3)
    model.prior()
    with torch.no_grad():
        model.prior.raw.add_(1.0)
    z = torch.randn(5, 2)
    stands = model.prior().log_prob(z)
    now = model.eval().prior().log_prob(z)
    assert not torch.allclose(stands, now)
    each = torch.stack([model.posterior(u[None]).log_prob(z) for u in model.prior.pseudo_inputs])
    assert_close(now, each.exp().mean(0).log())
