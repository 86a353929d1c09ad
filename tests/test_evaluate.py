"""What `evaluate` gathers: every group beside its own function, samples beside data, per-example numbers, the command."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import vaekit as vk
from vaekit.cli.columns import ENDINGS, write_columns
from vaekit.cli.main import main
from vaekit.errors import DataError, StorageError, UsageError
from vaekit.evaluation import active_units, aggregate_posterior, codes, evaluate, probes
from vaekit.evaluation.disentanglement import mig
from vaekit.evaluation.estimate import share_of
from vaekit.evaluation.examples import per_example
from vaekit.evaluation.figures import Question
from vaekit.evaluation.probes import raw_probes
from vaekit.evaluation.quality import sample_figures
from vaekit.evaluation.samples import nearest

DIGITS = vk.load("digits")
CHEAP = ("frechet_distance", "precision")


def pixels(x):
    """Features that cost nothing: sixteen of the values."""
    return x.flatten(1)[:, ::4]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    made = vk.models.vae(DIGITS.schema, latent_dim=3, hidden=(32,))
    vk.fit(made, DIGITS, epochs=4, batch_size=64, learning_rate=3e-3, progress=False)
    return made


@pytest.fixture(scope="module")
def asked(model):
    return Question(model, DIGITS, DIGITS.test, samples=30, features=pixels)


# ---- groups


def test_figures_are_those_of_their_own_functions(model, asked):
    found = evaluate(model, DIGITS, samples=30, features=pixels)
    for name, figure in aggregate_posterior(model, DIGITS.test).items():
        assert found[name] == figure
    assert "at most log n" in found["mutual_information"].estimator
    own = sample_figures(model, DIGITS, features=pixels, statistics=CHEAP)
    assert found["frechet_distance"] == own["frechet_distance"]
    assert not {"mig", "two_sample", "inference_gap", "annealed_gain"} & set(found)


def test_what_cannot_be_is_refused_before_the_figures(model, monkeypatch):
    """A full Gaussian has no gaps, a VQ-VAE nothing to anneal: nothing else is measured first."""
    full = vk.models.vae(DIGITS.schema, latent_dim=2, hidden=(8,), posterior="full")
    quantised = vk.models.vqvae(DIGITS.schema, network="mlp", hidden=(8,))
    monkeypatch.setattr("vaekit.evaluation.summary.FIGURES", (lambda asked: pytest.fail("figures were measured"),))
    with pytest.raises(UsageError, match="needs a diagonal Gaussian posterior"):
        evaluate(full, DIGITS, gap_rows=3)
    with pytest.raises(UsageError, match="expected a continuous code with a prior density, got VQVAE"):
        evaluate(quantised, DIGITS, annealed_rows=3)
    with pytest.raises(UsageError, match="that of VQVAE is none; leave them out"):
        evaluate(quantised, DIGITS, gap_rows=3)
    codeless = vk.models.vae(DIGITS.schema, latent_dim=2, hidden=(8,))
    codeless.latent_dim = 0
    for asked in ({"gap_rows": 3}, {"annealed_rows": 3}):
        with pytest.raises(UsageError, match=r"has no code, so its log p\(x\) is exact"):
            evaluate(codeless, DIGITS, **asked)


def test_a_factorvae_is_annealed_as_its_vae():
    model = vk.models.factorvae(DIGITS.schema, latent_dim=2, hidden=(8,))
    options = {"chains": 2, "temperatures": 3, "leapfrog": 2}
    both = [vk.evaluation.annealed_log_weights(m, DIGITS.test.head(2), **options) for m in (model, model.vae)]
    assert torch.equal(*both)
    found = vk.evaluation.bidirectional(model, n=2, **options)
    assert found == vk.evaluation.bidirectional(model.vae, n=2, **options)


def test_one_row_has_no_standard_error(model):
    assert active_units(model, DIGITS.test.head(1)).standard_error is None
    assert active_units(model, DIGITS.test.head(2)).standard_error is not None
    assert share_of(np.array([True]), "accuracy", "").standard_error is None


def test_a_share_of_all_rows_is_not_certain():
    """Agresti & Coull: two hits and two misses are added."""
    every, some = share_of(np.ones(20, dtype=bool), "accuracy", ""), share_of(torch.arange(100) < 30, "accuracy", "")
    assert (every.value, some.value) == (1.0, 0.3)
    assert every.standard_error == pytest.approx(math.sqrt(22 / 24 * 2 / 24 / 24))
    assert some.standard_error == pytest.approx(math.sqrt(32 / 104 * 72 / 104 / 104))
    data = replace(DIGITS, test=DIGITS.test.head(5))
    assert all(probe.standard_error > 0 for probe in raw_probes(data).values())


def test_gaps_annealing_and_the_two_sample_test_come_when_asked_for(model):
    rows = DIGITS.test.head(100)
    found = evaluate(model, DIGITS, split=rows, samples=100, features=pixels,
                     two_sample=True, gap_rows=6, annealed_rows=6, temperatures=15)  # fmt: skip
    assert found["approximation_gap"].n == found["annealed_log_likelihood"].n == found["simulated_gap"].n == 6
    assert found["inference_gap"].value == pytest.approx(
        found["approximation_gap"].value + found["amortisation_gap"].value
    )
    # the same rows by two ways: their difference is far quieter than their means
    assert abs(found["annealed_gain"].value) < 1.5
    assert found["annealed_gain"].standard_error < 0.5 * found["annealed_log_likelihood"].standard_error
    assert found["simulated_lower"].value < found["simulated_upper"].value + 1
    assert abs(found["two_sample_floor"].value - 0.5) < 4 * found["two_sample_floor"].standard_error


def test_factors_are_scored_where_they_are_known():
    data = vk.load("shapes", image_size=8)
    few = replace(data, train=data.train.head(300), test=data.test.take(torch.arange(0, len(data.test), 60)))
    model = vk.models.vae(data.schema, latent_dim=2, hidden=(8,))
    found = evaluate(model, few, samples=2, features=pixels)
    z = codes(model, few.test).double().numpy()
    assert found["mig"].value == mig(z, few.test.factors.numpy())
    assert {"factorvae_score", "disentanglement", "completeness", "informativeness", "sap"} <= set(found)


# ---- samples


class Drawn(nn.Module):
    """A model that draws what it is given."""

    can_sample, condition_dim, condition_optional = True, 0, False

    def __init__(self, rows):
        super().__init__()
        self.drawn = rows

    def sample(self, n, c=None, *, noise=False):
        given, self.drawn = self.drawn[:n], self.drawn[n:]
        return given


def halves():
    rows = torch.cat([s.rows(slice(None)) for s in (DIGITS.train, DIGITS.validation, DIGITS.test)])
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))]
    values = (16 * rows).round().to(torch.uint8)
    return [vk.Split(v, maximum=16) for v in values.split([900, 440, 457])]


def test_data_for_samples_are_at_the_floor():
    """Rows of the data given as samples: each figure is the floor's within the two errors, and nothing is memorised."""
    train, test, third = halves()
    data = vk.Dataset(DIGITS.schema, train, test=test)
    found = sample_figures(Drawn(third.rows(slice(None))), data, features=pixels)
    for name in ("frechet_distance", "precision", "recall", "density", "coverage", "two_sample", "neighbour_distance"):
        own, floor = found[name], found[f"{name}_floor"]
        assert abs(own.value - floor.value) < 4 * math.hypot(own.standard_error, floor.standard_error), name
    share = found["nearer_to_training"]
    assert abs(share.value - 0.5) < 4 * share.standard_error


