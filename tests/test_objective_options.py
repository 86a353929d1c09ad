"""Objectives on the command line: every one has its options, its schedule and its line of the plan."""

import inspect
import json
from itertools import pairwise

import pytest

from vaekit.cli.main import main
from vaekit.cli.objective import check_schedule, objective_line, objective_of, schedules_of
from vaekit.cli.options import parse
from vaekit.cli.settings import train_parser
from vaekit.errors import UsageError
from vaekit.objectives import OBJECTIVES


def options(objective, *arguments, model="vae"):
    parsed = parse(train_parser(model, objective), ["--objective", objective, *arguments]).as_dict()
    return {**parsed, "epochs": parsed["epochs"] or 10}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_keyword_of_an_objective_is_an_option_and_reaches_it(name):
    found = objective_of(options(name), rows=77).keywords
    signature = inspect.signature(OBJECTIVES[name]).parameters
    keywords = {key: p.default for key, p in signature.items() if p.kind is p.KEYWORD_ONLY}
    keywords.pop("labelled_share", None)  # `fit` sets it, which has the labels
    assert found == keywords | ({"dataset_size": 77} if "dataset_size" in keywords else {})
    assert objective_line(options(name)).startswith(name)


@pytest.mark.parametrize(
    ("given", "values"),
    [
        (("elbo", "--beta", "3", "--warm-up", "2"), {"beta": [0.0, 1.5, 3.0, 3.0]}),
        (("elbo", "--beta", "3", "--cycles", "5"), {"beta": [0.0, 3.0, 0.0, 3.0]}),
        (("elbo", "--capacity", "8", "--warm-up", "4"), {"capacity": [0.0, 2.0, 4.0, 6.0]}),
        (("beta_tc", "--warm-up", "2"), {"beta": [0.0, 3.0, 6.0, 6.0]}),
        (("factor", "--gamma", "4", "--warm-up", "2"), {"gamma": [0.0, 2.0, 4.0, 4.0]}),
        (("elbo",), {}),
        (("iwae",), {}),
    ],
)
def test_schedules(given, values):
    made = schedules_of(options(*given), steps=4)
    assert {key: [schedule(4 * epoch) for epoch in range(4)] for key, schedule in made.items()} == values


@pytest.mark.parametrize("cycles", [1, 2, 3, 4, 6, 7])
def test_cycles_divide_the_training_and_end_at_the_weight(cycles):
    """Whole steps do not: 40 steps in 3 cycles of 13 would begin a fourth with the last one."""
    beta = schedules_of(options("elbo", "--beta", "3", "--cycles", str(cycles)), steps=4)["beta"]
    values = [beta(step) for step in range(40)]
    assert sum(after < before for before, after in pairwise(values)) == cycles - 1
    assert values[-1] == 3.0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("elbo", "--warm-up", "11"), "--warm-up 11: expected 0 to 10 epochs"),
        (("elbo", "--cycles", "11"), "--cycles 11: expected 0 to 10"),
        (("elbo", "--cycles", "2", "--warm-up", "1"), "leave one out"),
        (("elbo", "--cycles", "2", "--capacity", "1"), "leave one out"),
    ],
)
def test_schedules_that_cannot_be_right_are_refused(given, said):
    with pytest.raises(UsageError, match=said):
        check_schedule(options(*given))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("elbo", "--beta", "4"), "effective beta 4"),
        (("elbo", "--beta", "9", "--capacity", "25", "--warm-up", "3"), "on |rate - 25|"),
        (("elbo", "--kl", "sampled", "--gradient", "path"), "path gradient"),
        (("elbo", "--cycles", "4"), "beta in 4 cycles from 0"),
        (("iwae", "--samples", "7", "--gradient", "doubly"), "K = 7 draws · doubly gradient"),
        (("iwae", "--samples", "50", "--resampled", "3"), "K = 50 draws · gradient through 3 of them, drawn by weight"),
        (("miwae", "--groups", "3", "--samples", "5"), "M = 3 bounds of K = 5"),
        (
            ("piwae", "--groups", "3", "--samples", "5"),
            "decoder by the bound of 15 draws, encoder by the mean of M = 3",
        ),
        (("mmd", "--weight", "50"), "effective beta 0 + 50 MMD²"),
        (
            ("reconstruction", "--noise", "0.5", "--corruption", "mask", "--l1", "0.1"),
            "input noise 0.5 (mask) · 0.1 |z|",
        ),
    ],
)
def test_the_plan_says_what_the_loss_is(given, said):
    assert said in objective_line(options(*given))


def test_a_run_with_cycles_records_them(tmp_path, capsys):
    out = tmp_path / "run"
    common = ["--epochs", "2", "--evaluation-samples", "2", "--hidden", "8", "--latent-dim", "2", "--out", str(out)]
    assert main(["train", "digits", *common, "--objective", "beta_tc", "--cycles", "2"]) == 0
    assert "6 TC" in capsys.readouterr().out
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert [record["beta"] for record in records] == [6.0, 6.0]
    assert "dataset_size" not in (out / "config.yaml").read_text("utf-8")
    again = parse(train_parser("vae", "beta_tc"), ["--config", str(out / "config.yaml")])
    assert (again.cycles, again.beta, again.epochs) == (2, 6.0, 2)
