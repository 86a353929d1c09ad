"""Comparisons: the rules against independent implementations, the measures against truth, and whole comparisons of digits."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

import vaekit as vk
from vaekit.cli.common import own_data
from vaekit.cli.main import main
from vaekit.cli.objective import objective_of
from vaekit.cli.options import keywords_of, parse
from vaekit.cli.settings import FIT, resolve, train_parser
from vaekit.comparison import compare, comparing, make_plan, running, seconds_of
from vaekit.comparison.claims import judged
from vaekit.comparison.figures import KINDS, best_of
from vaekit.comparison.judge import Judge
from vaekit.comparison.samples import FITTED, drawn, how_drawn
from vaekit.comparison.spread import Figure, Side, difference, side, steadiness
from vaekit.comparison.watching import MOMENTS, Watch, level_of, seconds_to
from vaekit.errors import DataError, RunError, TrainingError, UsageError
from vaekit.evaluation import Estimate
from vaekit.models import RECIPES, make_model

NORMAL = stats.norm.ppf(0.975)


def estimate(value, error=None):
    return Estimate(value, error, 100, "share", "made up")


def figure(*values, error=0.01):
    return Figure(tuple(estimate(v, error) for v in values))


# ------------------------------------------------------------------ rules


def test_a_difference_over_seeds_is_welchs():
    a, b = [1.0, 1.4, 1.1], [2.0, 2.9]
    found = difference(side(figure(*a)), side(figure(*b)))
    interval = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert found.value - found.half == pytest.approx(interval.low)
    assert found.value + found.half == pytest.approx(interval.high)
    assert found.sign == 0
    assert difference(side(figure(1.0, 1.01)), side(figure(9.0, 9.02))).sign == -1


def test_without_a_spread_the_error_within_the_seed_decides():
    one, other = figure(1.0, error=0.3), figure(2.0, error=0.4)
    assert one.spread is None
    found = difference(side(one), side(other))
    assert found.half == pytest.approx(NORMAL * 0.5)
    assert found.sign == -1
    # seeds that agree to the last digit are no proof of certainty
    assert difference(side(figure(1.0, 1.0, error=0.3)), side(other)).half == pytest.approx(NORMAL * 0.5)
    # against a number that all share, only one side is uncertain
    seeds = [0.5, 0.9, 0.6]
    low, high = stats.t.interval(0.95, 2, np.mean(seeds), stats.sem(seeds))
    found = difference(side(figure(*seeds)), Side(0.2, 0.0, math.inf))
    assert (found.value - found.half + 0.2, found.value + found.half + 0.2) == pytest.approx((low, high))


def test_the_interval_covers_as_often_as_it_says():
    """With two seeds twice the standard error would leave 0 out in 18 % of the cases; Welch's interval is a little wide."""
    rng, misses = np.random.default_rng(0), 0
    for _ in range(400):
        a, b = rng.normal(size=(2, 2))
        misses += difference(side(figure(*a)), side(figure(*b))).sign != 0
    assert 0 < misses / 400 < 0.06


def test_spreads_are_compared_by_an_f_test_on_logarithms():
    a, b = [1.0, 1.3, 0.8, 1.1], [5.0, 5.02, 4.99, 5.01]
    found = steadiness(a, b)
    ratio = np.var(np.log(a), ddof=1) / np.var(np.log(b), ddof=1)
    assert found.first == pytest.approx(np.std(np.log(a), ddof=1))
    assert (found.sign == 1) == (stats.f.sf(ratio, 3, 3) < 0.025)
    assert found.sign == 1
    assert steadiness(b, a).sign == -1
    assert steadiness(a, [5.0, 6.0, 4.0, 5.5]).sign == 0
    assert steadiness([1.0], [2.0]) is None
    assert steadiness([1.0, 0.0], [2.0, 3.0]) is None


