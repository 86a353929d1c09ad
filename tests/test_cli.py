"""The commands as a user types them, on real digits."""

import html
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import vaekit as vk
from vaekit.cli.main import main
from vaekit.cli.tables import NAMES
from vaekit.report.table import rounded
from vaekit.runs import load_run, save_model

QUICK = ["--epochs", "3", "--hidden", "24", "--evaluation-samples", "10"]
FIGURE = {"value", "standard_error", "n", "unit", "estimator", "samples"}


def call(capsys, *arguments):
    """Exit status, standard output and standard error of one command."""
    status = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("with space") / "run"
    assert main(["train", "digits", "--out", str(folder), *QUICK]) == 0
    return folder


def test_a_run_has_every_file(run):
    for name in ("config.yaml", "environment.json", "data.json", "metrics.jsonl", "status.json", "evaluation.json",
                 "report.html", "model/model.json", "model/model.safetensors", "figures/gallery.npz"):  # fmt: skip
        assert (run / name).is_file(), name
    assert json.loads((run / "status.json").read_text())["state"] == "finished"
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 3


def test_evaluation_has_one_form(run, capsys):
    stored = json.loads((run / "evaluation.json").read_text())
    assert {"elbo", "log_likelihood", "kl", "distortion", "active_units", "bits_per_dim", "kl_per_dim"} <= set(stored)
    for figure in [*(v for k, v in stored.items() if k != "kl_per_dim"), *stored["kl_per_dim"]]:
        assert set(figure) == FIGURE
    assert stored["log_likelihood"]["samples"] == 10
    assert stored["elbo"]["value"] == pytest.approx(-stored["kl"]["value"] - stored["distortion"]["value"])
    status, out, _ = call(capsys, "evaluate", run, "--json")
    assert status == 0
    assert json.loads(out) == stored, "the saved model computes the same numbers"


def test_table_page_and_file_say_the_same(run, capsys):
    """Every figure of evaluation.json that the terminal names stands there, and on the page, with its value and error."""
    stored = json.loads((run / "evaluation.json").read_text())
    table = [re.split(r" {2,}", line.strip()) for line in call(capsys, "evaluate", run)[1].splitlines()]
    page = html.unescape((run / "report.html").read_text())
    seen = 0
    for key, name in NAMES.items():
        if key not in stored or key == "active_units":
            continue
        value, error = stored[key]["value"], stored[key]["standard_error"]
        (row,) = [cells for cells in table if cells[0] == name]
        assert float(row[1]) == pytest.approx(value, rel=6e-4, abs=6e-3)
        if error is not None:
            assert float(row[2]) == pytest.approx(error, rel=0.06)
        said, uncertain = rounded(stored[key])
        assert said in page, key
        assert uncertain in page, key
        seen += 1
    assert seen > 12


def test_evaluate_takes_k_and_other_data(run, capsys, tmp_path):
    assert json.loads(call(capsys, "evaluate", run, "--samples", 3, "--json")[1])["log_likelihood"]["samples"] == 3
    np.save(tmp_path / "other.npy", vk.load("digits").test.values.numpy()[:20])
    other = json.loads(call(capsys, "evaluate", run, "--data", tmp_path / "other.npy", "--json")[1])
    assert other["elbo"]["n"] == 20
    assert "linear_probe" not in other
    status, out, _ = call(capsys, "evaluate", run)
    assert status == 0
    assert "log p(x)" in out


def test_config_repeats_the_run(run, capsys, tmp_path):
    status, _, err = call(capsys, "train", "--config", run / "config.yaml", "--out", tmp_path / "again")
    assert status == 0, err
    times = ("seconds", "examples_per_second")

    def lines(folder):
        records = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
        return [{k: v for k, v in r.items() if k not in times} for r in records]

    assert lines(run) == lines(tmp_path / "again")
    assert (run / "evaluation.json").read_text() == (tmp_path / "again" / "evaluation.json").read_text()
    assert yaml.safe_load((run / "config.yaml").read_text()) == yaml.safe_load(
        (tmp_path / "again" / "config.yaml").read_text()
    )


def test_sample_writes_pictures_and_arrays(run, capsys, tmp_path):
    for name in ("s.png", "s.npz", "s.npy"):
        assert call(capsys, "sample", run, "-n", 5, "--out", tmp_path / name)[0] == 0
    samples = np.load(tmp_path / "s.npz")["samples"]
    assert samples.shape == (5, 1, 8, 8)
    np.testing.assert_array_equal(samples, np.load(tmp_path / "s.npy"))
    Image.open(tmp_path / "s.png").verify()
    call(capsys, "sample", run, "-n", 5, "--seed", 1, "--noise", "--out", tmp_path / "noise.npy")
    steps = np.load(tmp_path / "noise.npy") * 16
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-4)


