"""A model that is told a condition: its marginal where that is known, what it is told, and what it refuses."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch.testing import assert_close

import vaekit as vk
from vaekit.cli.main import main
from vaekit.conditional import Parametric
from vaekit.distributions.families import Gaussian
from vaekit.distributions.posteriors import DiagonalGaussian
from vaekit.evaluation import elbo, log_likelihood_per_example
from vaekit.evaluation.conditions import condition_arrays
from vaekit.evaluation.rows import batch_at
from vaekit.models import LatentModel
from vaekit.networks import MLP
from vaekit.networks.joined import Joined
from vaekit.objectives import iwae
from vaekit.priors import make_prior

SIZE, LATENTS, TOLD, VARIANCE = 5, 2, 3, 0.4
RNG = np.random.default_rng(4)
W = np.linalg.qr(RNG.normal(size=(SIZE, LATENTS)))[0] * [1.5, 0.7]
U, B, M = RNG.normal(size=(SIZE, TOLD)), RNG.normal(size=SIZE), RNG.normal(size=(LATENTS, TOLD))
X, C = RNG.normal(size=(9, SIZE)), RNG.normal(size=(9, TOLD))
SPLIT = vk.Split(torch.from_numpy(X), conditions=torch.from_numpy(C))


def unbound(y, low=-16.0, high=8.0):
    """The raw value that `soft_bound` takes to y."""

    def inverse_softplus(v):
        return v + torch.log(-torch.expm1(-v))

    return high - inverse_softplus(high - low - inverse_softplus(y - low))


def linear_model(conditional_prior):
    """x = W z + U c + b + noise, z ~ N(M c, I) or N(0, I), with the exact posterior as encoder."""
    gram = (W**2).sum(0)
    variance, slope = VARIANCE / (VARIANCE + gram), (W / (VARIANCE + gram)).T
    mean = M if conditional_prior else np.zeros_like(M)
    encoder, decoder = MLP((SIZE + TOLD,), (2, LATENTS), ()).double(), MLP((LATENTS + TOLD,), (1, SIZE), ()).double()
    # E[z | x, c] = M c + slope (x - W M c - U c - b)
    told = mean - slope @ (W @ mean + U)
    tensor = torch.from_numpy
    with torch.no_grad():
        encoder.out.weight.copy_(
            torch.cat([tensor(np.hstack([slope, told])), torch.zeros(LATENTS, SIZE + TOLD).double()])
        )
        encoder.bias.copy_(torch.stack([tensor(-slope @ B), unbound(tensor(variance).log())]))
        decoder.out.weight.copy_(tensor(np.hstack([W, U])))
        decoder.bias.copy_(tensor(B)[None])
    prior = make_prior("normal", LATENTS, condition_dim=TOLD if conditional_prior else 0).double()
    if conditional_prior:
        with torch.no_grad():
            prior.network.out.weight[:LATENTS].copy_(tensor(M))
            prior.network.bias[1].copy_(unbound(torch.zeros(LATENTS).double()))
    q = Parametric(Joined(encoder, 1, planes=False), DiagonalGaussian(LATENTS))
    p = Parametric(Joined(decoder, 1, planes=False), Gaussian((SIZE,), sigma=math.sqrt(VARIANCE)))
    model = LatentModel(q, p, prior, LATENTS).double()
    model.condition_dim = TOLD
    return model, W @ mean + U


@pytest.mark.parametrize("conditional_prior", [False, True])
def test_bounds_are_the_conditional_marginal_under_the_exact_posterior(conditional_prior):
    model, shift = linear_model(conditional_prior)
    covariance = W @ W.T + VARIANCE * np.eye(SIZE)
    wanted = [stats.multivariate_normal(shift @ c + B, covariance).logpdf(x) for x, c in zip(X, C, strict=True)]
    wanted = torch.tensor(wanted)
    # conditions are kept in single precision
    assert_close(log_likelihood_per_example(model, SPLIT, samples=5), wanted, rtol=0, atol=1e-5)
    batch = vk.Batch(torch.from_numpy(X), torch.from_numpy(C))
    assert_close(-iwae(model, batch, samples=3).loss, wanted, rtol=0, atol=1e-9)
    assert elbo(model, SPLIT, samples=2000)["elbo"].value == pytest.approx(float(wanted.mean()), abs=0.03)


def test_samples_follow_their_condition():
    model, shift = linear_model(True)
    c = torch.from_numpy(C[:1]).expand(20_000, -1)
    x = model.sample(20_000, c, noise=True).numpy()
    assert np.abs(x.mean(0) - shift @ C[0] - B).max() < 0.05
    assert np.abs(np.cov(x.T) - W @ W.T - VARIANCE * np.eye(SIZE)).max() < 0.1


def test_a_class_is_told_as_one_hot():
    split = vk.Split(torch.zeros(3, 4), torch.tensor([2, 0, 1]))
    assert torch.equal(split.condition(slice(None), 3), torch.eye(3)[[2, 0, 1]])
    assert torch.equal(split.condition(torch.tensor([1]), 4), torch.eye(4)[[0]])
    assert split.condition(slice(None), 0) is None


@pytest.mark.parametrize(
    ("split", "text"),
    [
        (vk.Split(torch.zeros(3, 4)), "no labels"),
        (vk.Split(torch.zeros(3, 4), torch.tensor([0, 1, 5])), "class 5"),
        (vk.Split(torch.zeros(3, 4), torch.tensor([0, -1, 1])), "class"),
        (vk.Split(torch.zeros(3, 4), conditions=torch.zeros(3, 2)), "2 condition values"),
    ],
)
def test_rows_that_cannot_be_told_are_refused(split, text):
    with pytest.raises(vk.errors.DataError, match=text):
        split.condition(slice(None), 3)


SCHEMA = vk.Schema("vector", (4,), classes=("cat", "dog", "eel"))


@pytest.mark.parametrize(
    ("text", "values"),
    [("dog", [0, 1, 0]), ("eel=0.5, cat=2", [2, 0, 0.5]), ("1,0,-1", [1, 0, -1])],
)
def test_conditions_in_words(text, values):
    assert SCHEMA.condition(text).tolist() == values


def test_of_several_labels_any_may_be_named():
    schema = replace(SCHEMA, conditions=("smiles", "hat", "age=old"))
    for text, values in (
        ("hat", [0, 1, 0]),
        ("smiles, age=old", [1, 0, 1]),
        ("age=old=2,hat=1", [0, 1, 2]),
        ("1,0,1", [1, 0, 1]),
    ):
        assert schema.condition(text).tolist() == values
    with pytest.raises(vk.errors.UsageError, match="expected one of smiles, hat"):
        schema.condition("hat,cat")


@pytest.mark.parametrize(
    "text", ["cow", "1,2", "dog=x", "cow=1", "", "dog=nan", "1,inf,0", "cat,dog", ",", "cat=0", "0,0,0"]
)
def test_conditions_nobody_knows_are_refused(text):
    with pytest.raises(vk.errors.UsageError, match="expected one of cat, dog, eel"):
        SCHEMA.condition(text)


def test_data_without_classes_make_no_cvae():
    with pytest.raises(vk.errors.DataError, match="no classes"):
        vk.models.cvae(vk.Schema("vector", (4,)))


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    data = vk.load("digits")
    model = vk.models.cvae(data.schema, latent_dim=8, hidden=(128,))
    vk.fit(model, data, epochs=25, batch_size=64, learning_rate=3e-3, progress=False)
    return model, data


def test_the_class_asked_for_is_drawn(trained):
    from sklearn.linear_model import LogisticRegression

    model, data = trained
    real = data.train.rows(slice(None)).flatten(1).numpy()
    judge = LogisticRegression(max_iter=500, C=0.1).fit(real, data.train.labels.numpy())
    labels = torch.arange(500) % 10
    torch.manual_seed(0)
    drawn = model.sample(500, torch.eye(10)[labels]).flatten(1).numpy()
    assert (judge.predict(drawn) == labels.numpy()).mean() > 0.95


def test_pictures_of_classes_and_styles(trained):
    model, data = trained
    arrays = condition_arrays(model.eval(), data.test)
    assert arrays["class_samples"].shape == (10, 8, 1, 8, 8)
    x, c = batch_at(model, data.test, slice(0, 8))
    own = arrays["class_styles"][np.arange(8), data.test.labels[:8].numpy()]
    assert_close(torch.from_numpy(own), model.reconstruct(x, c), rtol=1e-4, atol=1e-5)
    assert condition_arrays(model, replace(data.test, labels=None)) == {}


def test_numbers_of_ones_own_are_told_through_a_file(tmp_path, capsys):
    place = RNG.uniform(-1, 1, size=(300, 2)).astype(np.float32)
    x = np.concatenate([place, place[:, :1] * 2], 1) + 0.05 * RNG.normal(size=(300, 3)).astype(np.float32)
    source, run = tmp_path / "told.npz", tmp_path / "run"
    np.savez(source, x=x, conditions=place, condition_names=np.array(["east", "north"]))
    options = ["--epochs", "40", "--latent-dim", "1", "--hidden", "32", "--learning-rate", "0.01"]
    assert main(["train", str(source), "--model", "cvae", *options, "--out", str(run)]) == 0
    out = tmp_path / "s.npy"
    assert main(["sample", str(run), "-n", "50", "--condition", "east=0.5,north=-0.5", "--out", str(out)]) == 0
    assert np.abs(np.load(out).mean(0) - [0.5, -0.5, 1.0]).max() < 0.15
    changed = tmp_path / "r.npz"
    assert main(["reconstruct", str(run), str(source), "--condition", "0,0", "--out", str(changed)]) == 0
    assert np.abs(np.load(changed)["reconstructions"].mean(0)).max() < 0.15
    assert main(["evaluate", str(run), "--samples", "5"]) == 0
    capsys.readouterr()
    for words in (["--condition", "west=1"], []):
        assert main(["sample", str(run), *words, "--out", str(tmp_path / "no.npy")]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "no.npy").exists()
