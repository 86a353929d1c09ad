"""M2: its bounds against exact likelihoods and enumeration, its batches, rows without a label, and what it refuses."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp
from torch import nn
from torch.testing import assert_close

import vaekit as vk
from vaekit.cli.main import main
from vaekit.cli.options import parse
from vaekit.cli.settings import resolve, train_parser
from vaekit.conditional import Parametric
from vaekit.data.batches import epoch_batches
from vaekit.data.dataset import keep_labels
from vaekit.distributions.class_mixture import ClassMixture
from vaekit.distributions.families import Gaussian
from vaekit.distributions.posteriors import DiagonalGaussian
from vaekit.evaluation import elbo, log_likelihood_per_example
from vaekit.evaluation.classes import class_accuracy, class_probabilities
from vaekit.models import LatentModel
from vaekit.models.m2 import M2
from vaekit.networks import MLP
from vaekit.networks.joined import Joined
from vaekit.objectives import semisupervised
from vaekit.objectives.semisupervised import labelled_bound, unlabelled_bound
from vaekit.priors import StandardNormal

SIZE, LATENTS, CLASSES, VARIANCE = 5, 2, 3, 0.4
RNG = np.random.default_rng(4)
W = np.linalg.qr(RNG.normal(size=(SIZE, LATENTS)))[0] * [1.5, 0.7]
U, B = RNG.normal(size=(SIZE, CLASSES)), RNG.normal(size=SIZE)
LOG_PY = np.log([0.2, 0.5, 0.3])
COVARIANCE = W @ W.T + VARIANCE * np.eye(SIZE)
X = RNG.normal(size=(9, SIZE))
# (9, C): log p(x, y)
JOINT = np.stack([stats.multivariate_normal(U[:, y] + B, COVARIANCE).logpdf(X) + LOG_PY[y] for y in range(CLASSES)], 1)
LOG_PX = torch.from_numpy(logsumexp(JOINT, axis=1))
tensor = torch.from_numpy


def unbound(y, low=-16.0, high=8.0):
    """The raw value that `soft_bound` takes to y."""

    def inverse_softplus(v):
        return v + torch.log(-torch.expm1(-v))

    return high - inverse_softplus(high - low - inverse_softplus(y - low))


class Bayes(nn.Module):
    """Logits of p(y | x), sharpened or not."""

    def __init__(self, power=1.0):
        super().__init__()
        self.power = power

    def forward(self, x):
        law = torch.distributions.MultivariateNormal(tensor((U + B[:, None]).T), tensor(COVARIANCE))
        return self.power * (law.log_prob(x.unsqueeze(-2)) + tensor(LOG_PY))


def linear_model(power=1.0, off=0.0):
    """x = W z + U y + b + noise with the exact p(z | x, y), its means moved by `off`, and p(y | x) to a power."""
    gram = (W**2).sum(0)
    variance, slope = VARIANCE / (VARIANCE + gram), (W / (VARIANCE + gram)).T
    encoder, decoder = (
        MLP((SIZE + CLASSES,), (2, LATENTS), ()).double(),
        MLP((LATENTS + CLASSES,), (1, SIZE), ()).double(),
    )
    with torch.no_grad():
        encoder.out.weight.copy_(
            torch.cat([tensor(np.hstack([slope, -slope @ U])), torch.zeros(LATENTS, SIZE + CLASSES).double()])
        )
        encoder.bias.copy_(torch.stack([tensor(-slope @ B) + off, unbound(tensor(variance).log())]))
        decoder.out.weight.copy_(tensor(np.hstack([W, U])))
        decoder.bias.copy_(tensor(B)[None])
    q = Parametric(Joined(encoder, 1, planes=False), DiagonalGaussian(LATENTS))
    p = Parametric(Joined(decoder, 1, planes=False), Gaussian((SIZE,), sigma=math.sqrt(VARIANCE)))
    given = LatentModel(q, p, StandardNormal(LATENTS), LATENTS, condition_dim=CLASSES)
    model = M2(given, Bayes(power), learned=True).double()
    with torch.no_grad():
        model.class_logits.copy_(tensor(LOG_PY) + 1.7)
    return model


def test_log_p_of_x_is_exact_under_the_exact_posterior():
    model = linear_model()
    found = log_likelihood_per_example(model, tensor(X), samples=3)
    assert_close(found, LOG_PX, rtol=0, atol=1e-9)
    assert elbo(model, tensor(X), samples=3)["elbo"].value == pytest.approx(float(LOG_PX.mean()), abs=1e-9)


def test_importance_sampling_finds_log_p_of_x_under_a_wrong_posterior():
    found = log_likelihood_per_example(linear_model(0.5, 0.3), tensor(X), samples=20_000)
    assert_close(found, LOG_PX, rtol=0, atol=0.03)


def test_bounds_are_exact_under_the_exact_posterior():
    model, x = linear_model(), tensor(X)
    assert_close(-unlabelled_bound(model, x, 2, "iwae")[0], LOG_PX, rtol=0, atol=1e-9)
    for y in range(CLASSES):
        told = torch.eye(CLASSES).double()[[y]].expand(len(X), -1)
        assert_close(-labelled_bound(model, x, told, 2, "iwae")[0], tensor(JOINT[:, y]), rtol=0, atol=1e-9)
        assert_close(model.draw(x, told, 4).log_w, tensor(JOINT[:, y]).expand(4, -1), rtol=0, atol=1e-9)


def by_hand(off, power):
    """U of every row with its rate and its distortion, in closed form and a class at a time."""
    gram = (W**2).sum(0)
    variance, slope = VARIANCE / (VARIANCE + gram), (W / (VARIANCE + gram)).T
    log_q = power * JOINT - logsumexp(power * JOINT, axis=1, keepdims=True)
    rate, distortion = np.zeros(len(X)), np.zeros(len(X))
    for i, x in enumerate(X):
        for y in range(CLASSES):
            m, q = slope @ (x - U[:, y] - B) + off, np.exp(log_q[i, y])
            kl = 0.5 * (m @ m + variance.sum() - LATENTS - np.log(variance).sum())
            rest = x - W @ m - U[:, y] - B
            squares = rest @ rest + (gram * variance).sum()
            rate[i] += q * (kl + log_q[i, y] - LOG_PY[y])
            distortion[i] += q * 0.5 * (squares / VARIANCE + SIZE * np.log(2 * np.pi * VARIANCE))
    return rate, distortion


@pytest.mark.parametrize(("power", "off"), [(1.0, 0.0), (0.4, 0.5)])
def test_the_unlabelled_bound_is_an_enumeration(power, off):
    loss, rate, distortion = unlabelled_bound(linear_model(power, off), tensor(X), 20_000).detach()
    wanted_rate, wanted_distortion = by_hand(off, power)
    assert_close(rate, tensor(wanted_rate), rtol=0, atol=1e-9)
    assert_close(distortion, tensor(wanted_distortion), rtol=0, atol=0.05)
    assert_close(loss, rate + distortion, rtol=0, atol=1e-9)


def test_the_evaluated_bound_is_no_lower_than_the_one_with_y_in_the_code():
    model = linear_model(0.4, 0.5)
    rate, distortion = by_hand(0.5, 0.4)
    evaluated = elbo(model, tensor(X), samples=5000)["elbo"].value
    assert -(rate + distortion).mean() + 0.1 < evaluated < float(LOG_PX.mean()) - 0.05


LABELS = torch.tensor([0, -1, 1, 2, -1, -1, 0, -1, 2])
TOLD = torch.nn.functional.one_hot(LABELS + 1, 4)[:, 1:].double()


def test_rows_with_and_without_a_label_are_drawn_together():
    with torch.no_grad():
        log_w = linear_model().draw(tensor(X), TOLD, 4).log_w
    wanted = torch.where(LABELS >= 0, tensor(JOINT).gather(1, LABELS.clamp_min(0)[:, None])[:, 0], LOG_PX)
    assert_close(log_w, wanted.expand(4, -1), rtol=0, atol=1e-9)


@pytest.mark.parametrize("share", [None, 5 / 9, 0.1])
def test_the_loss_is_the_stated_objective(share):
    model, known = linear_model(0.4), LABELS >= 0
    terms = semisupervised(model, vk.Batch(tensor(X), TOLD), alpha=0.7, bound="iwae", samples=2, labelled_share=share)
    log_q = np.log(np.exp(0.4 * JOINT) / np.exp(0.4 * JOINT).sum(1, keepdims=True))
    unlabelled = (np.exp(log_q) * (JOINT - log_q)).sum(1)
    rows, classes = np.flatnonzero(known), LABELS[known].numpy()
    part = 5 / 9 if share is None else share
    wanted = -part * JOINT[rows, classes].mean() - (1 - part) * unlabelled[~known.numpy()].mean()
    wanted += 0.7 * -log_q[rows, classes].mean()
    assert float(terms.loss.mean().detach()) == pytest.approx(wanted, abs=1e-9)


def test_with_every_label_it_is_the_supervised_bound():
    model, y = linear_model(0.4, 0.5), torch.eye(CLASSES).double()[[0, 1, 2, 0, 1, 2, 0, 1, 2]]
    batch = vk.Batch(tensor(X), y)
    torch.manual_seed(3)
    found = semisupervised(model, batch, alpha=0.0, labelled_share=1.0)
    torch.manual_seed(3)
    wanted = vk.elbo(model, batch)
    for name in ("loss", "rate", "distortion"):
        assert_close(getattr(found, name), getattr(wanted, name), rtol=0, atol=1e-12)
    exact = semisupervised(linear_model(0.4), batch, alpha=2.0, bound="iwae").loss
    entropy = -(y * model.classify(tensor(X))).sum(-1)
    assert_close(exact, 2 * entropy - (y * tensor(JOINT)).sum(-1), rtol=0, atol=1e-9)


def made_for(schema, seed=0):
    torch.manual_seed(seed)
    return vk.models.m2(schema, latent_dim=2, hidden=(4,), activation="tanh", class_prior="learned").double()


def test_the_gradient_is_that_of_the_loss():
    model = made_for(vk.Schema("vector", (SIZE,), classes=("a", "b", "c"), low=-9, high=9, shift=0.1, scale=2.0))
    batch = vk.Batch(tensor(X), TOLD)

    def loss():
        torch.manual_seed(1)
        return semisupervised(model, batch, alpha=0.6, samples=2, labelled_share=0.3).loss.mean()

    gradient, step = torch.autograd.grad(loss(), list(model.parameters())), 1e-5
    for parameter, slope in zip(model.parameters(), gradient, strict=True):
        way, values = torch.randn_like(parameter), []
        with torch.no_grad():
            for move in (step, -2 * step, step):
                parameter += move * way
                values.append(float(loss()))
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(float((slope * way).sum()), rel=1e-5, abs=1e-7)


def test_a_class_mixture_draws_from_its_density():
    logits = torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.0, 0.5]]).double().log()
    loc, scale = torch.randn(2, 3, 2).double() * 3, torch.rand(2, 3, 2).double() + 0.2
    q = ClassMixture(logits, torch.distributions.Independent(torch.distributions.Normal(loc, scale), 1))
    drawn = q.from_noise(torch.randn(200_000, 2, 3))
    weights = logits.exp()[..., None]
    mean = (weights * loc).sum(1)
    second = (weights[..., None] * (loc[..., :, None] * loc[..., None, :] + torch.diag_embed(scale**2))).sum(1)
    assert_close(drawn.mean(0), mean, rtol=0, atol=0.05)
    assert_close(torch.einsum("kbi,kbj->bij", drawn, drawn) / len(drawn), second, rtol=0, atol=0.3)
    # the middle class of the second row has no weight: no draw is its own
    near = (drawn[:, 1, None] - loc[1]).div(scale[1]).square().sum(-1)
    assert float(((near[:, 1] < 0.01).double()).mean()) < 0.02


def partly(rows=100, known=5, classes=CLASSES):
    labels = torch.full((rows,), -1)
    labels[:known] = torch.arange(known) % classes
    return vk.Split(torch.arange(rows).double()[:, None], labels, name="train")


def rows_of(split, batch_size, epoch=1):
    told = epoch_batches(
        split, batch_size, seed=0, epoch=epoch, device=torch.device("cpu"), condition_dim=3, optional=True
    )
    return list(told)


def test_batches_hold_labelled_rows_and_stay_unbiased():
    split, values = partly(), torch.randn(100).double()
    batches = [b.to(torch.device("cpu"), torch.float64) for b in rows_of(split, 20)]
    assert len(batches) == 5
    seen = torch.cat([b.x[(b.c == 0).all(1)] for b in batches]).flatten()
    assert sorted(seen.tolist()) == list(range(5, 100)), "every row without a label once"
    assert all(int((b.c != 0).any(1).sum()) == 5 for b in batches)
    for b in batches:
        known = (b.c != 0).any(1)
        assert torch.equal(b.c[known].argmax(1), split.labels[b.x[known].long().flatten()])

    class Table(nn.Module):
        """A bound that is a number for each row."""

        log_py = torch.full((3,), -math.log(3), dtype=torch.float64)

        def classify(self, x):
            return self.log_py.expand(len(x), 3)

        @property
        def given_class(self):
            return self

        def draw(self, x, c=None, samples=1):
            value = values[x.long().flatten()].expand(samples, -1)
            return vk.Draw(z=value[..., None], log_px=-value, log_pz=None, log_qz=None, kl=torch.zeros(len(x)).double())

    means = [semisupervised(Table(), b, alpha=0.0, labelled_share=0.05).loss.mean().item() for b in batches]
    assert np.mean(means) == pytest.approx(float(values.mean()) + 0.05 * math.log(3), abs=1e-12)


def test_labelled_rows_come_equally_often_and_others_once():
    split, counts = partly(130, 30), torch.zeros(130)
    for epoch in range(1, 5):
        for batch in rows_of(split, 32, epoch):
            counts[batch.x.long().flatten()] += 1
    assert torch.equal(counts[30:], torch.full((100,), 4.0))
    assert counts[:30].min() >= 4 * 40 // 30 - 1
    assert counts[:30].max() - counts[:30].min() <= 4
    whole = replace(split, labels=torch.arange(130) % 3)
    assert sorted(torch.cat([b.x for b in rows_of(whole, 32)]).flatten().tolist()) == list(range(130))


def clusters(rows, seed=0):
    """Three clusters on a circle (n, 2), and their numbers."""
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % 3
    angle = 2 * np.pi * y / 3
    x = 4 * np.stack([np.cos(angle), np.sin(angle)], 1) + rng.normal(size=(rows, 2)) * [0.6, 1.0]
    return x.astype(np.float32), y


def test_accuracy_is_of_rows_with_a_label():
    model, labels = linear_model(), tensor(JOINT.argmax(1))
    right = replace(vk.Split(tensor(X)), labels=labels)
    assert class_accuracy(model, right).value == 1
    wrong = (labels + (torch.arange(9) < 2)) % 3
    found = class_accuracy(model, replace(right, labels=torch.where(torch.arange(9) < 7, wrong, -1)))
    assert (found.value, found.n) == (pytest.approx(5 / 7), 7)
    assert found.standard_error == pytest.approx(math.sqrt(7 / 11 * 4 / 11 / 11))
    assert_close(class_probabilities(model, right), tensor(np.exp(JOINT) / np.exp(JOINT).sum(1, keepdims=True)))
    for rows in (tensor(X), replace(right, labels=torch.full((9,), -1))):
        with pytest.raises(vk.errors.DataError, match="no labels"):
            class_accuracy(model, rows)
    with pytest.raises(vk.errors.UsageError, match="take model m2"):
        class_accuracy(vk.models.vae(SCHEMA), torch.zeros(3, 4))


def test_few_labels_are_said_in_the_fingerprint():
    data = vk.load(*clusters(400), labelled=6)
    assert data.train.fingerprint()["labelled"] == 6
    assert "labelled" not in data.test.fingerprint()


NAN = float("nan")


@pytest.mark.parametrize(
    ("labels", "classes", "known"),
    [
        ([0, 1, NAN, 2], ("0", "1", "2"), [0, 1, -1, 2]),
        ([0, -1, 2, 5], ("0", "2", "5"), [0, -1, 1, 2]),
        ([0.0, -1.0, 2.0, NAN], ("0", "2"), [0, -1, 1, -1]),
        (["cat", "", " ", "dog"], ("cat", "dog"), [0, -1, -1, 1]),
        ([None, "cat", "dog", NAN], ("cat", "dog"), [-1, 0, 1, -1]),
        ([-1, 1, 1, -1], ("-1", "1"), [0, 1, 1, 0]),
        ([-2, -1, 0, 1], ("-2", "-1", "0", "1"), [0, 1, 2, 3]),
    ],
)
def test_labels_that_are_missing(labels, classes, known):
    repeated = np.array(labels * 10, dtype=object if None in labels else None)
    data = vk.load(RNG.normal(size=(40, 3)), repeated)
    assert data.schema.classes == classes
    parts = [split.labels for split in (data.train, data.validation, data.test)]
    assert sorted(torch.cat(parts).tolist()) == sorted(known * 10)


def test_no_label_at_all_is_no_class():
    assert vk.load(RNG.normal(size=(40, 3)), np.full(40, NAN)).schema.classes is None


def test_labels_are_kept_class_by_class():
    split = vk.Split(torch.zeros(200, 1), torch.tensor([0] * 150 + [1] * 47 + [2] * 3))
    few = keep_labels(split, 12, seed=1)
    counts = few.labels[few.labelled].bincount().tolist()
    assert counts[2] == 3, "all there are"
    assert sorted(counts[:2]) == [4, 5]
    assert torch.equal(few.labels[few.labelled], split.labels[few.labelled])
    assert not torch.equal(few.labels, keep_labels(split, 12, seed=2).labels)
    assert torch.equal(few.labels, keep_labels(split, 12, seed=1).labels)
    for number in (2, 201):
        with pytest.raises(vk.errors.UsageError, match=f"labelled {number}: expected 3 "):
            keep_labels(split, number, seed=0)
    with pytest.raises(vk.errors.DataError, match="no labels to keep"):
        keep_labels(replace(split, labels=None), 3, seed=0)


def test_a_row_without_a_class_is_told_nothing_or_refused():
    split = vk.Split(torch.zeros(3, 4), torch.tensor([0, -1, 1]), name="train")
    assert split.condition(slice(None), 2, optional=True).tolist() == [[1, 0], [0, 0], [0, 1]]
    with pytest.raises(vk.errors.DataError, match="class of 1 of 3 rows is not known"):
        split.condition(slice(None), 2)
    with pytest.raises(vk.errors.DataError, match="class -2"):
        replace(split, labels=torch.tensor([0, -2, 1])).condition(slice(None), 2, optional=True)


SCHEMA = vk.Schema("vector", (4,), classes=("a", "b"))


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (replace(SCHEMA, classes=None), "no classes"),
        (replace(SCHEMA, conditions=("east", "north")), "conditions"),
        (replace(SCHEMA, classes=("a",)), "at least 2 classes"),
    ],
)
def test_data_that_make_no_m2(schema, text):
    with pytest.raises(vk.errors.DataError, match=text):
        vk.models.m2(schema)


@pytest.mark.parametrize(
    ("keywords", "text"),
    [({"alpha": -1.0}, "alpha -1.0"), ({"bound": "vr"}, "bound 'vr'"), ({"samples": 0}, "samples 0")],
)
def test_keywords_that_cannot_be(keywords, text):
    with pytest.raises(vk.errors.UsageError, match=text):
        semisupervised(vk.models.m2(SCHEMA), vk.Batch(torch.zeros(3, 4)), **keywords)


def test_what_cannot_be_trained():
    model, batch = vk.models.m2(SCHEMA), vk.Batch(torch.zeros(3, 4))
    with pytest.raises(vk.errors.UsageError, match="take model m2"):
        semisupervised(vk.models.vae(SCHEMA), batch)
    with pytest.raises(vk.errors.UsageError, match="objective semisupervised"):
        vk.elbo(model, batch)
    with pytest.raises(vk.errors.DataError, match="no training row has a label"):
        vk.fit(model, vk.Split(torch.zeros(20, 4), torch.full((20,), -1)), epochs=1, progress=False)
    assert torch.isfinite(vk.elbo(model, batch, gradient="score", kl="sampled", samples=3).loss).all()


def test_a_score_gradient_is_that_of_the_bound():
    """REINFORCE needs no path through the class."""
    model, x = linear_model(0.4, 0.2), tensor(X[:2])
    model.classifier = nn.Linear(SIZE, CLASSES).double()
    parameter = model.classifier.bias

    def bound(n):
        return vk.elbo(model, vk.Batch(x), gradient="score", samples=n).loss.mean()

    slopes = torch.stack([torch.autograd.grad(bound(1000), parameter)[0] for _ in range(10)])
    slope, error = slopes.mean(0), slopes.std(0) / math.sqrt(10)
    for at in range(CLASSES):
        way, values = torch.eye(CLASSES).double()[at], []
        for sign in (0.5, -0.5):
            with torch.no_grad():
                parameter += sign * way
                torch.manual_seed(0)
                values.append(float(-log_bound(model, x)))
                parameter -= sign * way
        assert values[0] - values[1] == pytest.approx(float(slope[at]), abs=4 * float(error[at]) + 0.02)


def log_bound(model, x):
    """E_q(z|x)[log p(x|z) p(z) / q(z|x)] by stratified draws: every class of q(y | x) in turn."""
    log_q, total = model.classify(x), 0.0
    for y in range(CLASSES):
        told = torch.eye(CLASSES).double()[[y]].expand(len(x), -1)
        z = model.given_class.posterior(x, told).rsample(torch.Size((5000,)))
        q = model.posterior(x)
        log_w = model.decode(z).log_prob(x) + StandardNormal(LATENTS)().log_prob(z.float()).double() - q.log_prob(z)
        total = total + log_q[:, y].exp() * log_w.mean(0)
    return total.mean()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on a file of rows of which few have a label, and among the test rows some have none."""
    folder = tmp_path_factory.mktemp("m2")
    x, y = clusters(300)
    labels = np.where(np.random.default_rng(1).random(300) < 0.3, y, -1)
    np.savez(folder / "few.npz", x=x, y=labels)
    options = ["--epochs", "20", "--batch-size", "16", "--latent-dim", "1", "--hidden", "24", "--learning-rate", "0.01"]
    assert (
        main(
            [
                "train",
                str(folder / "few.npz"),
                "--model",
                "m2",
                *options,
                "--patience",
                "0",
                "--out",
                str(folder / "run"),
            ]
        )
        == 0
    )
    return folder