def test_an_output_file_is_not_replaced_unasked(run, capsys, tmp_path):
    target = tmp_path / "s.npy"
    target.write_text("precious")
    status, _, err = call(capsys, "sample", run, "--out", target)
    assert status == 4
    assert "--overwrite" in err
    assert target.read_text() == "precious"
    assert call(capsys, "sample", run, "--out", target, "--overwrite")[0] == 0


def test_weights_that_are_not_finite_give_no_figures_and_no_samples(run, capsys, tmp_path):
    broken, target = shutil.copytree(run, tmp_path / "broken"), tmp_path / "x.npy"
    model = load_run(broken).model
    next(model.parameters()).detach().view(-1)[0] = torch.inf
    save_model(model, broken / "model")
    before = (broken / "evaluation.json").read_bytes()
    for words in (["evaluate", broken, "--write"], ["doctor", broken], ["sample", broken, "--out", target]):
        status, out, err = call(capsys, *words)
        assert status != 0
        assert out == ""
        assert "is not finite; train it again" in err
        assert len(err.splitlines()) == 1
    assert not target.exists()
    assert (broken / "evaluation.json").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "content"),
    [("findings.json", "{"), ("findings.json", '{"findings": 3}'), ("figures/gallery.npz", "PKjunk")],
)
def test_figures_are_not_replaced_where_their_report_cannot_be_made(run, capsys, tmp_path, name, content):
    broken = shutil.copytree(run, tmp_path / "broken")
    (broken / name).write_text(content)
    before = (broken / "evaluation.json").read_bytes()
    status, out, err = call(capsys, "evaluate", broken, "--samples", "2", "--write")
    assert (status, out) == (4, "")
    assert f"{broken / name}: " in err
    assert len(err.splitlines()) == 1
    assert (broken / "evaluation.json").read_bytes() == before


def test_encode_and_reconstruct_keep_the_order(run, capsys, tmp_path):
    rows = vk.load("digits").test.values.numpy()[:12]
    np.save(tmp_path / "rows.npy", rows)
    assert call(capsys, "encode", run, tmp_path / "rows.npy", "--out", tmp_path / "c.npz")[0] == 0
    model = vk.load_run(run).model
    x = vk.load("digits").test.rows(slice(0, 12))
    codes = np.load(tmp_path / "c.npz")
    np.testing.assert_allclose(codes["mean"], model.encode(x).numpy(), atol=1e-5)
    np.testing.assert_allclose(codes["std"], model.posterior(x).variance.sqrt().detach().numpy(), atol=1e-5)
    assert call(capsys, "reconstruct", run, tmp_path / "rows.npy", "--out", tmp_path / "r.npz")[0] == 0
    result = np.load(tmp_path / "r.npz")
    np.testing.assert_allclose(result["originals"], x.numpy())
    np.testing.assert_allclose(result["reconstructions"], model.reconstruct(x).numpy(), atol=1e-5)
    assert call(capsys, "reconstruct", run, "digits", "--out", tmp_path / "r.png")[0] == 0
    Image.open(tmp_path / "r.png").verify()


def test_report_is_written_again_from_files_alone(run, capsys):
    (run / "report.html").unlink()
    assert call(capsys, "report", run)[0] == 0
    assert (run / "report.html").stat().st_size > 10_000


def test_train_prints_one_json_object(capsys, tmp_path):
    status, out, err = call(capsys, "train", "--json", "--out", tmp_path / "r", "--model", "autoencoder", *QUICK)
    assert status == 0
    assert {"run", "report", "evaluation"} <= set(json.loads(out))
    assert "objective" in err
    assert "elbo" not in json.loads(out)["evaluation"], "an autoencoder has no likelihood"