def test_a_figure_survives_json():
    made = Figure((estimate(1.0, 0.1), estimate(3.0, 0.1)))
    entry = json.loads(json.dumps(made.to_json()))
    assert entry["value"] == 2.0
    assert entry["spread"] == pytest.approx(math.sqrt(2))
    assert entry["standard_error"] == pytest.approx(1.0)
    assert entry["within"] == pytest.approx(0.1)
    assert Figure.from_json(entry).to_json() == entry


def test_the_best_is_beyond_the_interval_and_not_better_than_real():
    clear = {"a": figure(1.0, 1.1, 1.2), "b": figure(5.0, 5.1, 5.2), "c": figure(9.0, 9.3, 9.1)}
    assert best_of("reconstruction_error", clear, None, frozenset()) == "a"
    assert best_of("elbo", clear, None, frozenset()) == "c"
    assert best_of("elbo", clear, None, frozenset("c")) == "b", "log p(x | c) is not log p(x)"
    assert best_of("reconstruction_error", {**clear, "d": figure(0.9, 1.3, 1.1)}, None, frozenset()) is None
    assert best_of("sharpness", clear, estimate(5.4), frozenset()) == "b"
    assert best_of("frechet_distance", clear, estimate(0.5), frozenset()) == "a"
    near = {"a": figure(1.0, 1.1, 1.2), "b": figure(2.0, 2.1, 2.2), "c": figure(9.0, 9.3, 9.1)}
    assert best_of("frechet_distance", near, estimate(3.0), frozenset()) is None, "both are as near as real rows are"
    assert best_of("nearer_to_training", clear, estimate(0.5), frozenset()) is None


REAL = {
    "sharpness": estimate(1.0, 0.01), "frechet_distance": estimate(1.0), "rarest_class": estimate(0.8),
    "condition_share": estimate(0.98, 0.005), "nearer_to_training": estimate(0.5), "reconstruction_error": estimate(1.0),
}  # fmt: skip


def verdicts(table, seeds=3, told=()):
    return {c.key: c.verdict for c in judged(table, REAL, seeds, frozenset(told))}


def pair(key, **models):
    return {name: {key: figure(*values)} for name, values in models.items()}


@pytest.mark.parametrize(
    ("key", "table", "verdict"),
    [
        ("vae_blurry", pair("sharpness", vae=(0.3, 0.32, 0.31)), "holds"),
        ("vae_blurry", pair("sharpness", vae=(1.3, 1.32, 1.31)), "does not hold"),
        ("vae_blurry", pair("sharpness", vae=(0.7, 1.2, 0.9)), "cannot be told"),
        ("gan_sharper", pair("sharpness", vae=(0.3, 0.32), gan=(0.9, 0.92)), "holds"),
        ("gan_sharper", pair("sharpness", vae=(0.9, 0.92), wgan=(0.3, 0.32)), "does not hold"),
        ("gan_better_samples", pair("frechet_distance", vae=(30, 31), gan=(9, 9.2)), "holds"),
        ("wgan_better_samples", pair("frechet_distance", vae=(30, 31), wgan=(25, 39)), "cannot be told"),
        ("vae_stable", pair("frechet_distance", vae=(30, 30.1, 30.05), gan=(9, 19, 5)), "holds"),
        ("vae_stable", pair("frechet_distance", vae=(9, 19, 5), gan=(30, 30.1, 30.05)), "does not hold"),
        ("wgan_stable", pair("frechet_distance", wgan=(9, 9.5), gan=(9, 12)), "cannot be told"),
        ("gan_modes", pair("rarest_class", gan=(0.0, 0.02, 0.01)), "holds"),
        ("wgan_modes", pair("rarest_class", wgan=(0.7, 0.75, 0.8)), "does not hold"),
        (
            "autoencoder_reconstructs",
            pair("reconstruction_error", vae=(0.03, 0.031), autoencoder=(0.01, 0.011)),
            "holds",
        ),
        ("vae_reconstructs", pair("reconstruction_error", vae=(0.03, 0.031), gan=(0.01, 0.011)), "does not hold"),
        ("autoencoder_sampling", pair("frechet_distance", vae=(9, 9.2), autoencoder=(60, 61)), "holds"),
        ("copies", {"gan": {"nearer_to_training": figure(0.9, 0.92, error=0.02)}}, "holds"),
        ("copies", {"gan": {"nearer_to_training": figure(0.6, 0.62, error=0.2)}}, "cannot be told"),
    ],
)
def test_claims_follow_their_rules(key, table, verdict):
    assert verdicts(table, seeds=2)[key] == verdict


