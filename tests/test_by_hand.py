"""The written-out gradient of the plain VAE's ELBO is `elbo`'s, and whatever it does not cover is left to `elbo`."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import vaekit as vk
from vaekit.conditional import Parametric
from vaekit.distributions.families import Bernoulli
from vaekit.distributions.posteriors import DiagonalGaussian
from vaekit.errors import UsageError
from vaekit.models.base import LatentModel
from vaekit.networks import MLP
from vaekit.priors import StandardNormal
from vaekit.training import schedules
from vaekit.training.by_hand import by_hand

SCHEMA = vk.Schema("image", (1, 4, 5), levels=2)
PLAIN = {"latent_dim": 3, "network": "mlp", "hidden": (7, 6)}


def model(**more):
    made = vk.models.vae(SCHEMA, **PLAIN | more)
    for p in made.parameters():  # biases start at 0, where a mistake in them would not be seen
        nn.init.normal_(p, std=0.5)
    return made


def batch(n=9, dtype=torch.float32):
    return vk.Batch((torch.rand(n, 1, 4, 5) > 0.5).to(dtype))


def slopes(objective, m, rows, weights, **keywords):
    """Loss, rate, distortion, and the gradient of a weighted sum of losses, noise drawn from seed 5."""
    torch.manual_seed(5)
    terms = objective(m, rows, **keywords)
    found = torch.autograd.grad((weights * terms.loss).sum(), list(m.parameters()))
    return terms.loss.detach(), terms.rate.detach(), terms.distortion.detach(), *found


def minimum_rate(dim=3):
    """A plain VAE with another upper bound of the log-variance."""
    return LatentModel(
        Parametric(MLP((1, 4, 5), (2, dim), (7,)), DiagonalGaussian(dim, minimum_rate=0.3)),
        Parametric(MLP((dim,), (1, 1, 4, 5), (7,)), Bernoulli((1, 4, 5))),
        StandardNormal(dim),
        dim,
    )


@pytest.mark.parametrize(
    "make",
    [
        model,
        lambda: model(activation="tanh"),
        lambda: model(hidden=()),
        lambda: model(hidden=(5,), latent_dim=1),
        lambda: vk.models.vae(vk.Schema("vector", (6,), levels=2), **PLAIN),
        minimum_rate,
    ],
)
@pytest.mark.parametrize("beta", [1.0, 0.3, 0.0])
def test_it_is_the_same_estimate_with_the_same_gradient(make, beta):
    m = make().double()
    rows = batch(dtype=torch.float64)
    if len(m.encoder.network.in_shape) == 1:
        rows = vk.Batch(rows.x.flatten(1)[:, :6])
    weights = torch.rand(9, dtype=torch.float64)
    objective = by_hand(m, vk.elbo)
    assert objective is not vk.elbo
    assert_close(slopes(objective, m, rows, weights, beta=beta), slopes(vk.elbo, m, rows, weights, beta=beta))


def test_far_out_values_keep_their_gradient():
    """Log-variances beyond both bounds, logits of some hundreds: finite, and elbo's to single precision."""
    m = model()
    with torch.no_grad():
        for p in m.parameters():
            p.mul_(8.0)
        m.encoder.network.out.bias[3:] = torch.tensor([-60.0, 40.0, 0.0])
    rows, weights = batch(), torch.rand(9)
    ours, theirs = (slopes(f, m, rows, weights) for f in (by_hand(m, vk.elbo), vk.elbo))
    assert all(bool(torch.isfinite(t).all()) for t in ours)
    assert_close(ours, theirs, rtol=1e-4, atol=1e-3)


def test_gray_values_are_weighed_as_elbo_weighs_them():
    m, rows, weights = model(), vk.Batch(torch.rand(9, 1, 4, 5)), torch.rand(9)
    assert_close(slopes(by_hand(m, vk.elbo), m, rows, weights), slopes(vk.elbo, m, rows, weights))


@pytest.mark.parametrize(
    ("objective", "taken"),
    [
        (vk.elbo, True),
        (partial(vk.elbo), True),
        (partial(vk.elbo, beta=4.0), True),
        (partial(vk.elbo, beta=0.5, samples=1, kl="auto", free_bits=0.0, capacity=None), True),
        (partial(vk.elbo, samples=2), False),
        (partial(vk.elbo, kl="sampled"), False),
        (partial(vk.elbo, free_bits=0.1), False),
        (partial(vk.elbo, capacity=3.0), False),
        (partial(vk.elbo, gradient="path"), False),
        (vk.iwae, False),
        (partial(vk.iwae, samples=1), False),
        (lambda m, b: vk.elbo(m, b), False),
    ],
)
def test_only_the_plain_bound_is_taken(objective, taken):
    assert (by_hand(model(), objective) is not objective) == taken