def test_copies_and_blurred_samples():
    """Copies of training rows lie nearer to training; blurred rows lie near to everything, and to nothing more."""
    train, test, third = halves()
    data = vk.Dataset(DIGITS.schema, train, test=test)
    x, new = train.rows(slice(None)), third.rows(slice(None))
    copies = sample_figures(Drawn(x[:440]), data, features=pixels, statistics=CHEAP)
    assert copies["neighbour_distance"].value < 0.01 * copies["neighbour_distance_floor"].value
    assert copies["nearer_to_training"].value > 0.6 + 4 * copies["nearer_to_training"].standard_error
    apart = torch.cdist(new.flatten(1), new.flatten(1)) + 1e9 * torch.eye(len(new))
    blurred = sample_figures(Drawn(0.5 * (new + new[apart.argmin(1)])), data, features=pixels, statistics=CHEAP)
    assert blurred["neighbour_distance"].value < 0.98 * blurred["neighbour_distance_floor"].value
    assert abs(blurred["nearer_to_training"].value - 0.5) < 4 * blurred["nearer_to_training"].standard_error


def test_nearest_in_blocks_is_the_nearest():
    x, rows = torch.randn(7, 2, 3) + 50, torch.randn(40, 2, 3) + 50
    exact = (x[:, None] - rows).flatten(2).norm(dim=2).amin(1)
    for size in (1, 7, 100):
        assert torch.allclose(nearest(x, rows, size), exact, rtol=1e-5)


