"""What keeps a code in use, held to its exact quantity; what validation reports is the true bound whatever is trained."""

import pytest
import torch
from torch.testing import assert_close

import vaekit as vk
from vaekit.data import Batch
from vaekit.errors import UsageError
from vaekit.objectives import Draw, elbo

KL = torch.tensor([[0.1, 0.9], [0.7, 0.49], [0.0, 0.2]])
"""Its columns have the means 0.2667 and 0.53; its rows sum to 1, 1.19 and 0.2, 0.7967 in the mean."""


class Fixed:
    """A model whose draw has a given KL per dimension and log p(x|z) = -2."""

    def __init__(self, kl):
        self.kl = kl

    def draw(self, x, c=None, samples=1):
        return Draw(z=x[None], log_px=torch.full((1, len(x)), -2.0), log_pz=None, log_qz=None, kl_per_dim=self.kl)


TABLE = [
    ("dimension", "example", 0.5, [1.4, 1.2, 1.0], [[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]),
    ("dimension", "batch", 0.5, [1.4, 0.99, 0.7], [[0.0, 1.0]] * 3),
    ("dimension", "batch", 0.2, [1.0, 1.19, 0.2], [[1.0, 1.0]] * 3),
    ("dimension", "batch", 0.6, [1.2, 1.2, 1.2], [[0.0, 0.0]] * 3),
    ("code", "example", 1.1, [1.1, 1.19, 1.1], [[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]]),
    ("code", "batch", 0.7, [1.0, 1.19, 0.2], [[1.0, 1.0]] * 3),
    ("code", "batch", 0.8, [0.8, 0.8, 0.8], [[0.0, 0.0]] * 3),
]


@pytest.mark.parametrize("beta", [1.0, 0.3])
@pytest.mark.parametrize(("per", "over", "bits", "charged", "slope"), TABLE)
def test_free_bits_by_hand_with_no_gradient_below_the_threshold(per, over, bits, charged, slope, beta):
    kl = KL.clone().requires_grad_()
    terms = elbo(Fixed(kl), Batch(torch.zeros(3, 2)), beta=beta, free_bits=bits, free_bits_per=per, free_bits_over=over)
    assert_close(terms.loss, 2 + beta * torch.tensor(charged))
    assert_close(terms.rate, KL.sum(1))
    if terms.loss.requires_grad:
        terms.loss.sum().backward()
        assert torch.equal(kl.grad, beta * torch.tensor(slope))
    else:
        assert not torch.tensor(slope).any()


def test_free_bits_over_the_batch_are_those_of_the_paper():
    """Equation 14 of Kingma et al. (2016) for the batch's mean, whatever the rows are."""
    kl = torch.rand(50, 7, generator=torch.Generator().manual_seed(3)).double()
    batch = Batch(torch.zeros(50, 2))
    terms = elbo(Fixed(kl), batch, free_bits=0.5, free_bits_over="batch")
    assert_close(terms.loss.mean(), 2 + kl.mean(0).clamp_min(0.5).sum())
    whole = elbo(Fixed(kl), batch, free_bits=4.0, free_bits_per="code")
    assert_close(whole.loss, 2 + kl.sum(1).clamp_min(4.0))


def test_a_rate_that_is_not_a_number_is_not_hidden_by_free_bits():
    kl = torch.tensor([[float("nan"), 0.1], [0.2, 0.1]])
    for over in ("example", "batch"):
        loss = elbo(Fixed(kl), Batch(torch.zeros(2, 2)), free_bits=0.5, free_bits_over=over).loss
        assert not torch.isfinite(loss.mean())


def flow_model():
    torch.manual_seed(0)
    return vk.models.vae(vk.Schema("vector", (3,)), latent_dim=2, hidden=(4,), posterior="flow")


def test_free_bits_of_a_sampled_kl_are_taken_over_the_batch():
    model, batch = flow_model(), Batch(torch.rand(64, 3))
    torch.manual_seed(1)
    rate = elbo(model, batch).rate.detach()
    for bits, held in ((float(rate.mean()) + 1, True), (float(rate.mean()) - 0.1, False)):
        torch.manual_seed(1)
        terms = elbo(model, batch, free_bits=bits, free_bits_per="code", free_bits_over="batch")
        assert_close(terms.loss.mean(), terms.distortion.mean() + (bits if held else rate.mean()))
    with pytest.raises(UsageError, match="take them over the batch"):
        elbo(model, batch, free_bits=1.0, free_bits_per="code")


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"free_bits": -0.1}, "free_bits -0.1: expected a number of nats of at least 0"),
        ({"free_bits": float("nan")}, "free_bits nan"),
        ({"free_bits_per": "layer"}, "free_bits_per 'layer': expected one of dimension, code"),
        ({"free_bits_over": "epoch"}, "free_bits_over 'epoch': expected one of example, batch"),
        ({"free_bits": 1.0, "kl": "sampled", "free_bits_per": "code"}, "too noisy"),
        ({"free_bits": 1.0, "gradient": "path"}, "too noisy"),
        ({"free_bits": 1.0, "capacity": 1.0}, "leave one out"),
    ],
)
def test_free_bits_that_cannot_be_right_are_refused(keywords, said):
    model = vk.models.vae(vk.Schema("vector", (3,)), latent_dim=2, hidden=(4,))
    with pytest.raises(UsageError, match=said):
        elbo(model, Batch(torch.rand(2, 3)), **keywords)
