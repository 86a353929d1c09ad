"""GAN, WGAN, VAE-GAN and adversarial autoencoder: what they learn, what they keep, and what they refuse."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

import vaekit as vk
from vaekit.cli.main import main
from vaekit.conditional import Conditional, Parametric
from vaekit.data.arrays import describe
from vaekit.distributions.delta import Delta
from vaekit.distributions.posteriors import BOX, Point
from vaekit.distributions.values import Values
from vaekit.evaluation.gallery import gallery
from vaekit.evaluation.inversion import inversion_error, invert
from vaekit.evaluation.rows import batch_at
from vaekit.models import RECIPES
from vaekit.models.gan import GAN
from vaekit.networks import MLP
from vaekit.objectives import adversarial, wasserstein
from vaekit.priors import StandardNormal, UniformBox

ROWS = 24
RNG = np.random.default_rng(5)
NAMES = ("gan", "wgan", "vaegan", "aae")


def stored(shape, maximum):
    unit = np.clip(0.2 + 0.6 * RNG.random((ROWS, *shape)), 0, 1)
    if maximum is None:
        return torch.from_numpy((50 * unit - 100).astype(np.float32))
    return torch.from_numpy(np.rint(unit * maximum).astype(np.uint8))


DATA = {
    "bits": (stored((1, 5, 7), 1), 1),
    "gray": (stored((1, 6, 6), 255), 255),
    "colour": (stored((3, 8, 8), 16), 16),
    "real-image": (stored((3, 6, 5), None), None),
    "vector": (stored((6,), None) * torch.arange(1.0, 7.0), None),
}
CASES = [
    (name, data, network, conditional)
    for name in NAMES
    for data, network, conditional in [
        ("bits", "mlp", False), ("gray", "conv", True), ("colour", "resnet", False), ("real-image", "conv", False),
        ("real-image", "mlp", True), ("vector", "mlp", True),
    ]
]  # fmt: skip
cases = pytest.mark.parametrize(("name", "data", "network", "conditional"), CASES)


def rows_of(data):
    values, maximum = DATA[data]
    return vk.Split(values, torch.arange(ROWS) % 3, maximum=maximum)


def made(name, data, network="mlp", conditional=False, seed=0, **more):
    torch.manual_seed(seed)
    split = rows_of(data)
    schema = describe(split.values, split.maximum, ("a", "b", "c"))
    hidden = (8,) if network == "mlp" else (4, 8)
    model = RECIPES[name].function(
        schema, latent_dim=3, hidden=hidden, network=network, conditional=conditional, activation="tanh", **more
    )
    return model, split, schema


def told(model, n):
    return torch.eye(3)[torch.arange(n) % 3] if model.condition_dim else None


@cases
def test_training_moves_every_player_and_samples_are_examples(name, data, network, conditional):
    model, split, schema = made(name, data, network, conditional)
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    needed = [p.requires_grad for p in model.parameters()]
    history = vk.fit(model, split, epochs=2, batch_size=5, learning_rate=1e-2, progress=False)
    assert [p.requires_grad for p in model.parameters()] == needed
    for key, p in model.named_parameters():
        assert not torch.equal(p, before[key]) or (name == "wgan" and key.endswith("bias")), key  # in a difference
    assert all(np.isfinite(value) for record in history for value in record.values())
    drawn = model.sample(7, told(model, 7), noise=True)
    assert drawn.shape == (7, *schema.shape)
    schema.check(drawn, "samples")


@cases
def test_name_arguments_and_weights_make_the_same_model(name, data, network, conditional, tmp_path):
    model, split, _ = made(name, data, network, conditional, seed=1)
    history = vk.fit(model, split, epochs=1, batch_size=5, progress=False)
    again = vk.load_run(vk.save_run(tmp_path / "run", model, history)).model
    assert set(again.state_dict()) == set(model.state_dict())
    for key, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key
    drawn = []
    for one in (model, again):
        torch.manual_seed(3)
        drawn.append(one.sample(5, told(one, 5)))
    assert torch.equal(*drawn)
    x, c = batch_at(model, split, slice(None))
    scored = [m.criticise(m.encode(x, c) if name == "aae" else x, c) for m in (model, again)]
    assert torch.equal(*scored)


@pytest.mark.parametrize("name", ["gan", "wgan"])
def test_what_needs_a_posterior_or_a_likelihood_says_that_there_is_none(name):
    model, split, _ = made(name, "gray")
    x = split.rows(slice(None))
    assert (model.has_posterior, model.has_likelihood, model.can_sample) == (False, False, True)
    for verb in ("posterior", "draw", "reconstruct", "encode"):
        with pytest.raises(vk.errors.UsageError, match=f"^{verb}: this model has no posterior, a GAN cannot encode"):
            getattr(model, verb)(x)
    for figure in (vk.evaluation.elbo, vk.evaluation.log_likelihood, vk.evaluation.iwae_bound):
        with pytest.raises(vk.errors.UsageError, match="no likelihood"):
            figure(model, split)
    for figure in (vk.evaluation.active_units, vk.evaluation.codes, vk.evaluation.reconstruction_error):
        with pytest.raises(vk.errors.UsageError, match="cannot encode"):
            figure(model, split)


@pytest.mark.parametrize("name", ["vaegan", "aae"])
def test_a_rows_code_and_reconstruction_do_not_depend_on_its_company(name):
    model, split, _ = made(name, "gray")
    x = split.rows(slice(None)).double()
    model = model.double()
    few = [11, 3, 7]
    assert_close(model.encode(x)[few], model.encode(x[few]), rtol=1e-11, atol=1e-11)
    assert_close(model.reconstruct(x)[few], model.reconstruct(x[few]), rtol=1e-11, atol=1e-11)
    with pytest.raises(vk.errors.UsageError, match="no likelihood"):
        vk.evaluation.elbo(model, split)


@pytest.mark.parametrize("name", NAMES)
def test_gallery_and_figures_leave_out_what_there_is_not(name):
    model, split, schema = made(name, "gray", conditional=True)
    data = vk.Dataset(schema, split, test=split)
    arrays, figures = gallery(model, data), vk.evaluation.evaluate(model, data, samples=3)
    assert {"samples", "neighbours", "class_samples"} <= set(arrays)
    assert not {"elbo", "log_likelihood", "kl"} & set(figures)
    assert ("walks" in arrays) == (not model.has_posterior) == ("reconstructions" not in arrays)
    assert ("reconstruction_error" in figures) == model.has_posterior
    assert all(np.isfinite(array).all() for array in arrays.values())
    json.dumps(vk.evaluation.to_json(figures))


def test_walks_through_a_normal_prior_stay_normal_and_begin_and_end_at_draws():
    from vaekit.evaluation.walks import walk_arrays

    plain = vk.Split(torch.zeros(3, 40))
    model = GAN(Line(torch.eye(40)), Parametric(MLP((40,), (1,), ()), Point(1)), StandardNormal(40), 40)
    walks = walk_arrays(model, plain, pairs=50)["walks"]
    assert walks.shape == (50, 9, 40)
    np.testing.assert_allclose(np.square(walks).mean((0, 2)), 1.0, atol=0.1)  # a straight line would have 0.5 halfway
    torch.manual_seed(0)


def weights(module):
    return [p.detach().clone() for p in module.parameters()]


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_the_moving_average_is_its_recursion(ema):
    model, split, _ = made("gan", "vector", ema=ema, critic_steps=3)
    kept, seen = weights(model.averaged), []
    generator, critic = model.updates(adversarial)
    after = generator.after

    def watching(m):
        seen.append(weights(m.generator))
        after(m)

    object.__setattr__(generator, "after", watching)
    vk.fit(model, split, updates=[generator, critic], epochs=7, batch_size=ROWS, learning_rate=0.05, progress=False)
    assert len(seen) == int(model.averaged_steps) == 3, "the generator acts at every third step of seven"
    for t, new in enumerate(seen, 1):
        d = min(ema, t / (9 + t)) if ema else 0.0
        kept = [d * a + (1 - d) * w for a, w in zip(kept, new, strict=True)]
    for a, b in zip(model.averaged.parameters(), kept, strict=True):
        assert_close(a, b)
    z = torch.randn(4, 3)
    assert torch.equal(model.decode(z).mean, model.averaged(z).mean)
    assert torch.equal(model.decode(z).mean, model.generator(z).mean) == (ema == 0.0)


def test_clipping_holds_every_weight_of_the_critic_and_none_of_the_generator():
    model, split, _ = made("wgan", "gray")
    clipped = partial(wasserstein, penalty="none", clip=0.02)
    vk.fit(model, split, clipped, epochs=3, batch_size=5, learning_rate=1e-2, progress=False)
    assert all(float(p.detach().abs().max()) <= 0.02 + 1e-8 for p in model.critic.parameters())
    assert any(float(p.detach().abs().max()) > 0.02 for p in model.generator.parameters())


def test_values_lie_on_the_levels_and_their_gradient_is_the_sigmoids():
    raw = torch.linspace(-3, 3, 11, dtype=torch.float64)[:, None, None].requires_grad_()
    levels = Values(vk.Schema("vector", (1,), levels=5))(raw).mean
    assert_close(levels.flatten(), (4 * torch.sigmoid(raw)).round().flatten() / 4)
    (gradient,) = torch.autograd.grad(levels.sum(), raw)
    d = torch.sigmoid(raw)
    assert_close(gradient, d * (1 - d))
    unit = Values(vk.Schema("vector", (1,)))
    assert_close(unit(raw).mean, d.squeeze(1))
    real = Values(vk.Schema("vector", (1,), low=-5.0, high=90.0, shift=30.0, scale=7.0)).double()
    assert_close(real(raw).mean, 30 + 7 * raw.squeeze(1))
    for family, mean in ((unit, torch.tensor([0.3])), (real, torch.tensor([41.0], dtype=torch.float64))):
        assert_close(family(family.start(mean)[None]).mean[0], mean)


@pytest.mark.parametrize("name", ["gan", "vaegan"])
def test_slopes_are_taken_where_the_data_have_scale_1(name):
    schema = vk.Schema("vector", (3,), low=-9.0, high=9.0, scale=(0.5, 2.0, 4.0))
    model, gradient = RECIPES[name].function(schema, hidden=(4,)), torch.randn(6, 3)
    assert_close(model.slope(gradient), (gradient * torch.tensor([0.5, 2.0, 4.0])).square().sum(1).sqrt())


def two_heaps(n=4000):
    g = torch.Generator().manual_seed(0)
    return torch.where(torch.rand(n, 1, generator=g) < 0.3, -2.0, 2.0) + 0.3 * torch.randn(n, 1, generator=g)


@pytest.mark.parametrize(
    ("name", "objective"),
    [("gan", partial(adversarial, weight=1.0)), ("wgan", partial(wasserstein, penalty="one-sided", weight=1.0))],
)
def test_the_masses_of_a_mixture_are_recovered(name, objective):
    x = two_heaps()
    torch.manual_seed(0)
    schema = vk.Schema("vector", (1,), low=-4.0, high=4.0, shift=float(x.mean()), scale=float(x.std()))
    ema, rate, epochs = {"gan": (0.99, 1e-3, 30), "wgan": (0.9, 3e-3, 40)}[name]
    model = RECIPES[name].function(schema, latent_dim=2, hidden=(32, 32), ema=ema)
    vk.fit(model, x, objective, epochs=epochs, batch_size=200, learning_rate=rate, progress=False)
    drawn = model.sample(4000)
    assert float((drawn < 0).float().mean()) == pytest.approx(0.3, abs=0.06)
    assert float(((drawn.abs() - 2).abs() < 1).float().mean()) > 0.85


def test_a_conditional_gan_draws_the_class_it_is_told():
    g = torch.Generator().manual_seed(0)
    centres, labels = torch.tensor([[-2.0, 0.0], [2.0, 0.0], [0.0, 3.0]]), torch.arange(1500) % 3
    x = centres[labels] + 0.3 * torch.randn(1500, 2, generator=g)
    schema = vk.Schema("vector", (2,), low=-4.0, high=4.0, shift=tuple(x.mean(0).tolist()), scale=tuple(x.std(0).tolist()),
                       classes=("a", "b", "c"))  # fmt: skip
    torch.manual_seed(0)
    model = vk.models.gan(schema, latent_dim=2, hidden=(32, 32), conditional=True, ema=0.99)
    data = vk.Dataset(schema, vk.Split(x, labels))
    vk.fit(model, data, epochs=60, batch_size=100, learning_rate=1e-3, progress=False)
    asked = torch.arange(900) % 3
    drawn = model.sample(900, torch.eye(3)[asked])
    assert float((torch.cdist(drawn, centres).argmin(1) == asked).float().mean()) > 0.97
    within = torch.stack([drawn[asked == k].std(0) for k in range(3)])
    assert float(within.min()) > 0.1, "a class is a cloud, not one point"


def test_the_codes_of_an_adversarial_autoencoder_come_to_be_the_priors():
    x = two_heaps(1000) * torch.tensor([1.0, 0.2]) + 0.3 * torch.randn(1000, 2)
    schema = vk.Schema("vector", (2,), low=-4.0, high=4.0)
    off = []
    for rate in (1e-12, 2e-3):
        torch.manual_seed(0)
        model = vk.models.aae(schema, latent_dim=1, hidden=(32,), critic_width=32, game_learning_rate=rate)
        vk.fit(model, x, epochs=30, batch_size=100, learning_rate=2e-3, progress=False)
        z = model.encode(x).flatten().sort().values
        even = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(1000) + 0.5) / 1000)
        off.append(float((z - even).abs().mean()))  # the Wasserstein distance to N(0, 1)
    assert off[1] < min(0.3, 0.5 * off[0])


class Line(Conditional):
    """G(z) = A z."""

    def __init__(self, matrix):
        super().__init__()
        self.matrix = nn.Parameter(matrix)

    def forward(self, z):
        return Delta(z @ self.matrix.T, 1)


def test_an_inversion_of_a_linear_generator_is_least_squares_and_of_one_row_alone():
    g = torch.Generator().manual_seed(2)
    matrix, x = torch.randn(5, 3, generator=g), torch.randn(9, 5, generator=g)
    critic = Parametric(MLP((5,), (1,), ()), Point(1))
    model = GAN(Line(matrix), critic, StandardNormal(3), 3)
    best = torch.linalg.lstsq(matrix, x.T).solution.T
    found = invert(model, x, steps=400)
    assert_close(found, best, rtol=0, atol=2e-3)
    assert_close(invert(model, x[[4, 1]]), found[[4, 1]], rtol=0, atol=2e-3)
    error = inversion_error(model, x, steps=400)
    assert error.value == pytest.approx(float((best @ matrix.T - x).square().mean()), rel=1e-4)
    assert "sought" in error.estimator
    boxed = GAN(Line(torch.eye(3)), Parametric(MLP((3,), (1,), ()), Point(1)), UniformBox(3), 3)
    outside = torch.tensor([[5.0, 0.5, -9.0]])
    assert_close(invert(boxed, outside), torch.tensor([[BOX, 0.5, -BOX]]), rtol=0, atol=1e-3)
    with pytest.raises(vk.errors.UsageError, match="has no prior to draw codes from"):
        invert(vk.models.vqvae(vk.Schema("vector", (4,)), hidden=(8,)), torch.rand(2, 4))


@pytest.mark.parametrize(
    ("name", "keywords", "said"),
    [
        ("gan", {"critic_steps": 0}, "critic_steps 0"),
        ("gan", {"ema": 1.0}, "ema 1.0: expected a weight from 0"),
        ("wgan", {"beta1": 1.0}, "betas"),
        ("wgan", {"critic_learning_rate": 0.0}, "critic_learning_rate 0.0"),
        ("gan", {"prior": "vamp"}, "prior 'vamp': expected normal or uniform"),
        ("aae", {"prior": "flow"}, "prior 'flow'"),
        ("gan", {"latent_dim": 0}, "latent_dim 0"),
        ("gan", {"likelihood": "gaussian"}, "model gan: .*likelihood"),
        ("vaegan", {"gamma": -1.0}, "gamma -1.0"),
        ("vaegan", {"feature_sigma": 0.0}, "feature_sigma 0.0"),
        ("vaegan", {"penalty": -1.0}, "penalty -1.0"),
        ("vaegan", {"critic_learning_rate": -1.0}, "critic_learning_rate -1.0"),
        ("aae", {"critic_width": 0}, "critic_width 0"),
        ("aae", {"game_learning_rate": 0.0}, "game_learning_rate 0.0"),
    ],
)
def test_arguments_that_cannot_be_are_refused(name, keywords, said):
    with pytest.raises(vk.errors.UsageError, match=said):
        RECIPES[name].function(vk.Schema("vector", (4,)), **keywords)


@pytest.mark.parametrize("name", NAMES)
def test_a_condition_needs_classes_and_a_game_no_patience(name):
    with pytest.raises(vk.errors.DataError, match=f"model {name}: these data have no classes"):
        RECIPES[name].function(vk.Schema("vector", (4,)), conditional=True)
    with pytest.raises(vk.errors.DataError, match=f"model {name}: is for"):
        RECIPES[name].function(vk.Schema("text", (4,)))
    if name == "aae":
        return  # its reconstructions can be followed
    model, split, schema = made(name, "gray")
    with pytest.raises(vk.errors.UsageError, match="do not say which epoch is best"):
        vk.fit(model, vk.Dataset(schema, split, split), epochs=1, patience=2, progress=False)


def call(capsys, *arguments):
    status = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_the_commands_work_or_say_why_not(capsys, tmp_path):
    run, quick = tmp_path / "run", ("--epochs", 2, "--hidden", "16", "--conditional", "true")
    source, labels = tmp_path / "x.npz", np.arange(300) % 3
    np.savez(source, x=RNG.integers(0, 17, (300, 4, 4)).astype(np.uint8), y=labels)
    status, out, err = call(capsys, "train", source, "--model", "gan", "--out", run, *quick)
    assert status == 0, err
    assert "generator against critic, non-saturating loss" in out
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {"train_generator_loss", "train_critic_loss", "validation_critic_loss"} <= set(records[0])
    assert not {"train_elbo", "train_distortion", "validation_distortion"} & set(records[0])
    page = (run / "report.html").read_text()
    for section in ("samples", "classes", "walks", "training"):
        assert f'<section id="{section}">' in page, section
    for section in ("reconstructions", "codes", "kl"):
        assert f'<section id="{section}">' not in page, section
    assert "p(x|z)" not in page.partition("<section")[2].partition('<section id="record">')[0]
    assert call(capsys, "sample", run, "-n", 5, "--condition", "1", "--out", tmp_path / "s.npy")[0] == 0
    steps = np.load(tmp_path / "s.npy") * 16
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-4)
    for command in ("evaluate", "doctor", "report"):
        status, _, err = call(capsys, command, run)
        assert status == 0, err
    for command in ("encode", "reconstruct"):
        status, _, err = call(capsys, command, run, source, "--out", tmp_path / "c.npz")
        assert status == 2
        assert "no posterior" in err
        assert len(err.strip().splitlines()) == 1
        assert not (tmp_path / "c.npz").exists()
    for mistake, said in ((("--patience", 3), "which epoch is best"), (("--objective", "elbo"), "play adversarial or")):
        status, _, err = call(capsys, "train", source, "--model", "gan", "--out", tmp_path / "no", *quick, *mistake)
        assert status == 2
        assert said in err
        assert not list(tmp_path.glob("no*"))