def test_a_class_asked_for_is_judged_beside_the_classifiers_own_mistakes():
    for share, verdict in (((0.97, 0.975), "holds"), ((0.5, 0.52), "does not hold"), ((0.90, 0.96), "cannot be told")):
        assert verdicts({"cvae": {"condition_share": figure(*share)}}, told=["cvae"]) == {"cvae_obeys": verdict}


def test_claims_are_heard_only_of_models_that_are_there():
    assert verdicts({"vae": {"elbo": figure(-90, -91)}}) == {}
    one = judged({"vae": {"frechet_distance": figure(3)}, "gan": {"frechet_distance": figure(4)}}, REAL, 1, frozenset())
    said = {c.key: c for c in one}
    assert said["vae_stable"].verdict == "cannot be told"
    assert "one seed has no spread" in said["vae_stable"].measured
    assert said["gan_better_samples"].verdict == "does not hold"
    assert "within the one seed" in said["gan_better_samples"].measured


# --------------------------------------------------------------- measures


@pytest.fixture(scope="module")
def digits():
    return vk.load("digits")


@pytest.fixture(scope="module")
def judge(digits):
    return Judge(digits)


class Given(torch.nn.Module):
    """A model that deals out rows it was given."""

    condition_dim, condition_optional, has_likelihood, has_posterior, can_sample = 0, False, False, False, True

    def __init__(self, rows):
        super().__init__()
        self.pile, self.at = rows, 0

    def sample(self, n, c=None, *, noise=False):
        self.at += n
        return self.pile[torch.arange(self.at - n, self.at) % len(self.pile)]


def test_real_rows_score_as_real_and_copies_are_found_out(digits, judge):
    unseen = judge.of_samples(Given(judge.unseen), 0)
    for key, entry in judge.references.items():
        if key != "condition_share" and KINDS[key].better != "none":
            assert unseen[key] == entry, key
    rows = digits.train.rows(slice(None))
    copies = judge.of_samples(Given(rows), 0)
    assert copies["nearer_to_training"].value == 1.0
    assert copies["neighbour_distance"].value == pytest.approx(0.0, abs=1e-4)
    noisy = judge.of_samples(Given(rows + 0.02 * torch.randn_like(rows)), 0)["nearer_to_training"]
    assert noisy.value - 2 * noisy.standard_error > 0.5
    fresh = unseen["nearer_to_training"]
    assert abs(fresh.value - 0.5) < 3 * fresh.standard_error


def test_samples_that_look_alike_are_no_proof_of_copying(judge):
    """One prototype is nearest to one row, in one of both sets by chance: the choice of rows must be in the error."""
    mean = judge.real.mean(0, keepdim=True).expand(len(judge.real), -1, -1, -1)
    found = judge.of_samples(Given(mean), 0)["nearer_to_training"]
    assert abs(found.value - 0.5) < 2 * found.standard_error


def test_dropped_classes_are_counted(digits, judge):
    labels = judge.classifier(judge.real).argmax(1)
    kept = judge.real[labels != 3]
    found = judge.of_samples(Given(kept[torch.arange(len(judge.real)) % len(kept)]), 0)
    assert found["rarest_class"].value == 0.0
    shares = torch.bincount(labels, minlength=10).double() / len(labels)
    mine = torch.bincount(labels[labels != 3][torch.arange(len(labels)) % len(kept)], minlength=10).double() / len(
        labels
    )
    assert found["class_balance"].value == pytest.approx(float((shares - mine).abs().sum()) / 2)
    assert found["class_balance"].value > judge.references["class_balance"].value / 4