class Own(LatentModel):
    """Whatever a subclass changes, it is asked."""


def own():
    m = model()
    return Own(m.encoder, m.decoder, m.prior, m.latent_dim)


@pytest.mark.parametrize(
    "make",
    [
        lambda: model(activation="silu"),
        lambda: model(activation="gated"),
        lambda: model(activation="none"),
        lambda: model(network="conv", hidden=(4, 8)),
        lambda: model(posterior="full"),
        lambda: model(prior="mixture"),
        lambda: model(prior="vamp"),
        lambda: model(likelihood="gaussian"),
        lambda: vk.models.autoencoder(SCHEMA, **PLAIN),
        lambda: vk.models.cvae(vk.Schema("image", (1, 4, 5), levels=2, classes=("a", "b")), **PLAIN),
        own,
    ],
)
def test_only_the_plain_vae_is_taken(make):
    assert by_hand(make(), vk.elbo) is vk.elbo


def test_a_changed_layer_is_asked():
    m = model()
    nn.utils.parametrizations.weight_norm(m.encoder.network.out)
    assert by_hand(m, vk.elbo) is vk.elbo
    m = model()
    m.encoder.network.layers.insert(2, nn.Linear(7, 7))
    assert by_hand(m, vk.elbo) is vk.elbo
    m = model()
    m.encoder.network.layers[1] = nn.Tanh()
    assert by_hand(m, vk.elbo) is vk.elbo
    m = model()
    m.decoder.network.out = nn.Linear(7, 20, bias=False)
    assert by_hand(m, vk.elbo) is vk.elbo


def passes_by(m, keywords=None, rows=None, prepare=None):
    """Whether a call goes past the model's own `draw`."""
    objective, heard = by_hand(m, vk.elbo), []
    draw, m.draw = m.draw, lambda *given: heard.append(1) or draw(*given)
    if prepare is not None:
        prepare(m)
    objective(m, rows or batch(), **(keywords or {}))
    return not heard


def test_what_comes_up_during_a_training_is_left_to_elbo():
    assert passes_by(model())
    assert passes_by(model(), {"beta": 0.5})
    assert not passes_by(model(), {"free_bits": 0.5})
    assert not passes_by(model(), {"beta": 1.0, "capacity": 2.0})
    for listen in ("register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"):
        assert not passes_by(
            model(), prepare=lambda m, listen=listen: getattr(m.decoder.network, listen)(lambda *_: None)
        )
    assert not passes_by(model(), prepare=lambda m: m.encoder.network.out.requires_grad_(False))
    with torch.autocast("cpu", torch.bfloat16):
        assert not passes_by(model())


def test_a_wrong_beta_is_refused_as_ever():
    m = model()
    with pytest.raises(UsageError, match="beta -1"):
        by_hand(m, vk.elbo)(m, batch(), beta=-1.0)


def trained(objective, **more):
    torch.manual_seed(1)
    m = model()
    data = vk.Dataset(SCHEMA, vk.Split(batch(60).x), vk.Split(batch(20).x, name="validation"))
    history = vk.fit(m, data, objective, **{"epochs": 3, "batch_size": 16, "progress": False, "device": "cpu"} | more)
    return history, nn.utils.parameters_to_vector(m.parameters()).detach()


@pytest.mark.parametrize("more", [{}, {"schedules": {"beta": schedules.linear(0.0, 1.0, 8)}}, {"gradient_clip": 0.1}])
def test_a_training_is_the_same_either_way(more):
    torch.manual_seed(0)
    ours, w = trained(vk.elbo, **more)
    torch.manual_seed(0)
    theirs, v = trained(lambda m, b, **k: vk.elbo(m, b, **k), **more)
    for name in ("train_loss", "train_rate", "train_distortion", "validation_elbo"):
        assert_close(torch.tensor(ours[name]), torch.tensor(theirs[name]), rtol=1e-4, atol=1e-4)
    assert_close(w, v, rtol=1e-3, atol=1e-4)


def test_fit_takes_it(monkeypatch):
    """Without validation rows nothing asks the model for a draw."""
    monkeypatch.setattr(LatentModel, "draw", lambda *_: pytest.fail("elbo was asked"))
    vk.fit(model(), vk.Dataset(SCHEMA, vk.Split(batch(60).x)), epochs=1, progress=False, device="cpu")