def test_binary_samples_are_draws_and_gray_ones_means():
    binary = vk.load("digits", binarize="dynamic")
    seen = []

    def features(x):
        seen.append(set(x.unique().tolist()) <= {0.0, 1.0})
        return x.flatten(1)

    torch.manual_seed(0)
    vae = vk.models.vae(binary.schema, latent_dim=2, hidden=(8,))
    found = sample_figures(vae, binary, features=features, statistics=CHEAP)
    assert all(seen)
    assert "samples drawn from p(x|z)" in found["precision"].estimator
    gray = sample_figures(vk.models.vae(DIGITS.schema, latent_dim=2, hidden=(8,)), DIGITS, features=pixels)
    assert "samples are means" in gray["precision"].estimator


def test_training_rows_have_no_neighbours_among_themselves(model):
    found = sample_figures(model, DIGITS, split=DIGITS.train, features=pixels, statistics=CHEAP)
    assert "neighbour_distance" not in found
    assert found["precision"].n == 630


def test_any_module_serves_as_features_and_wrong_ones_are_named(model):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    found = sample_figures(model, DIGITS, features=net, statistics=CHEAP)
    assert "in given features" in found["precision"].estimator
    assert found == sample_figures(model, DIGITS, features=net, statistics=CHEAP)
    wrong = [
        (lambda x: x, r"features: expected a tensor \(358, F\) for 358 rows, got \(358, 1, 8, 8\); flatten it"),
        (lambda x: x.flatten(1)[:5], r"got \(5, 64\)"),
        (lambda x: x.flatten(1).numpy(), "got ndarray"),
        (lambda x: x.flatten(1) / 0, "features: not every number is real and finite"),
        (lambda x: x.flatten(1) + 1j, "features: not every number is real and finite"),
        (lambda x: x.flatten(1)[:, :0], r"rows, got \(\d+, 0\)"),
    ]
    for features, message in wrong:
        with pytest.raises(DataError, match=message) as caught:
            sample_figures(model, DIGITS, features=features)
        assert "\n" not in str(caught.value)


# ---- per example


class Codes(nn.Module):
    """A stand-in for a model whose codes are the examples."""

    condition_dim, condition_optional, has_likelihood, has_posterior = 0, False, True, True

    def encode(self, x, c=None):
        return x


def test_active_units_count_variances_above_the_threshold():
    """Standard deviations 1, 0.11 and 0.09: two of the variances exceed 0.01. Near the threshold the count is uncertain."""
    x = torch.randn(4000, 4)
    x = (x - x.mean(0)) / x.std(0) * torch.tensor([1.0, 0.11, 0.09, 0.0])
    found = active_units(Codes(), vk.Split(x, name="test"))
    assert (found.value, found.n, found.standard_error) == (2, 4000, 0)
    assert found.estimator == "variance of the posterior mean over the test rows above 0.01"
    assert active_units(Codes(), x, threshold=0.02).value == 1
    few = torch.randn(50, 40) * 0.1  # each is above the threshold as often as not
    assert 1 < active_units(Codes(), few).standard_error < 6


def test_probes_of_classes_that_overlap_reach_the_best_rule():
    """Two Gaussians two apart: the best rule is right in Phi(1) = 84.1 % of the cases, and a line is such a rule."""
    rows, labels = torch.randn(8000, 1), torch.arange(8000) % 2
    x = torch.cat([rows + 2 * labels[:, None], torch.randn(8000, 2)], 1)
    schema = vk.Schema("vector", (3,), low=-9.0, high=9.0, classes=("a", "b"))
    data = vk.Dataset(schema, vk.Split(x[:4000], labels[:4000], name="train"), test=vk.Split(x[4000:], labels[4000:]))
    found = probes(Codes(), data)
    linear = found["linear_probe"]
    assert linear.value == pytest.approx(0.8413, abs=3 * linear.standard_error)
    assert linear.standard_error == pytest.approx(math.sqrt(0.8413 * 0.1587 / 4000), rel=0.05)
    assert found["linear_probe_raw"].value == linear.value  # the code is the example
    assert 0.7 < found["knn_probe"].value < linear.value
    assert "asked of training rows" in probes(Codes(), replace(data, test=data.train))["knn_probe"].estimator


def test_distances_in_a_table_do_not_depend_on_its_units():
    x = torch.randn(1400, 5)
    found = []
    for unit in (torch.ones(5), torch.tensor([1.0, 1e3, 1e-3, 1.0, 50.0])):
        data = vk.load((x * unit).numpy())
        model = vk.models.vae(data.schema, latent_dim=2, hidden=(8,))
        model.sample = lambda n, c=None, noise=False, unit=unit: x[100 : 100 + n] * unit
        figures = sample_figures(model, data, features=pixels, statistics=("precision",))
        found.append([figures[name].value for name in ("neighbour_distance_floor", "nearer_to_training")])
    assert found[0] == pytest.approx(found[1], rel=1e-3)