def test_blur_lowers_sharpness_and_noise_raises_it(judge):
    x = judge.unseen
    real = judge.references["sharpness"].value
    blurred = torch.nn.functional.avg_pool2d(x, 3, 1, 1)
    assert judge.of_samples(Given(blurred), 0)["sharpness"].value < 0.5 * real
    assert judge.of_samples(Given(x + 0.3 * torch.randn_like(x)), 0)["sharpness"].value > 1.5 * real


def test_a_ramp_has_no_edges_and_no_detail_of_its_own(judge):
    """Its values vary as much as an image's, but their second differences do not."""
    ramp = torch.linspace(0, 1, 8).expand(len(judge.real), 1, 8, 8)
    assert judge.of_samples(Given(ramp), 0)["sharpness"].value == pytest.approx(0.0, abs=1e-9)


def test_an_autoencoder_is_sampled_from_a_gaussian_with_the_moments_of_its_codes(digits):
    torch.manual_seed(0)
    model = make_model("autoencoder", digits.schema, {"latent_dim": 3, "hidden": [16]}).eval()
    assert how_drawn(model) == FITTED
    seen = []
    decode = model.decode
    model.decode = lambda z, c=None: (seen.append(z), decode(z, c))[1]
    drawn(model, digits, 40_000)
    z, codes = torch.cat(seen), model.encode(digits.train.rows(slice(None)))
    assert z.mean(0) == pytest.approx(codes.mean(0).detach(), abs=0.03 * float(codes.std()))
    assert torch.cov(z.T).numpy() == pytest.approx(torch.cov(codes.T).detach().numpy(), abs=0.03 * float(codes.var()))


def test_seconds_to_a_level_lie_on_the_line_between_two_moments():
    looks = [
        {"step": i, "seconds": t, "q": q} for i, (t, q) in enumerate([(1.0, 9.0), (2.0, 5.0), (4.0, 1.0), (8.0, 3.0)])
    ]
    assert seconds_to(looks, "q", 3.0) == pytest.approx(2 * math.sqrt(2))
    assert seconds_to(looks, "q", 9.5) == 1.0
    assert seconds_to(looks, "q", 0.5) is None
    assert seconds_to([{"step": 1, "seconds": 1.0, "q": None}], "q", 1.0) is None
    ends = [
        [{"step": 1, "q": 9.0}, {"step": 2, "q": end}, {"step": 1, "q": 9.0}, {"step": 2, "q": end + 2}]
        for end in (1, 5, 40)
    ]
    assert level_of(ends, "q") == 6.0


def test_a_model_is_watched_at_every_moment_once(judge):
    calls = []

    class Blind:
        data = replace(judge.data, test=None)

        def distance(self, model, seed):
            calls.append(seed)
            return 1.0

    watch = Watch(Given(judge.real), Blind(), lambda step, seconds: step / 320, lambda part: None, seed=4)
    for step in range(1, 321):
        watch(step, 0.1 * step)
    assert len(watch.looks) == len(MOMENTS)
    for seen, moment in zip(watch.looks, MOMENTS, strict=True):
        assert seen["step"] == math.ceil(320 * moment - 1e-9)
    assert set(calls) == {4}


# --------------------------------------------------------------- refusals


@pytest.mark.parametrize(("text", "seconds"), [("120s", 120), ("2m", 120), ("1h", 3600), ("90", 90), (" 1.5 min ", 90)])
def test_a_budget_is_a_time(text, seconds):
    assert seconds_of(text) == seconds