def test_a_run_says_how_well_it_classifies(run, capsys):
    stored = json.loads((run / "run" / "evaluation.json").read_text())
    assert stored["class_accuracy"]["value"] > 0.9
    assert stored["class_accuracy"]["n"] < stored["elbo"]["n"] == 60
    assert stored["linear_probe"]["n"] == stored["class_accuracy"]["n"]
    page = (run / "run" / "report.html").read_text()
    assert "Accuracy of the classifier" in page
    assert "unlabelled" in page
    assert main(["evaluate", str(run / "run"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == stored


def test_a_run_draws_and_changes_and_tells_classes(run, tmp_path):
    place, source = str(run / "run"), str(run / "few.npz")
    assert main(["sample", place, "-n", "40", "--condition", "1", "--out", str(tmp_path / "s.npy")]) == 0
    assert np.abs(np.load(tmp_path / "s.npy").mean(0) - [-2, 3.46]).max() < 1
    assert main(["reconstruct", place, source, "--condition", "2", "--out", str(tmp_path / "r.npz")]) == 0
    assert np.abs(np.load(tmp_path / "r.npz")["reconstructions"].mean(0) - [-2, -3.46]).max() < 1
    assert main(["reconstruct", place, source, "--out", str(tmp_path / "own.npz")]) == 0
    assert np.load(tmp_path / "own.npz")["errors"].mean() < 1.5
    assert main(["encode", place, source, "--out", str(tmp_path / "e.npz")]) == 0
    codes = np.load(tmp_path / "e.npz")
    assert codes["class_probabilities"].shape == (300, 3)
    known = codes["labels"] >= 0
    assert (codes["class_probabilities"].argmax(1) == codes["labels"])[known].mean() > 0.9


@pytest.mark.parametrize(
    ("options", "status", "text"),
    [
        (["--model", "cvae"], 3, "rows is not known"),
        (["--model", "m2", "--objective", "elbo"], 2, "objective semisupervised"),
        (["--model", "m2", "--labelled", "2"], 2, "labelled 2: expected 3"),
        (["--model", "vae", "--objective", "semisupervised"], 2, "take model m2"),
    ],
)
def test_refusals_come_before_a_folder_is_made(run, tmp_path, capsys, options, status, text):
    assert main(["train", str(run / "few.npz"), *options, "--out", str(tmp_path / "no")]) == status
    message = capsys.readouterr().err
    assert text in message
    assert message.count("\n") == 1
    assert not (tmp_path / "no").exists()


def test_a_folder_of_unlabelled_images_has_no_class(tmp_path):
    from PIL import Image

    for at, name in enumerate(("cat", "dog", "unlabelled")):
        (tmp_path / name).mkdir()
        for i in range(6):
            Image.fromarray(np.full((4, 4), 40 * at + i, np.uint8)).save(tmp_path / name / f"{i}.png")
    data = vk.load(tmp_path)
    assert data.schema.classes == ("cat", "dog")
    every = torch.cat([s.labels for s in (data.train, data.validation, data.test)])
    assert sorted(every.tolist()) == [-1] * 6 + [0] * 6 + [1] * 6


@pytest.mark.parametrize(("given", "draws"), [([], 20), (["--evaluation-samples", "150"], 150)])
def test_an_evaluation_takes_as_many_decodings_as_that_of_another_model(given, draws):
    """200 draws by default, each of which is decoded as every one of the ten classes."""
    data = vk.load("digits", labelled=20)
    options = parse(train_parser("m2", "semisupervised"), ["digits", "--model", "m2", *given]).as_dict()
    resolve(options, data)
    assert options["evaluation_samples"] == draws
    plain = parse(train_parser("vae", "elbo"), ["digits"]).as_dict()
    resolve(plain, data)
    assert plain["evaluation_samples"] == 200
