"""What the benchmarks make themselves: the lagging VampPrior of the published tables, and their optimiser."""

import importlib.util
from pathlib import Path

import pytest
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


def test_muon_moves_matrices_by_even_singular_values_and_biases_as_adam_does():
    model = torch.nn.Linear(30, 20)
    optimizer = module("muon").Muon(list(model.parameters()), 1.0, share=0.3)
    optimizer.param_groups[0]["lr"] = 0.01  # as a schedule sets it
    weight, bias = model.weight.detach().clone(), model.bias.detach().clone()
    (model(torch.randn(64, 30)) ** 2).sum().backward()
    optimizer.step()
    moved = torch.linalg.svdvals(model.weight.detach() - weight)
    # Newton-Schulz brings them near 1; the step has the root mean square of Adam's, 0.2 by convention
    assert float((moved / (0.01 * 0.2 * 30**0.5)).sub(1.0).abs().max()) < 0.5
    assert_close((model.bias.detach() - bias).abs(), torch.full((20,), 0.003), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("shape", [(20, 50), (50, 20), (24, 24)])
def test_muon_is_torchs_own(shape):
    ours, theirs = (torch.nn.Parameter(torch.zeros(shape)) for _ in range(2))
    bias = torch.nn.Parameter(torch.zeros(3))
    optimizer = module("muon").Muon([ours, bias], 0.01)
    reference = torch.optim.Muon([theirs], 0.01, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        optimizer.step()
        reference.step()
    gap = (ours - theirs).detach().norm() / theirs.detach().norm()  # theirs is in bfloat16
    assert float(gap) < 0.03
