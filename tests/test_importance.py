"""Bounds from importance weights: what they reduce to, in what order they stand, and whose gradient they have."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.testing import assert_close

import vaekit as vk
from vaekit.conditional import Parametric
from vaekit.distributions.families import Gaussian
from vaekit.distributions.posteriors import DiagonalGaussian
from vaekit.distributions.seeded import RowSeeded, row_seeds
from vaekit.errors import UsageError
from vaekit.models import LatentModel
from vaekit.networks import MLP
from vaekit.objectives import Draw, ciwae, elbo, iwae, miwae, piwae, renyi
from vaekit.priors import StandardNormal

Batch = vk.Batch
LATENTS, SIZE, VARIANCE = 2, 5, 0.3
RNG = np.random.default_rng(5)
# orthogonal columns, so that the exact posterior is diagonal
W = np.linalg.qr(RNG.normal(size=(SIZE, LATENTS)))[0] * [1.7, 0.6]
ROWS = RNG.normal(size=(8, SIZE)) * 1.5
WEIGHT, X = torch.from_numpy(W), torch.from_numpy(ROWS)
LOG_PX = torch.from_numpy(stats.multivariate_normal(np.zeros(SIZE), W @ W.T + VARIANCE * np.eye(SIZE)).logpdf(ROWS))


def unbound(y, low=-16.0, high=8.0):
    """The raw value that the posterior's soft bound takes to y."""

    def inverse_softplus(v):
        return v + torch.log(-torch.expm1(-v))

    return high - inverse_softplus(high - low - inverse_softplus(y - low))


