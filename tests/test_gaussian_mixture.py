"""The quick mixture of Gaussians is torch's slow one: densities, slopes, and figures with far fewer passes of the encoder."""

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal
from torch.testing import assert_close

import vaekit as vk
from vaekit.conditional import held
from vaekit.data.arrays import describe
from vaekit.distributions.gaussian_mixture import GaussianMixture, mixture

SCALES = [1.0, 0.05, 3e-4]
"""The last is the smallest that a posterior may have."""


def parameters(scale, components=7, dim=3, dtype=torch.float64):
    g = torch.Generator().manual_seed(1)
    loc = torch.randn(components, dim, generator=g, dtype=torch.float64)
    spread = scale * torch.rand(components, dim, generator=g, dtype=torch.float64).add(0.5)
    logits = torch.randn(components, generator=g, dtype=torch.float64)
    near = loc[torch.arange(40) % components] + 2 * scale * torch.randn(40, dim, generator=g, dtype=torch.float64)
    z = torch.cat([near, 5 * torch.randn(40, dim, generator=g, dtype=torch.float64)]).view(2, 40, dim)
    return [t.to(dtype).requires_grad_() for t in (logits, loc, spread, z)]


def of(kind, logits, loc, spread):
    return kind(Categorical(logits=logits), Independent(Normal(loc, spread, validate_args=False), 1))


@pytest.mark.parametrize("scale", SCALES)
def test_densities_and_slopes_are_those_of_torchs_mixture(scale):
    ours, theirs = parameters(scale), parameters(scale)
    quick = of(GaussianMixture, *ours[:3]).log_prob(ours[3])
    slow = of(MixtureSameFamily, *theirs[:3]).log_prob(theirs[3])
    assert quick.shape == (2, 40)
    assert_close(quick, slow, rtol=1e-7, atol=1e-7)  # squares of 1e8 and more are taken apart
    quick.sum().backward()
    slow.sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a.grad, b.grad, rtol=1e-8, atol=1e-8 * float(b.grad.abs().max()))


@pytest.mark.parametrize("scale", SCALES)
def test_single_precision_loses_nothing_more(scale):
    """Against torch's mixture of the same rounded parameters in double precision: the error is that of the result alone."""
    single = parameters(scale, dtype=torch.float32)
    found = of(GaussianMixture, *single[:3]).log_prob(single[3])
    exact = of(MixtureSameFamily, *(t.detach().double() for t in single[:3])).log_prob(single[3].detach().double())
    assert found.dtype == torch.float32
    assert_close(found.double(), exact, rtol=1e-6, atol=1e-6)


def test_other_mixtures_stay_torchs():
    """Components of one row each, and components that are no Gaussians."""
    rows = Independent(Normal(torch.zeros(4, 7, 3), torch.ones(4, 7, 3)), 1)
    assert type(mixture(Categorical(logits=torch.zeros(4, 7)), rows)) is MixtureSameFamily
    flat = Independent(torch.distributions.Laplace(torch.zeros(7, 3), torch.ones(7, 3)), 1)
    assert type(mixture(Categorical(logits=torch.zeros(7)), flat)) is MixtureSameFamily


def vamp():
    torch.manual_seed(0)
    x = torch.randn(30, 4)
    return vk.models.vae(describe(x, None, None), latent_dim=2, hidden=(8,), prior="vamp", prior_components=6), x


def test_an_evaluation_encodes_the_pseudo_inputs_once():
    model, x = vamp()
    seen = []
    model.encoder.register_forward_hook(lambda _m, given, _out: seen.append(len(given[0])))
    vk.evaluation.log_likelihood(model, x, samples=50, memory=2000)
    assert seen.count(6) == 1
    assert not model.prior._holding
    assert model.prior().mean.requires_grad, "after it the prior learns again"


def test_held_priors_are_made_anew_afterwards():
    model, _ = vamp()
    with held(model):
        before = model.prior()
        with held(model):
            assert model.prior() is before
        assert model.prior() is before, "the outer one has not ended"
    model.prior.raw.data.add_(1.0)
    assert not torch.equal(model.prior().mean, before.mean)
    with held(model):
        assert not torch.equal(model.prior().mean, before.mean), "nor is it remembered until the next evaluation"
