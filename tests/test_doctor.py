"""The doctor: each finding is provoked, and adequate trainings have none."""

import json
import math
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import vaekit as vk
from vaekit.cli.main import main
from vaekit.data import Dataset, Schema, Split
from vaekit.distributions.families import Bernoulli
from vaekit.evaluation import active_units, diagnose
from vaekit.evaluation.findings import Case
from vaekit.evaluation.outcome import _effective, memorised
from vaekit.evaluation.symptoms import _information, posterior_collapse
from vaekit.models import RECIPES
from vaekit.objectives import elbo
from vaekit.training import fit

DIGITS = vk.load("digits")


def made(name="vae", data=DIGITS, seed=0, **arguments):
    torch.manual_seed(seed)
    return RECIPES[name].function(data.schema, **arguments)


def trained(data=DIGITS, name="vae", seed=0, epochs=5, objective=None, learning_rate=1e-3, **arguments):
    model = made(name, data, seed, **arguments)
    objective = objective or RECIPES[name].objective
    history = fit(
        model,
        data,
        objective,
        epochs=epochs,
        batch_size=64,
        learning_rate=learning_rate,
        learning_rate_decay="cosine",
        seed=seed,
        progress=False,
    )
    return model, history


def vectors(n=1500, seed=0):
    """Rows x = W z + noise with W of rank 3 in 8 dimensions."""
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(3, 8, generator=generator)
    x = torch.randn(n, 3, generator=generator) @ w + 0.3 * torch.randn(n, 8, generator=generator)
    schema = Schema("vector", (8,), low=float(x.min()), high=float(x.max()), mean=x.mean(0),
                    shift=tuple(x.mean(0).tolist()), scale=tuple(x.std(0).tolist()))  # fmt: skip
    parts = (x[: n // 2], x[n // 2 : 3 * n // 4], x[3 * n // 4 :])
    names = ("train", "validation", "test")
    return Dataset(schema, *(Split(part, name=name) for part, name in zip(parts, names, strict=True)))


@pytest.fixture(scope="module")
def healthy():
    return trained(epochs=25, latent_dim=6, learning_rate=2e-3, hidden=(128,))


@contextmanager
def restored(model):
    """The model's weights are put back at the end."""
    state = {k: v.clone() for k, v in model.state_dict().items()}
    try:
        yield
    finally:
        model.load_state_dict(state)


def found(model, data=DIGITS, **keywords):
    return {finding.name: finding for finding in diagnose(model, data, **keywords)}


def curve(values, beta=None):
    return [{"epoch": i + 1, "validation_elbo": v} | ({} if beta is None else {"beta": beta[i]})
            for i, v in enumerate(values)]  # fmt: skip


def test_a_healthy_run_has_no_finding(healthy):
    model, history = healthy
    config = {"objective": "elbo", "beta": 1.0, "capacity": None, "free_bits": 0.0, "warm_up": 5, "epochs": 25}
    assert diagnose(model, DIGITS, history=history, config=config) == []


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_healthy_run_on_vectors_has_no_finding(seed):
    data = vectors(3000, seed)
    model, history = trained(data, seed=seed, epochs=30, latent_dim=3, hidden=(32,), learning_rate=5e-3)
    assert diagnose(model, data, history=history, seed=seed) == []


@pytest.mark.parametrize(
    ("dims", "name", "severity"),
    [([1, 4], "unused_dimensions", "note"), ([0, 1, 2, 4, 5], "posterior_collapse", "warning")],
)
def test_dimensions_that_are_not_used_are_named(healthy, dims, name, severity):
    """Two of six are a note, five of six a collapse."""
    model, _ = healthy
    bias = model.encoder.network.bias
    rows = [p for _, p in model.encoder.named_parameters() if p.dim() == 2][-1]
    with torch.no_grad(), restored(model):
        rows.view(2, 6, -1)[:, dims] = 0
        bias.view(2, 6)[:, dims] = 0
        findings = found(model)
    assert len({"unused_dimensions", "posterior_collapse"} & set(findings)) == 1
    finding = findings[name]
    assert finding.severity == severity
    assert str(finding).startswith(
        "note: unused dimensions: 2 of 6" if severity == "note" else "posterior collapse: 5 of 6"
    )
    assert finding.numbers["dimensions"] == dims
    assert max(finding.numbers["kl"]) < 1e-6


def test_a_whole_collapse_is_told():
    model, _ = trained(epochs=4, latent_dim=3, hidden=(16,), objective=partial(elbo, beta=500.0))
    finding = found(model)["posterior_collapse"]
    assert finding.numbers["dimensions"] == [0, 1, 2]
    assert "3 of 3" in str(finding)


def test_a_code_that_is_paid_for_and_not_used_has_collapsed(healthy):
    """As with free bits or a minimum rate: q(z|x) is N(0, 1/e) for every x, whose KL is 1 / 2e a dimension."""
    model, _ = healthy
    rows = [p for _, p in model.encoder.named_parameters() if p.dim() == 2][-1]
    with torch.no_grad(), restored(model):
        rows.zero_()
        model.encoder.network.bias.copy_(torch.tensor([[0.0], [-1.0]]).expand(2, 6))
        finding = found(model)["posterior_collapse"]
    assert finding.numbers["dimensions"] == list(range(6))
    assert finding.numbers["kl"] == pytest.approx([0.5 / math.e] * 6, rel=1e-2)  # the bounds are soft
    assert finding.numbers["information"] == pytest.approx([0] * 6, abs=1e-6)
    assert "though their KL is 1.1 nats" in finding.what
    assert "same for every example" in finding.cause


def test_information_is_at_most_that_of_gaussian_moments(healthy):
    """Means of variance 3 and posteriors of variance 1, as in the linear Gaussian model: log(1 + 3) / 2 nats."""
    mean = torch.randn(100_000, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([3.0**0.5, 0.0])
    normal = torch.distributions.Independent(torch.distributions.Normal(mean, 1.0), 1)
    model = SimpleNamespace(posterior=lambda x, c=None: normal, condition_dim=0, condition_optional=False,
                            parameters=lambda: iter([torch.zeros(1)]))  # fmt: skip
    told = _information(SimpleNamespace(model=model, coded=DIGITS.test))
    assert told == pytest.approx([math.log(4) / 2, 0], abs=0.01)


def test_information_is_never_below_nothing():
    """One posterior for every row says nothing: 0 nats, where rounding alone would say -1e-17."""
    for seed in range(5):
        model = made(latent_dim=5, hidden=(8,), seed=seed)
        with torch.no_grad():
            model.encoder.network.out.weight.zero_()
            model.encoder.network.bias.normal_()
        case = Case(model, DIGITS, [], {}, {}, 0)
        with torch.no_grad():
            assert min(_information(case)) >= 0
            assert "at most -" not in posterior_collapse(case).what


@pytest.mark.parametrize(("shift", "ratio"), [(1.5, 1.0), (0.0, 6.0)])
def test_an_aggregate_posterior_off_the_prior(shift, ratio):
    """A linear encoder whose aggregate is known: N(shift, ratio) in dimension 0, the prior elsewhere."""
    data, model = vectors(4000), made(data=vectors(4000), latent_dim=2, hidden=(4,))
    mean = torch.tensor([shift, 0.0])
    spread = torch.tensor([ratio, 1.0]).sqrt()
    generator = torch.Generator().manual_seed(0)

    def posterior(x, c=None):
        z = mean + spread * math.sqrt(0.5) * torch.randn(len(x), 2, generator=generator)
        base = torch.distributions.Normal(z, (spread * math.sqrt(0.5)).expand_as(z))
        return torch.distributions.Independent(base, 1)

    model.posterior = posterior
    finding = found(model, data)["aggregate_posterior"]
    assert finding.numbers["dimensions"] == [0]
    assert finding.numbers["shift"][0] == pytest.approx(shift, abs=0.2)
    assert finding.numbers["variance_ratio"][0] == pytest.approx(ratio, rel=0.15)


@pytest.mark.parametrize(("raw", "which"), [(-40.0, "vanishing"), (40.0, "saturated")])
def test_variances_at_their_bounds(healthy, raw, which):
    model, _ = healthy
    with torch.no_grad(), restored(model):
        model.encoder.network.bias.view(2, 6)[1, 3] = raw
        finding = found(model)["posterior_variance"]
    assert finding.numbers["dimensions"] == [3]
    assert finding.numbers[which] == [1.0]


def test_data_that_the_likelihood_cannot_produce(healthy):
    model, _ = healthy
    grey = replace(DIGITS.train, values=DIGITS.train.values.float(), maximum=None)  # 0 to 16, not divided
    finding = found(model, replace(DIGITS, train=grey))["likelihood_support"]
    assert finding.numbers["share"] == 1
    assert finding.numbers["high"] == 16


def test_grey_values_under_a_bernoulli(healthy):
    model = made(latent_dim=2, hidden=(8,))
    model.decoder.family = Bernoulli((1, 8, 8))
    model.decoder.network = made(data=vk.load("digits", binarize="static"), latent_dim=2, hidden=(8,)).decoder.network
    assert found(model)["likelihood_support"].numbers["share"] == 1


def test_a_density_on_levels():
    finding = found(made(latent_dim=2, hidden=(8,), likelihood="gaussian"))["likelihood_support"]
    assert finding.numbers == {"levels": 17.0}


@pytest.mark.parametrize("sigma", [1.0, 0.01])
def test_a_sigma_that_does_not_fit_the_range(sigma):
    model = made(latent_dim=2, hidden=(8,), likelihood="gaussian", sigma=sigma)
    x = DIGITS.train.rows(slice(None))
    with torch.no_grad():  # the decoder ignores z: its mean is the training mean, and the residual the data's variance
        [p for _, p in model.decoder.named_parameters() if p.dim() == 2][-1].zero_()
    expected = float((x - x.mean(0)).square().mean()) / sigma**2
    assert found(model)["likelihood_scale"].numbers["variance_ratio"] == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(("nu", "told"), [(2.05, False), (3.9, False), (30.0, True)])
def test_a_spread_without_a_fourth_moment_is_not_judged_by_squares(nu, told):
    """At nu = 2.05 the variance is 41 times the squared scale, and data that fit show a part of it only."""
    data = vk.load((torch.randn(200, 3) * torch.tensor([1.0, 2.0, 3.0])).numpy())
    model = vk.models.vae(data.schema, latent_dim=2, hidden=(8,), likelihood="student-t", sigma=9.0)
    model.decoder.family.log_degrees.data.fill_(math.log(nu - 2))
    assert ("likelihood_scale" in found(model, data)) == told


def test_a_constant_column_says_nothing_of_the_scale():
    x = torch.randn(300, 4) * torch.tensor([1.0, 100.0, 0.01, 1.0])
    plain, constant = x.clone(), torch.cat([x, torch.full((300, 1), 7.0)], 1)
    for rows in (plain, constant):
        data = vk.load(rows.numpy())
        model = vk.models.vae(data.schema, latent_dim=2, hidden=(8,))
        fit(model, data, epochs=60, batch_size=50, learning_rate=0.01, progress=False)
        assert "likelihood_scale" not in found(model, data)


@pytest.mark.parametrize("rows", [10, 12, 25])
def test_a_table_of_few_rows_is_judged_by_its_training_rows(rows):
    """One or two rows that were held out say nothing of how a code varies."""
    data = vk.load((3 * torch.randn(rows, 1) @ torch.ones(1, 5) + 0.1 * torch.randn(rows, 5)).numpy())
    model = vk.models.vae(data.schema, latent_dim=1, hidden=(16,))
    fit(model, data, epochs=200, batch_size=8, learning_rate=0.01, progress=False)
    seen = found(model, data)
    assert not {"posterior_collapse", "unused_dimensions"} & set(seen)
    json.dumps([finding.to_json() for finding in seen.values()], allow_nan=False)


def test_one_row_is_no_reason_to_fail():
    data = vk.load("digits")
    one = Dataset(data.schema, data.train.head(1), test=data.test.head(1))
    seen = diagnose(made(latent_dim=2, hidden=(8,)), one)
    json.dumps([finding.to_json() for finding in seen], allow_nan=False)


def test_the_unit_of_an_autoencoders_code_is_its_own():
    """The same function with a code of a tenth the size is not collapsed."""
    rows = torch.randn(400, 6)
    data = vk.load(rows.numpy())
    model = vk.models.autoencoder(data.schema, latent_dim=3, hidden=(16,))
    fit(model, data, epochs=40, batch_size=50, learning_rate=0.01, progress=False)
    with torch.no_grad():
        out = [m for m in model.encoder.modules() if isinstance(m, torch.nn.Linear)][-1]
        for p in out.parameters():
            p.mul_(0.02)
        next(p for p in model.decoder.parameters() if p.dim() == 2).mul_(50.0)
    assert active_units(model, data.test).value == 3
    assert "posterior_collapse" not in found(model, data)
    with torch.no_grad():
        out.weight[1:].zero_()
    assert active_units(model, data.test).value == 1
    assert found(model, data)["unused_dimensions"].numbers["dimensions"] == [1, 2]


def test_an_adversarial_autoencoder_off_its_prior_is_seen():
    model = RECIPES["aae"].function(DIGITS.schema, latent_dim=2, hidden=(8,))
    seen = [p for p in model.autoencoder.encoder.parameters() if p.dim() == 1][-1]
    with torch.no_grad():
        seen.add_(10.0)
    finding = found(model)["aggregate_posterior"]
    assert finding.numbers["dimensions"] == [0, 1]
    assert "critic" in finding.cause
    assert "game_learning_rate" in finding.fix
    assert "beta" not in finding.fix, "it has none"


@pytest.mark.parametrize(("name", "offered"), [("vae", True), ("factorvae", False)])
def test_only_a_prior_that_the_model_may_have_is_advised(name, offered):
    model = made(name, latent_dim=2, hidden=(8,))
    with torch.no_grad():
        getattr(model, "vae", model).encoder.network.bias.add_(10.0)
    fix = found(model)["aggregate_posterior"].fix
    assert ("prior vamp" in fix) == offered
    assert ("second_stage" in fix) == offered


def test_a_warm_up_longer_than_the_run(healthy):
    model, _ = healthy
    assert "warm_up" in found(model, config={"warm_up": 20, "epochs": 10})
    assert "warm_up" in found(model, config={"warm_up": 20, "epochs": 30}, history=curve([-1.0] * 10))  # stopped early
    rising = found(model, config={"beta": 4.0}, history=curve([-3.0, -2.0], beta=[0.0, 2.0]))["warm_up"]
    assert rising.numbers["beta"] == 2
    assert "warm_up" not in found(model, config={"beta": 4.0}, history=curve([-3.0, -2.0], beta=[0.0, 4.0]))
    assert "warm_up" not in found(model, config={"warm_up": 10, "epochs": 10}, history=curve([-1.0] * 10, [1.0] * 10))


@pytest.mark.parametrize(
    "config",
    [
        {"objective": "elbo", "beta": 4.0},
        {"objective": "elbo", "free_bits": 0.5},
        {"objective": "elbo", "capacity": 3.0},
        {"objective": "beta_tc", "beta": 6.0, "information": 1.0, "dimensions": 1.0},
        {"objective": "reconstruction"},
    ],
)
def test_an_effective_beta_that_is_not_one(healthy, config):
    model, _ = healthy
    assert "effective_beta" in found(model, config=config)


@pytest.mark.parametrize("config", [{}, {"objective": "iwae"}, {"objective": "elbo", "beta": 1}])
def test_a_bound_is_no_finding(healthy, config):
    model, _ = healthy
    assert "effective_beta" not in found(model, config=config)


def test_overfitting_is_found_on_few_rows():
    data = replace(DIGITS, train=DIGITS.train.head(60))
    model, history = trained(data, epochs=150, latent_dim=6, hidden=(128,), learning_rate=5e-3)
    finding = found(model, data, history=history)["overfitting"]
    assert finding.numbers["gap"] > 3 * finding.numbers["standard_error"]


@pytest.mark.parametrize(("rows", "told"), [(3, False), (19, False), (20, True)])
def test_overfitting_is_not_judged_by_a_handful_of_rows(monkeypatch, rows, told):
    data = replace(DIGITS, validation=DIGITS.validation.head(rows))
    apart = torch.arange(rows) * 0.01
    monkeypatch.setattr(Case, "train_scores", apart - 50)
    monkeypatch.setattr(Case, "validation_scores", apart - 100)
    assert ("overfitting" in found(made(latent_dim=2, hidden=(8,)), data, history=curve([-101.0]))) == told


def test_a_bound_that_still_rises():
    model, history = trained(epochs=5, latent_dim=6, hidden=(32,), learning_rate=2e-4)
    finding = found(model, history=history)["underfitting"]
    assert finding.numbers["slope"] > 3 * finding.numbers["slope_error"]


def test_the_slope_is_told_from_its_noise(healthy):
    model, _ = healthy
    noise = torch.randn(40, generator=torch.Generator().manual_seed(0)).tolist()
    for rows in (noise, noise[::-1]):  # whichever way the noise slopes
        assert "underfitting" not in found(model, history=curve([-93 + 5 * e for e in rows]))
    steep = found(model, history=curve([-200 + 2 * i + 0.1 * e for i, e in enumerate(noise)]))["underfitting"]
    assert steep.numbers["slope"] == pytest.approx(2, abs=4 * steep.numbers["slope_error"])


def test_dead_codes():
    model = made("vqvae")
    with torch.no_grad():
        for weight in model.encoder.parameters():
            weight.zero_()  # every example has one code
    finding = found(model)["dead_codes"]
    assert finding.numbers["used"] == [1]
    assert "restart" in finding.fix


def test_finite_scalars_have_no_entries_to_restart():
    model = made("vqvae", quantiser="fsq", hidden=(8,), network="mlp")
    with torch.no_grad():
        for weight in model.encoder.parameters():
            weight.zero_()
    finding = found(model)["dead_codes"]
    assert "restart" not in finding.fix
    assert "fsq_values" in finding.fix


def test_effective_draws_against_their_definition(healthy):
    """Of 150 weights, taken 100 and 50 at a time, 30 are equal and the others next to nothing; or all are equal."""
    model, _ = healthy
    few, calls = torch.where(torch.arange(150) % 5 == 0, 0.0, -90.0)[:, None], []

    def draw(x, c, samples, q):
        calls.append(samples)
        at = sum(calls[:-1])
        return SimpleNamespace(log_w=torch.cat([few, torch.zeros(150, 1)], 1)[at : at + samples] - 1000)

    model.draw = draw
    try:
        got = _effective(Case(model, DIGITS, [], {}, {}, 0), 150)
    finally:
        del model.draw
    assert got.tolist() == pytest.approx([30.0, 150.0])
    assert calls == [100, 50]


def test_importance_sampling_that_cannot_be_trusted(healthy):
    model, _ = healthy
    with torch.no_grad(), restored(model):
        model.encoder.network.bias.view(2, 6)[0] += 6.0  # q away from the posterior
        finding = found(model)["importance_sampling"]
    numbers = finding.numbers
    assert numbers["bias"] == pytest.approx((1 / numbers["effective_samples"] - 1 / 200) / 2)
    assert numbers["bias"] > 0.05
    assert "importance_sampling" in found(model, evaluation={"effective_samples": {"value": 1.5}})


def test_samples_that_are_training_rows(healthy):
    model, _ = healthy
    rows = DIGITS.train.rows(slice(None))
    model.sample = lambda n, c=None, noise=False: rows[:n]
    try:
        finding = found(model)["memorisation"]
    finally:
        del model.sample
    assert finding.numbers["share"] > 0.95


def test_copies_of_twenty_thousand_rows_are_found():
    """The doctor looks at 2,000 rows of a split; the originals of copies are sought among all of them."""
    rows = torch.randn(21_000, 8)
    data = Dataset(Schema("vector", (8,), low=-6.0, high=6.0), Split(rows[:20_000], name="train"),
                   test=Split(rows[20_000:], name="test"))  # fmt: skip
    model = SimpleNamespace(can_sample=True, sample=lambda n, c: rows[5000 : 5000 + n], condition_dim=0,
                            condition_optional=False, parameters=lambda: iter(()))  # fmt: skip
    finding = memorised(Case(model, data, [], {}, {}, 0))
    assert finding is not None
    assert finding.numbers["share"] > 0.95


def test_unseen_rows_are_no_memories(healthy):
    """Samples as good as can be: other rows of the data."""
    model, _ = healthy
    rows = DIGITS.validation.rows(slice(None)).repeat(3, 1, 1, 1)
    model.sample = lambda n, c=None, noise=False: rows[:n]
    try:
        assert "memorisation" not in found(model)
    finally:
        del model.sample


def test_blurred_samples_are_no_memories(healthy):
    """The mean of the data lies closer to training rows than test rows do, and to as many unseen rows too."""
    model, _ = healthy
    model.sample = lambda n, c=None, noise=False: DIGITS.schema.mean.expand(n, -1, -1, -1)
    try:
        assert "memorisation" not in found(model)
    finally:
        del model.sample


def test_samples_that_share_a_few_neighbours_are_no_memories():
    """Samples nearer the centre than the data all lie beside the same few rows, whichever set those happen to be in."""
    accused, schema = 0, Schema("vector", (64,), low=-6.0, high=6.0)
    for seed in range(12):
        rows = torch.randn(700, 64, generator=torch.Generator().manual_seed(seed))
        data = Dataset(schema, Split(rows[:350], name="train"), test=Split(rows[350:], name="test"))
        blurred = 0.3 * torch.randn(350, 64, generator=torch.Generator().manual_seed(100 + seed))
        model = SimpleNamespace(can_sample=True, sample=lambda n, c, x=blurred: x[:n], condition_dim=0,
                                condition_optional=False, parameters=lambda: iter(()))  # fmt: skip
        accused += memorised(Case(model, data, [], {}, {}, seed)) is not None
    assert accused == 0


def test_nothing_random_is_left_behind(healthy):
    model, _ = healthy
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first = diagnose(model, DIGITS, config={"beta": 2.0})
    assert torch.equal(torch.rand(2), expected)
    assert first == diagnose(model, DIGITS, config={"beta": 2.0})


def test_the_command(tmp_path, capsys):
    run = tmp_path / "run"
    options = ["--epochs", "2", "--hidden", "16", "--evaluation-samples", "5", "--beta", "4"]
    assert main(["train", "digits", "--out", str(run), *options]) == 0
    assert "effective beta: the loss was not minus the ELBO" in capsys.readouterr().out
    stored = json.loads((run / "findings.json").read_text())
    assert "effective_beta" in [f["name"] for f in stored["findings"]]
    assert main(["doctor", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == stored
    assert main(["doctor", str(run)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(stored["findings"])


def test_a_run_saved_from_python_is_diagnosed_on_the_data_it_is_told(healthy, tmp_path, capsys):
    model, history = healthy
    folder = str(vk.save_run(tmp_path / "mine", model, history))
    np.save(tmp_path / "small.npy", np.zeros((20, 4, 4)))
    assert main(["doctor", folder]) == 4
    assert "give --data SOURCE" in capsys.readouterr().err
    assert main(["doctor", folder, "--data", "digits", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"findings": []}
    assert main(["doctor", folder, "--data", "digits", "--binarize", "static", "--json"]) == 0
    assert [f["name"] for f in json.loads(capsys.readouterr().out)["findings"]] != []
    for words, status, said in (
        (["--binarize", "static"], 2, "--binarize: says how to read other data; give --data SOURCE too"),
        (["--data", str(tmp_path / "small.npy")], 3, "of shape (1, 4, 4), and the run's model is for"),
    ):
        assert main(["doctor", folder, *words]) == status
        assert said in capsys.readouterr().err