def test_a_few_draws_are_said_to_be_too_few(model):
    for samples in (1, 2):
        figures = evaluate(model, DIGITS, samples=samples, features=pixels)
        assert "too few effective draws" in figures["log_likelihood"].estimator
        assert "too few to trust" in figures["effective_samples"].estimator


def test_means_over_the_examples_are_the_figures(model, asked):
    table, found = per_example(asked), evaluate(model, DIGITS, samples=30, features=pixels)
    assert table["row"].tolist() == list(range(len(DIGITS.test)))
    assert (table["label"] == DIGITS.test.labels.numpy()).all()
    for name in ("elbo", "kl", "distortion", "log_likelihood"):
        assert table[name].mean() == pytest.approx(found[name].value, rel=1e-12), name
    assert np.median(table["effective_samples"]) == pytest.approx(found["effective_samples"].value)
    assert np.abs(table["elbo"] + table["kl"] + table["distortion"]).max() < 1e-9


def test_without_a_likelihood_there_is_the_distortion():
    plain = vk.models.autoencoder(DIGITS.schema, latent_dim=2, hidden=(8,))
    table = per_example(Question(plain, DIGITS, DIGITS.test))
    assert set(table) == {"row", "label", "distortion"}
    found = evaluate(plain, DIGITS, features=pixels)
    assert table["distortion"].mean() == pytest.approx(found["distortion"].value, rel=1e-6)


# ---- errors