REFUSED = [
    (["digits", "--models", "vae", "vea"], 2, "models vea: expected one of .*did you mean vae"),
    (["digits", "--models", "vae"], 2, "expected two or more to compare"),
    (["digits", "--models", "vae", "vae"], 2, "models vae: is named 2 times"),
    (["digits", "--models", "vae", "gan", "--budget", "soon"], 2, "budget soon: expected a time above 0"),
    (["digits", "--models", "vae", "gan", "--budget", "0s"], 2, "budget 0s: expected a time above 0"),
    (["digits", "--models", "vae", "gan", "--budget", "9s", "--epochs", "2"], 2, "seconds or of epochs, not both"),
    (["digits", "--models", "vae", "gan", "--epochs", "0"], 2, "epochs 0: expected a number above 0"),
    (["digits", "--models", "vae", "gan", "--seeds", "0"], 2, "seeds 0: expected a whole number of at least 1"),
    (["digits", "--models", "vae", "gan", "--latent-dim", "0"], 2, "latent_dim 0"),
    (["digits", "--models", "vae", "text-vae"], 3, "model text-vae: is for sentences, these data are images"),
    (["{plain}", "--models", "vae", "cvae"], 3, "model cvae: these data have no classes"),
    (["{few}", "--models", "vae", "autoencoder"], 3, r"compare: \d+ validation and test rows; it needs 40"),
    (["{absent}", "--models", "vae", "autoencoder"], 3, "no such file or folder"),
    (["digits", "--resume", "{absent}"], 4, "holds no plan.json"),
    (["digits", "--models", "vae", "gan", "--overwrite"], 2, "name the folder to replace with --out"),
]


@pytest.mark.parametrize(("arguments", "status", "message"), REFUSED, ids=[r[2][:30] for r in REFUSED])
def test_what_cannot_be_compared_is_refused_before_anything_is_written(
    arguments, status, message, tmp_path, monkeypatch, capsys, digits
):
    monkeypatch.chdir(tmp_path)
    rows = digits.train.values.numpy()
    np.save(tmp_path / "plain.npy", rows[:600])
    np.save(tmp_path / "few.npy", rows[:100])
    names = {name: str(tmp_path / f"{name}.npy") for name in ("plain", "few", "absent")}
    before = sorted(tmp_path.rglob("*"))
    assert main(["compare", *(a.format(**names) for a in arguments)]) == status
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_size_that_no_model_takes_is_refused(digits):
    with pytest.raises(UsageError, match="depth 3: none of vae, autoencoder takes it"):
        make_plan(digits, ["vae", "autoencoder"], shared={"depth": 3})
    with pytest.raises(DataError, match="held-out"):
        make_plan(vk.Dataset(digits.schema, digits.train), ["vae", "autoencoder"])


# ------------------------------------------------------ whole comparisons

MODELS, QUICK = ["autoencoder", "cvae"], {"hidden": [24], "latent_dim": 4}


def done(data, out, **more):
    return compare(
        data,
        MODELS,
        out=out,
        seeds=2,
        epochs=1,
        shared=QUICK,
        samples=5,
        source={"source": "digits"},
        progress=False,
        **more,
    )


