"""Models that can be told a condition: they listen to it, their likelihood is p(x | c), and what they refuse."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import vaekit as vk
from vaekit.cli.main import main
from vaekit.evaluation import log_likelihood_per_example
from vaekit.evaluation.conditions import condition_arrays
from vaekit.models import RECIPES
from vaekit.priors import make_second_stage

TOLD = ("autoencoder", "two_layer", "ladder", "factorvae")
RNG = np.random.default_rng(3)
LABELS = torch.arange(12) % 3
SPLIT = vk.Split(torch.from_numpy(RNG.normal(size=(12, 3))), LABELS)
SCHEMA = vk.Schema("vector", (3,), low=-3, high=3, shift=0.1, scale=1.5, classes=("a", "b", "c"))
NUMBERS = vk.Schema(
    "vector", (3,), low=-3, high=3, conditions=("east", "north"), condition_shift=(5.0, 0.0), condition_scale=(2.0, 9.0)
)
PICTURES = vk.Schema("image", (1, 6, 6), levels=2, classes=("a", "b", "c"))


def made(name, schema, **keywords):
    torch.manual_seed(0)
    keywords = {"latent_dim": 3, "hidden": (6,), "activation": "tanh", "conditional": True} | keywords
    return RECIPES[name].function(schema, **keywords).double()


@pytest.mark.parametrize("name", TOLD)
@pytest.mark.parametrize(
    ("schema", "keywords"),
    [(SCHEMA, {}), (SCHEMA, {"hidden": ()}), (NUMBERS, {}), (PICTURES, {"network": "conv", "hidden": (4, 4)})],
)
def test_encoder_and_decoder_listen(name, schema, keywords):
    model = made(name, schema, **keywords)
    assert model.condition_dim == len(schema.condition_names)
    x = torch.rand(1, *schema.shape).double().round().expand(3, *schema.shape)
    c = torch.eye(3, model.condition_dim).double() * 4
    z = model.encode(x, c)
    assert (z[0] - z[1]).abs().max() > 1e-3
    means = model.decode(z[:1].expand(3, -1), c).mean
    assert (means[0] - means[1]).abs().max() > 1e-3
    assert (means[1] - means[2]).abs().max() > 1e-3
    # each row is told its own
    assert_close(model.decode(z, c).mean[2:], model.decode(z[2:], c[2:]).mean)
    assert_close(model.encode(x, c)[1:2], model.encode(x[1:2], c[1:2]))


def test_numbers_are_brought_to_scale():
    """The same condition in other units gives the same model of it."""
    other = vk.Schema(**{**NUMBERS.to_json(), "condition_shift": (0.0, 0.0), "condition_scale": (1.0, 1.0)})
    one, two = made("autoencoder", NUMBERS), made("autoencoder", other)
    x, c = torch.randn(4, 3).double(), torch.randn(4, 2).double()
    there = 5.0 * torch.tensor([1.0, 0.0]).double() + c * torch.tensor([2.0, 9.0]).double()
    assert_close(one.reconstruct(x, there), two.reconstruct(x, c))


@pytest.mark.parametrize("name", ["two_layer", "ladder"])
def test_the_likelihood_is_that_of_x_given_c(name):
    layers = {"latent_dims": (1, 1), "latent_dim": None}
    model = made(name, SCHEMA, likelihood="gaussian", sigma=3.0, **layers)
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.mul_(0.2)  # near the prior, where importance sampling needs few draws
    axis = torch.linspace(-9, 9, 241, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    weights = model.prior().log_prob(grid) + 2 * torch.log(axis[1] - axis[0])
    x, c = SPLIT.rows(slice(None)), SPLIT.condition(slice(None), 3).double()
    wanted = [
        (model.decode(grid, c[i].expand(len(grid), -1)).log_prob(x[i]) + weights).logsumexp(0) for i in range(len(x))
    ]
    assert_close(
        log_likelihood_per_example(model, SPLIT, samples=20_000), torch.stack(wanted).detach(), rtol=0, atol=0.03
    )
    others = [SPLIT.condition(slice(None), 3).roll(1, 1).double(), c]
    told = [log_likelihood_per_example(model, vk.Split(SPLIT.values, conditions=d), samples=50) for d in others]
    assert (told[0] - told[1]).abs().max() > 0.01


def test_a_second_stage_is_a_law_for_each_class():
    torch.manual_seed(0)
    rows = torch.from_numpy(RNG.normal(size=(240, 1))) + 3.0 * (torch.arange(240) % 3)[:, None]
    data = vk.Split(rows.float(), torch.arange(240) % 3)
    schema = vk.Schema("vector", (1,), low=-3, high=9, classes=("a", "b", "c"))
    model = vk.models.autoencoder(schema, latent_dim=1, hidden=(), conditional=True, second_stage="flow")
    with torch.no_grad():  # a code that does not hear the class: z = x
        weights, bias = model.encoder.inner.network.network.out.weight, model.encoder.inner.network.network.out.bias
        weights.copy_(torch.tensor([[1.0 / weights.shape[0], 0, 0, 0]]).expand_as(weights) * weights.shape[0])
        bias.zero_()
    before = [p.detach().clone() for p in model.encoder.parameters()]
    average = vk.fit_prior(model, data, epochs=20, batch_size=40, learning_rate=0.02)
    codes = model.encode(rows.float(), data.condition(slice(None), 3))
    axis = torch.linspace(-30, 40, 4001)[:, None]
    for y in range(3):
        c = torch.eye(3)[[y]]
        density = model.second_stage(c.expand(len(axis), -1)).log_prob(axis).exp()
        assert float(density.sum() * (axis[1] - axis[0])) == pytest.approx(1, abs=1e-3)
        mean = (density[:, None] * axis).sum() * (axis[1] - axis[0])
        assert float(mean) == pytest.approx(float(codes[data.labels == y].mean()), abs=0.3)
    assert average == pytest.approx(-1.42, abs=0.15), "nats of a unit Gaussian, not of three of them"
    assert all(torch.equal(a, b) for a, b in zip(before, model.encoder.parameters(), strict=True))
    assert model.sample(6, torch.eye(3)[[0, 1, 2, 0, 1, 2]]).shape == (6, 1)


def test_numbers_move_in_the_pictures():
    model = made("autoencoder", NUMBERS)
    conditions = torch.from_numpy(RNG.normal(size=(12, 2)))
    test = vk.Split(SPLIT.values, conditions=conditions)
    arrays = condition_arrays(model, test)
    assert_close(
        arrays["condition_values"][1], np.quantile(conditions[:, 1], [0.05, 0.25, 0.5, 0.75, 0.95]).astype("f4")
    )
    told = conditions[6:7].clone()
    z = model.encode(test.values[6:7], told)
    told[0, 0] = float(arrays["condition_values"][0, 3])
    wanted = model.decode(z, told).mean[0]
    assert_close(torch.from_numpy(arrays["condition_images"][0, 3]), wanted.float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [*TOLD, "cvae", "m2"])
def test_data_that_say_nothing_make_no_conditional_model(name):
    told = {"conditional": True} if name in TOLD else {}
    with pytest.raises(vk.errors.DataError, match=f"model {name}: .* no classes"):
        RECIPES[name].function(vk.Schema("vector", (3,)), **told)


def test_a_mixture_cannot_be_told():
    with pytest.raises(vk.errors.UsageError, match="take flow"):
        make_second_stage("mixture", 2, condition_dim=3)


def test_the_command_tells_a_model_that_only_reconstructs(tmp_path, capsys):
    run = tmp_path / "run"
    quick = ["--epochs", "1", "--hidden", "16", "--out", str(run)]
    assert main(["train", "digits", "--model", "autoencoder", "--conditional", *quick]) == 0
    page = (run / "report.html").read_text()
    assert "One style, every class" in page
    assert "Each class, drawn" not in page
    assert (
        main(["reconstruct", str(run), "digits", "--condition", "3", "-n", "9", "--out", str(tmp_path / "r.npy")]) == 0
    )
    capsys.readouterr()
    assert main(["sample", str(run), "--condition", "3", "--out", str(tmp_path / "s.npy")]) == 2
    assert "second_stage" in capsys.readouterr().err