def test_what_cannot_be_evaluated_is_said_in_one_line(model):
    plain = vk.models.autoencoder(DIGITS.schema, latent_dim=2, hidden=(8,))
    broken = vk.models.vae(DIGITS.schema, latent_dim=2, hidden=(8,))
    with torch.no_grad():
        next(broken.parameters()).view(-1)[0] = torch.nan
    codebook = vk.models.vqvae(DIGITS.schema, hidden=(8,))
    codebook.quantiser.vectors[0, 0, 0] = torch.nan  # a buffer, not a parameter
    wrong = [
        (lambda: evaluate(model, DIGITS, split=DIGITS.test.head(0)), DataError, "no rows to evaluate"),
        (lambda: evaluate(model, replace(DIGITS, test=None)), DataError, "have no test rows"),
        (lambda: evaluate(model, DIGITS, samples=0), UsageError, "expected at least 1"),
        (lambda: evaluate(model, DIGITS, gap_rows=-1), UsageError, "gap_rows -1: expected a number of rows"),
        (lambda: evaluate(plain, DIGITS, annealed_rows=3), UsageError, "has no likelihood; train a vae"),
        (lambda: evaluate(plain, DIGITS, gap_rows=3), UsageError, "has no likelihood; train a vae"),
        (lambda: evaluate(broken, DIGITS), vk.errors.RunError, "is not finite; train it again"),
        (lambda: evaluate(codebook, DIGITS), vk.errors.RunError, "weight quantiser.vectors is not finite"),
        (lambda: sample_figures(plain, DIGITS), UsageError, "no prior to sample from"),
        (lambda: sample_figures(model, DIGITS, split=DIGITS.test.head(20)), DataError, "20 rows .* it needs 40"),
    ]
    for call, kind, message in wrong:
        with pytest.raises(kind, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


# ---- the command


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate") / "run"
    options = ["--epochs", "1", "--hidden", "8", "--latent-dim", "2", "--evaluation-samples", "5"]
    assert main(["train", "digits", "--out", str(folder), *options]) == 0
    return folder


def test_the_command_writes_rows_and_keeps_figures(run, tmp_path, capsys):
    before = json.loads((run / "evaluation.json").read_text())
    file = tmp_path / "rows.npz"
    assert main(["evaluate", str(run), "--samples", "7", "--per-example", str(file)]) == 0
    assert f"358 rows, one a line: {file}" in capsys.readouterr().out
    arrays = np.load(file)
    assert list(arrays) == ["row", "label", "elbo", "kl", "distortion", "log_likelihood", "effective_samples"]
    assert json.loads((run / "evaluation.json").read_text()) == before
    assert main(["evaluate", str(run), "--samples", "7", "--gaps", "3", "--write"]) == 0
    kept = json.loads((run / "evaluation.json").read_text())
    assert kept["log_likelihood"]["value"] == pytest.approx(arrays["log_likelihood"].mean())
    assert set(kept) - set(before) == {"approximation_gap", "amortisation_gap", "inference_gap"}
    assert "Amortisation gap" in (run / "report.html").read_text()


def test_figures_are_shown_before_a_file_fails(run, tmp_path, capsys, monkeypatch):
    def full(*_):
        raise StorageError("rows.csv: cannot be written: the disk is full")

    monkeypatch.setattr("vaekit.cli.evaluate.write_columns", full)
    assert main(["evaluate", str(run), "--samples", "2", "--per-example", str(tmp_path / "rows.csv")]) == 6
    told = capsys.readouterr()
    assert "log p(x)" in told.out
    assert "the disk is full" in told.err
    monkeypatch.setattr("vaekit.cli.evaluate.check_writable", full)
    assert main(["evaluate", str(run), "--samples", "2", "--write"]) == 6
    assert capsys.readouterr().out == "", "what cannot be kept is said before the work"


def test_columns_say_the_same_in_every_file(tmp_path):
    columns = {"row": np.arange(3), "elbo": np.array([-1.25, 1e-7, -3.0]), "kl": np.array([0.1, 2, 3], np.float32)}
    for ending in ENDINGS:
        write_columns(tmp_path / f"rows{ending}", columns)
    lines = (tmp_path / "rows.csv").read_text().splitlines()
    assert lines[0] == "row,elbo,kl"
    records, arrays = np.load(tmp_path / "rows.npy"), np.load(tmp_path / "rows.npz")
    for at, (name, values) in enumerate(columns.items()):
        assert [float(line.split(",")[at]) for line in lines[1:]] == values.tolist()
        assert (records[name] == values).all()
        assert (arrays[name] == values).all()


def test_the_command_refuses_before_it_works_and_leaves_the_run_alone(run, tmp_path, capsys):
    there = tmp_path / "there.csv"
    there.write_text("mine")
    kept = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    wrong = [
        (["--per-example", there], "exists already; choose another --per-example"),
        (["--per-example", "rows.txt"], "--per-example rows.txt: expected a file ending in .csv, .npy, .npz"),
        (["--write", "--split", "train"], "--write: a run keeps the figures of its own test rows"),
        (["--samples", "0"], "--samples 0: expected at least 1 draw"),
        (["--gaps", "-1"], "--gaps -1: expected a number of rows"),
        (["--temperatures", "0"], "--temperatures 0: expected at least 1"),
        (["--split", "all"], "--split all: evaluate one of the run's own splits"),
    ]
    for options, message in wrong:
        assert main(["evaluate", str(run), *map(str, options)]) != 0
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert there.read_text() == "mine"
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == kept


def test_samples_of_one_mode_have_an_error_that_knows_it():
    """All samples beside one row: whichever split has it decides, so the share has next to no number of its own."""
    train, test, third = halves()
    data = vk.Dataset(DIGITS.schema, train, test=test)
    noise = 0.01 * torch.randn(400, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    one = sample_figures(Drawn(third.rows(slice(0, 1)) + noise), data, features=pixels, statistics=CHEAP)
    share = one["nearer_to_training"]
    assert abs(share.value - 0.5) > 0.3
    assert share.standard_error > 0.2


@pytest.mark.parametrize("figure", [vk.evaluation.elbo, vk.evaluation.log_likelihood])
@pytest.mark.parametrize(
    ("schema", "likelihood", "rows", "match"),
    [
        (
            vk.Schema("vector", (3,), levels=17),
            "auto",
            torch.arange(12.0).reshape(4, 3),
            "not on the 17 levels from 0 to 1",
        ),
        (vk.Schema("vector", (3,), levels=2), "bernoulli", torch.full((4, 3), 0.3), "not on the 2 levels"),
        (vk.Schema("vector", (3,)), "continuous-bernoulli", torch.full((4, 3), -40.0), "not between 0 and 1"),
        (vk.Schema("vector", (3,), low=-5.0), "gaussian", torch.full((4, 3), math.nan), "not finite"),
        (
            vk.Schema("vector", (3,), low=-5.0),
            "gaussian",
            torch.zeros(4, 2),
            r"expected examples of shape \(3,\), got \(2,\)",
        ),
    ],
)
def test_rows_that_are_no_examples_have_no_likelihood(figure, schema, likelihood, rows, match):
    model = vk.models.vae(schema, latent_dim=2, hidden=(4,), likelihood=likelihood)
    with pytest.raises(vk.errors.DataError, match=match):
        figure(model, rows)