def test_overwrite_replaces_only_a_finished_run(capsys, tmp_path):
    out = tmp_path / "r"
    assert call(capsys, "train", "--out", out, *QUICK)[0] == 0
    before = (out / "metrics.jsonl").read_text()
    assert call(capsys, "train", "--out", out, *QUICK)[0] == 4
    assert (
        call(
            capsys,
            "train",
            "--out",
            out,
            "--overwrite",
            *QUICK,
            "--learning-rate",
            "1e30",
            "--learning-rate-decay",
            "none",
        )[0]
        == 5
    )
    assert (out / "metrics.jsonl").read_text() == before
    failed = json.loads((tmp_path / "r.unfinished" / "status.json").read_text())
    assert failed["state"] == "failed"
    assert "step" in failed["error"]
    assert call(capsys, "train", "--out", out, "--overwrite", *QUICK, "--seed", 3)[0] == 0
    assert (out / "metrics.jsonl").read_text() != before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    assert call(capsys, "train", "--out", tmp_path / "mine", "--overwrite", *QUICK)[0] == 4
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["trian"], 2, "did you mean train"),
        (["train", "--colour", "1"], 2, "--colour"),
        (["train", "--latent-dim", "many"], 2, "--latent-dim"),
        (["train", "--latent-dim", "0"], 2, "latent_dim 0"),
        (["train", "--model", "gran"], 2, "autoencoder, cvae"),
        (["train", "--likelihood", "bernoulli"], 2, "binarise"),
        (["train", "--warm-up", "500"], 2, "never reach"),
        (["train", "--samples", "0"], 2, "samples 0"),
        (["train", "--epochs", "0"], 2, "epochs 0"),
        (["train", "--sigma", "-1"], 2, "sigma"),
        (["train", "--model", "autoencoder", "--objective", "elbo"], 2, "reconstruction"),
        (["train", "--config", "nowhere.yaml"], 2, "nowhere.yaml"),
        (["train", "--overwrite"], 2, "--out"),
        (["train", "no/such/folder"], 3, "no such file or folder"),
        (["evaluate", "nowhere"], 4, "no such run folder"),
        (["report", "nowhere"], 4, "no such run folder"),
        (["sample", "nowhere", "--out", "x.gif"], 2, ".png"),
        (["evaluate", "nowhere", "--samples", "1.5"], 2, "--samples: expected int, got 1.5"),
        (["evaluate", "nowhere", "--samples", "1e3"], 2, "--samples: expected int, got 1e3 ("),
        (["sample", "nowhere", "--out", "x.npy", "--seed", "9" * 20], 2, "--seed: expected a whole number from 0 to 2**63"),
        (["score", "nowhere", "digits", "--seed", "-1"], 2, "--seed: expected a whole number from 0 to 2**63 - 1"),
        (["train", "--seed", "9" * 20], 2, "--seed: expected a whole number from 0 to 2**63 - 1"),
        (["train", "--split-seed", "1.5"], 2, "--split-seed: expected a whole number from 0 to 2**63 - 1"),
        (["evaluate", "nowhere", "--per-example", "/proc/x.csv"], 6, "/proc/x.csv: cannot be written"),
    ],
)  # fmt: skip
def test_mistakes_get_one_line_and_leave_nothing(capsys, tmp_path, monkeypatch, arguments, status, said):
    monkeypatch.chdir(tmp_path)
    got, out, err = call(capsys, *arguments)
    assert (got, out) == (status, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_unknown_keys_in_a_config_are_refused(capsys, tmp_path):
    (tmp_path / "c.yaml").write_text("source: digits\nlatent_dims: 4\n")
    status, _, err = call(capsys, "train", "--config", tmp_path / "c.yaml")
    assert status == 2
    assert "latent_dims" in err


def test_a_seed_in_a_config_is_a_whole_number(capsys, tmp_path):
    (tmp_path / "c.yaml").write_text("source: digits\nseed: 1.5\n")
    status, _, err = call(capsys, "train", "--config", tmp_path / "c.yaml")
    assert status == 2
    assert "seed" in err
    assert "expected a whole number from 0 to 2**63 - 1, got 1.5" in err


def test_data_that_changed_are_noticed(capsys, tmp_path):
    x = np.random.default_rng(0).integers(0, 2, (40, 4, 4))
    np.save(tmp_path / "x.npy", x)
    assert call(capsys, "train", tmp_path / "x.npy", "--out", tmp_path / "r", *QUICK)[0] == 0
    np.save(tmp_path / "x.npy", 1 - x)
    status, _, err = call(capsys, "evaluate", tmp_path / "r")
    assert status == 3
    assert "not those of the run" in err


def test_an_interrupted_training_is_saved(tmp_path):
    code = (
        "import os, signal, sys\n"
        "from vaekit import runs\n"
        "from vaekit.cli.main import main\n"
        "append = runs.append_record\n"
        "def third(folder, record):\n"
        "    append(folder, record)\n"
        "    if record['epoch'] == 3: os.kill(os.getpid(), signal.SIGINT)\n"
        "runs.append_record = third\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    arguments = ["train", "--out", str(tmp_path / "r"), "--hidden", "16", "--epochs", "4000"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    run = vk.load_run(tmp_path / "r")
    assert run.status["state"] == "interrupted"
    assert len(run.history) >= 3


def test_help_needs_no_heavy_library():
    code = (
        "import sys; from vaekit.cli.main import main; main(['--help'])\n"
        "sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'yaml', 'rich')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("command", ["train", "evaluate", "sample", "reconstruct", "encode", "report"])
def test_every_command_has_help(capsys, command):
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    assert left.value.code == 0
    assert "usage: vaekit" in capsys.readouterr().out


def test_a_traceback_only_with_debug(capsys):
    with pytest.raises(vk.errors.DataError):
        main(["train", "no/such/folder", "--debug"])


def test_a_linear_network_is_asked_for_by_name(capsys, tmp_path):
    assert call(capsys, "train", "--out", tmp_path / "r", *QUICK, "--hidden", "linear")[0] == 0
    model = vk.load_run(tmp_path / "r").model
    assert [type(m).__name__ for m in model.decoder.network.modules()].count("Linear") == 1
    assert vk.load_run(tmp_path / "r").config["hidden"] == []