@pytest.fixture(scope="module")
def whole(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("with space") / "comparison"
    return folder, done(digits, folder)


def test_a_comparison_holds_what_it_says(whole):
    folder, result = whole
    assert json.loads((folder / "comparison.json").read_text()) == result
    assert set(result["figures"]) == set(MODELS)
    for row in result["figures"].values():
        for key, entry in row.items():
            assert key in KINDS
            assert len(entry["seeds"]) == 2
            assert entry["value"] == pytest.approx(np.mean(entry["seeds"]))
            assert entry["spread"] == pytest.approx(np.std(entry["seeds"], ddof=1))
            assert entry["within"] is not None
    assert {"frechet_distance", "precision", "sharpness", "class_balance", "linear_probe"} <= set(result["references"])
    assert result["models"]["autoencoder"]["drawn"] == FITTED
    assert "log_likelihood" not in result["figures"]["autoencoder"]
    assert {"cvae_obeys", "copies"} <= {claim["key"] for claim in result["claims"]}
    moments = [len(looks) for each in result["timings"]["courses"].values() for looks in each]
    assert min(moments) > 3


def test_every_run_is_read_by_the_other_commands(whole, tmp_path, capsys):
    folder, result = whole
    run = vk.load_run(folder / "runs" / "cvae-1")
    assert run.status["state"] == "finished"
    assert run.evaluation["elbo"]["value"] == result["figures"]["cvae"]["elbo"]["seeds"][1]
    path = str(folder / "runs" / "cvae-1")
    assert main(["sample", path, "--out", str(tmp_path / "s.png"), "--condition", "7"]) == 0
    assert main(["report", path]) == 0
    assert str(folder / "runs" / "cvae-1") in capsys.readouterr().out
    elbo = vk.evaluation.elbo(run.model, own_data(run).test, seed=1)["elbo"]
    assert elbo.value == pytest.approx(run.evaluation["elbo"]["value"])


def test_train_repeats_a_run_of_a_comparison(whole, digits):
    """With the options that `vaekit train --config` reads out of it."""
    path = whole[0] / "runs" / "autoencoder-1"
    options = parse(train_parser("autoencoder", "reconstruction"), ["--config", str(path / "config.yaml")]).as_dict()
    resolve(options, digits)
    torch.manual_seed(options["seed"])
    model = make_model(
        "autoencoder", digits.schema, {k: options[k] for k in keywords_of(RECIPES["autoencoder"].function)}
    )
    given = {key: options[key] for key in FIT if key != "patience"}
    vk.fit(
        model,
        digits,
        objective_of(options, len(digits.train)),
        progress=False,
        patience=options["patience"] or None,
        **given,
    )
    first, again = vk.load_run(path).model.state_dict(), model.state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)


def test_the_page_needs_no_other_file_and_says_every_verdict(whole):
    folder, result = whole
    page = (folder / "comparison.html").read_text("utf-8")
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert "<script" not in page
    for claim in result["claims"]:
        assert claim["verdict"] in page
    assert page.count("<img") >= 6
    assert all(f'alt="{text}' in page for text in ("32 samples of cvae", "Samples of cvae: 10 columns"))
    assert "vaekit compare digits --models autoencoder cvae --seeds 2 --epochs 1" in page