class Seeded(nn.Module):
    """A model whose rows draw from generators of their own: the same draws for every objective that is given it."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def posterior(self, x, c=None):
        return RowSeeded(self.model.posterior(x), row_seeds(x, 0))

    def draw(self, x, c=None, samples=1, q=None):
        return self.model.draw(x, c, samples, self.posterior(x) if q is None else q)


def linear(shift=0.0, widen=1.0):
    """p(x | z) = N(W z, s2 I), and its exact posterior or one off by `shift` and `widen` standard deviations."""
    gram = (WEIGHT**2).sum(0)
    variance = VARIANCE / (VARIANCE + gram)
    encoder, decoder = MLP((SIZE,), (2, LATENTS), ()).double(), MLP((LATENTS,), (1, SIZE), ()).double()
    slope = (WEIGHT / (VARIANCE + gram)).T
    with torch.no_grad():
        encoder.out.weight.copy_(torch.cat([slope, torch.zeros_like(slope)]))
        encoder.bias.copy_(torch.stack([shift * variance.sqrt(), unbound((widen**2 * variance).log())]))
        decoder.out.weight.copy_(WEIGHT)
        decoder.bias.zero_()
    likelihood = Parametric(decoder, Gaussian((SIZE,), sigma=math.sqrt(VARIANCE)))
    return Seeded(
        LatentModel(
            Parametric(encoder, DiagonalGaussian(LATENTS)), likelihood, StandardNormal(LATENTS), LATENTS
        ).double()
    )


def tiny():
    torch.manual_seed(3)
    model = vk.models.vae(
        vk.Schema("vector", (3,)), latent_dim=2, hidden=(4,), activation="tanh", likelihood="gaussian"
    )
    return Seeded(model.double()), Batch(torch.rand(5, 3).double())


class Weights:
    """A stub with log-weights of its own, (K, B)."""

    def __init__(self, log_w):
        self.log_w = log_w

    def draw(self, x, c=None, samples=1):
        assert samples == len(self.log_w)
        zero = torch.zeros_like(self.log_w)
        return Draw(z=zero[..., None], log_px=self.log_w, log_pz=zero, log_qz=zero)


BOUNDS = {
    "miwae": partial(miwae, samples=3, groups=5),
    "miwae, doubly": partial(miwae, samples=3, groups=5, gradient="doubly"),
    "iwae, doubly": partial(iwae, samples=4, gradient="doubly"),
    "miwae, resampled": partial(miwae, samples=3, groups=5, resampled=2),
    "ciwae": partial(ciwae, samples=4, elbo_part=0.3),
    "piwae": partial(piwae, samples=3, groups=5),
} | {f"renyi {alpha}": partial(renyi, samples=4, alpha=alpha) for alpha in (-1.0, 0.0, 0.5, 1.0, 3.0)}


@pytest.mark.parametrize("name", BOUNDS)
def test_every_bound_is_log_px_under_the_exact_posterior(name):
    terms = BOUNDS[name](linear(), Batch(X))
    assert_close(-terms.loss, LOG_PX, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", BOUNDS)
def test_a_worse_posterior_lowers_every_bound(name):
    rows = Batch(X.repeat(300, 1) + 1e-9 * torch.arange(2400)[:, None])  # each with its own draws
    loss = BOUNDS[name](linear(0.7, 1.5), rows).loss.detach()
    assert (-loss.mean() < LOG_PX.mean()) == (name != "renyi -1.0")


# ---- reductions, on the same draws


def losses(*objectives):
    model, batch = tiny()
    return [objective(model, batch).loss for objective in objectives]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (partial(miwae, samples=1, groups=6), partial(elbo, samples=6, kl="sampled")),
        (partial(miwae, samples=6, groups=1), partial(iwae, samples=6)),
        (partial(iwae, samples=1), partial(elbo, samples=1, kl="sampled")),
        (partial(ciwae, samples=6, elbo_part=1.0), partial(elbo, samples=6, kl="sampled")),
        (partial(ciwae, samples=6, elbo_part=0.0), partial(iwae, samples=6)),
        (partial(piwae, samples=6, groups=1), partial(iwae, samples=6)),
        (partial(piwae, samples=2, groups=3), partial(iwae, samples=6)),
        (partial(renyi, samples=6, alpha=0.0), partial(iwae, samples=6)),
        (partial(renyi, samples=6, alpha=1.0), partial(elbo, samples=6, kl="sampled")),
        (partial(renyi, samples=1, alpha=0.3), partial(elbo, samples=1, kl="sampled")),
    ],
)
def test_reductions(one, other):
    assert_close(*losses(one, other), rtol=1e-12, atol=1e-12)


def test_m_and_k_are_not_the_same():
    log_w = torch.from_numpy(RNG.normal(size=(6, 4)) * 3)
    groups = log_w.exp().view(3, 2, 4)  # three bounds of two draws
    found = miwae(Weights(log_w), Batch(torch.zeros(4, 1)), samples=2, groups=3).loss
    assert_close(found, -groups.mean(1).log().mean(0), rtol=1e-12, atol=1e-12)
    swapped = miwae(Weights(log_w), Batch(torch.zeros(4, 1)), samples=3, groups=2).loss
    assert_close(swapped, -log_w.exp().view(2, 3, 4).mean(1).log().mean(0), rtol=1e-12, atol=1e-12)
    assert (found - swapped).abs().min() > 1e-3


@pytest.mark.parametrize("alpha", [-2.0, 0.0, 0.4, 0.999, 1.001, 2.0])
def test_renyi_is_the_power_mean_of_the_weights(alpha):
    log_w = torch.from_numpy(RNG.normal(size=(6, 4)) * 2)
    mean = (log_w.exp() ** (1 - alpha)).mean(0)
    found = renyi(Weights(log_w), Batch(torch.zeros(4, 1)), samples=6, alpha=alpha).loss
    assert_close(found, -mean.log() / (1 - alpha), rtol=1e-9, atol=1e-9)
    far = renyi(Weights(log_w - 5000), Batch(torch.zeros(4, 1)), samples=6, alpha=alpha).loss
    assert_close(far, found + 5000, rtol=0, atol=1e-8)


def test_renyi_bounds_stand_in_the_order_of_alpha():
    values = torch.stack(
        losses(*(partial(renyi, samples=9, alpha=a) for a in (-3, -0.5, 0, 0.3, 0.9999, 1, 1.0001, 2, 9)))
    )
    assert (values.diff(dim=0) > 0).all()
    near, at, beyond = values[4:7]
    assert_close((near + beyond) / 2, at, rtol=0, atol=1e-6)


# ---- gradients


def slopes(objective):
    model, batch = tiny()
    objective(model, batch).loss.sum().backward()
    return {name: p.grad for name, p in model.named_parameters()}


def test_piwae_moves_the_decoder_by_one_bound_and_the_encoder_by_many():
    found, one = slopes(partial(piwae, samples=3, groups=4)), slopes(partial(iwae, samples=12))
    many = slopes(partial(miwae, samples=3, groups=4))
    for name, slope in found.items():
        mine, others = (many, one) if "encoder" in name else (one, many)
        assert_close(slope, mine[name], rtol=1e-10, atol=1e-12)
        assert (slope - others[name]).abs().max() > 1e-5, name


class Loss(nn.Module):
    def __init__(self, model, objective):
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, x):
        return self.objective(self.model, Batch(x)).loss


PLAIN = {k: v for k, v in BOUNDS.items() if k in ("miwae", "ciwae", "renyi -1.0", "renyi 0.5", "renyi 1.0")}


@pytest.mark.parametrize("name", PLAIN)
def test_gradients_agree_with_differences(name):
    model, batch = tiny()
    loss = Loss(model, PLAIN[name])
    names, values = zip(*loss.named_parameters(), strict=True)

    def value(*given):
        return torch.func.functional_call(loss, dict(zip(names, given, strict=True)), (batch.x[:2],))

    assert torch.autograd.gradcheck(value, values)


@pytest.mark.parametrize("name", [name for name in BOUNDS if "resampled" not in name])  # whose lot is the batch's
def test_loss_and_gradient_do_not_depend_on_how_a_batch_is_split(name):
    model, batch = tiny()
    whole = BOUNDS[name](model, batch)
    whole.loss.sum().backward()
    slopes = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    parts = [BOUNDS[name](model, Batch(part)) for part in batch.x.split([1, 4])]
    sum(part.loss.sum() for part in parts).backward()
    for field in ("loss", "rate", "distortion"):
        together = torch.cat([getattr(part, field) for part in parts])
        assert_close(together, getattr(whole, field), rtol=1e-12, atol=1e-12)
    for p, slope in zip(model.parameters(), slopes, strict=True):
        assert_close(p.grad, slope, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("bound", [iwae, miwae, ciwae, piwae, renyi])
def test_rate_and_distortion_are_the_elbos(bound):
    model, batch = tiny()
    terms, reference = (
        bound(model, batch, samples=4),
        elbo(model, batch, samples=4 * (8 if bound in (miwae, piwae) else 1)),
    )
    assert_close(terms.rate, reference.rate)
    assert_close(terms.distortion, reference.distortion)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        *(
            (partial(bound, samples=0), "samples 0: expected at least 1")
            for bound in (iwae, miwae, ciwae, piwae, renyi)
        ),
        (partial(miwae, groups=0), "groups 0: expected at least 1"),
        (partial(piwae, groups=-1), "groups -1: expected at least 1"),
        (partial(ciwae, elbo_part=1.5), "elbo_part 1.5: expected a part"),
        (partial(renyi, alpha=math.inf), "alpha inf: expected a number"),
        (partial(miwae, gradient="path"), "gradient 'path'"),
    ],
)
def test_arguments_that_cannot_be_right_are_refused(call, said):
    with pytest.raises(UsageError, match=said):
        call(*tiny())


@pytest.mark.parametrize("bound", [miwae, ciwae, piwae, renyi, partial(iwae, gradient="doubly")])
def test_an_autoencoder_has_no_bound(bound):
    model = vk.models.autoencoder(vk.Schema("vector", (3,)), latent_dim=2, hidden=(4,))
    with pytest.raises(UsageError, match="use reconstruction"):
        bound(model, Batch(torch.rand(2, 3)))