def test_a_comparison_that_was_stopped_goes_on_and_ends_the_same(whole, digits, judge, tmp_path, monkeypatch):
    """Stopped in the middle of a run's files: the run is begun anew, those before it are kept."""
    out, calls = tmp_path / "stopped", []
    measure = running.figures_of

    def stopping(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return measure(*arguments)

    monkeypatch.setattr(running, "figures_of", stopping)
    with monkeypatch.context() as same:
        same.setattr(comparing, "Judge", lambda data: judge)
        with pytest.raises(KeyboardInterrupt):
            done(digits, out)
    assert sorted(p.name for p in (out / "runs").iterdir()) == ["autoencoder-0", "autoencoder-1", "cvae-0.unfinished"]
    assert not (out / "comparison.json").exists()
    with pytest.raises(RunError, match="was begun with seeds 2, not seeds 3"):
        compare(digits, MODELS, out=out, seeds=3, epochs=1, shared=QUICK, samples=5, source={"source": "digits"})
    with pytest.raises(DataError, match="was begun on other rows"):
        done(vk.load("digits", split_seed=1), out)
    result = done(digits, out)
    assert len(calls) == 5, "two of the four runs were kept"
    first = {key: value for key, value in whole[1].items() if key != "timings"}
    assert {key: value for key, value in result.items() if key != "timings"} == first
    assert sorted(p.name for p in (out / "runs").iterdir()) == [f"{name}-{seed}" for name in MODELS for seed in (0, 1)]


def test_the_command_goes_on_with_its_own_options(whole, judge, capsys, monkeypatch):
    monkeypatch.setattr(comparing, "Judge", lambda data: judge)
    folder, result = whole
    assert main(["compare", "--resume", str(folder)]) == 4
    assert "holds a finished comparison" in capsys.readouterr().err
    (folder / "comparison.json").unlink()
    assert main(["compare", "--resume", str(folder), "--latent-dim", "5"]) == 4
    assert "was begun with latent dim 4, not latent dim 5" in capsys.readouterr().err
    assert main(["compare", "--resume", str(folder), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {key: said[key] for key in result} == result
    assert said["page"] == str(folder / "comparison.html")


def test_a_training_that_fails_is_told_and_the_others_go_on(digits, judge, tmp_path, monkeypatch):
    monkeypatch.setattr(comparing, "Judge", lambda data: judge)
    fit = running.fit

    def failing(model, *arguments, **keywords):
        if keywords["seed"] == 1 and model.condition_dim:
            raise TrainingError("training failed: loss is nan at step 3")
        return fit(model, *arguments, **keywords)

    monkeypatch.setattr(running, "fit", failing)
    result = done(digits, tmp_path / "out")
    assert result["models"]["cvae"]["failed"] == ["training failed: loss is nan at step 3"]
    assert len(result["figures"]["cvae"]["elbo"]["seeds"]) == 1
    assert len(result["figures"]["autoencoder"]["sharpness"]["seeds"]) == 2
    assert "1 of 2 trainings failed" in (tmp_path / "out" / "comparison.html").read_text("utf-8")


def test_vectors_without_classes_are_compared_by_what_they_have(tmp_path):
    rng = np.random.default_rng(0)
    data = vk.load(rng.normal(size=(500, 5)) @ rng.normal(size=(5, 5)))
    result = compare(
        data, ["vae", "gan"], out=tmp_path / "out", seeds=1, seconds=0.2, shared={"hidden": [8]}, progress=False
    )
    assert "sharpness" not in result["references"]
    assert not {"class_balance", "linear_probe"} & set(result["figures"]["vae"])
    assert result["figures"]["gan"]["frechet_distance"]["spread"] is None
    assert result["measured_in"]["features"] == "the leading principal components"
    page = (tmp_path / "out" / "comparison.html").read_text("utf-8")
    assert "no images" in page
    assert "One seed has no spread" in page


def test_rows_without_a_label_are_for_models_that_can_do_without(tmp_path):
    """The first rows of the training split have no label, and the last neither."""
    data = vk.load("digits", labelled=30)
    result = compare(
        data, ["m2", "vae"], out=tmp_path / "out", seeds=1, epochs=1, shared={"hidden": [8]}, progress=False
    )
    # the class is summed out of its log p(x): it is told nothing, yet draws the class that it is asked for
    assert not result["models"]["m2"]["told"]
    assert {"log_likelihood", "condition_share"} <= set(result["figures"]["m2"])
    assert "m2_obeys" in {claim["key"] for claim in result["claims"]}
    first = int(data.train.labelled.nonzero()[0])
    order = torch.cat([data.train.labelled.nonzero().flatten(), torch.arange(first)])
    shuffled = replace(data, train=data.train.take(order))  # the rows that are looked at first have labels
    with pytest.raises(DataError, match=r"model cvae: train: the class of .* is not known.*take model m2"):
        compare(shuffled, ["vae", "cvae"], out=tmp_path / "other", seeds=1, epochs=1, progress=False)
    assert not (tmp_path / "other").exists()


def test_a_training_that_leaves_the_numbers_is_a_result_too(digits, judge, tmp_path, monkeypatch):
    """Its weights are infinite while it is watched; and one whose samples are no number when it is measured."""
    monkeypatch.setattr(comparing, "Judge", lambda data: judge)
    result = compare(
        digits, ["vae", "gan"], out=tmp_path / "out", seeds=1, epochs=1, shared={"hidden": [8]},
        training={"learning_rate": 1e12}, progress=False,
    )  # fmt: skip
    assert all(about["failed"] for about in result["models"].values())
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["figures"] == {"vae": {}, "gan": {}}
    monkeypatch.setattr(
        running, "figures_of", lambda *_: (_ for _ in ()).throw(DataError("samples: a value is not finite"))
    )
    result = compare(
        digits, ["vae", "gan"], out=tmp_path / "two", seeds=1, epochs=1, shared={"hidden": [8]}, progress=False
    )
    assert result["models"]["vae"]["failed"] == ["samples: a value is not finite"]
