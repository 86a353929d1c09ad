"""The rate-distortion curve: a linear model reaches Shannon's R(D) of a Gaussian source; the command, its page and errors."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml

import vaekit as vk
from vaekit.cli import train
from vaekit.cli.main import main
from vaekit.errors import DataError, TrainingError, UsageError
from vaekit.evaluation.rate_distortion import check_betas, rate_distortion
from vaekit.models import RECIPES

SIGMA = 0.5


def gaussian_source(n=500, size=6):
    """Rows of a Gaussian whose sample covariance is exactly diagonal in a rotated frame: variances 4, 2.25, 1, 0.49, ..."""
    rng = np.random.default_rng(0)
    values = np.array([2.0, 1.5, 1.0, 0.7, 0.5, 0.3]) ** 2
    raw = rng.normal(size=(n, size))
    raw -= raw.mean(0)
    white = raw @ np.linalg.inv(np.linalg.cholesky(raw.T @ raw / n)).T
    x = white * np.sqrt(values) @ np.linalg.qr(rng.normal(size=(size, size)))[0].T
    return x.astype(np.float32), values


def water_filling(values, sigma2, beta):
    """R(D) at slope -beta: dimensions above the water level beta sigma^2 are coded down to it, the others not at all."""
    level = beta * sigma2
    rate = 0.5 * np.log(np.maximum(values / level, 1)).sum()
    squared = np.minimum(values, level).sum()
    return rate, squared / (2 * sigma2) + 0.5 * len(values) * math.log(2 * math.pi * sigma2)


def test_a_linear_model_reaches_shannons_curve():
    """A Gaussian decoder of fixed sigma makes D a mean squared error, so the best curve is reverse water-filling."""
    x, values = gaussian_source()
    loaded = vk.load(x)
    data = vk.Dataset(loaded.schema, vk.Split(torch.from_numpy(x)), test=vk.Split(torch.from_numpy(x)))

    def make():
        return vk.models.vae(data.schema, latent_dim=6, hidden=(), likelihood="gaussian", sigma=SIGMA)

    points = rate_distortion(make, data, [4.0, 1.0], epochs=150, batch_size=100, learning_rate=0.02, samples=100)
    assert [p.beta for p in points] == [1.0, 4.0]
    for point in points:
        rate, distortion = water_filling(values, SIGMA**2, point.beta)
        assert point.rate.value == pytest.approx(rate, abs=0.08), point.beta
        assert point.distortion.value == pytest.approx(distortion, abs=0.08), point.beta
        assert point.elbo.value == pytest.approx(-point.rate.value - point.distortion.value, abs=1e-9)


def test_what_makes_no_curve_is_said():
    data = vk.load("digits")

    def curve(betas=(0.5, 1), model="vae", data=data):
        return rate_distortion(lambda: RECIPES[model].function(data.schema, hidden=(4,)), data, betas, epochs=1)

    wrong = [
        (lambda: curve(betas=[1]), UsageError, r"betas 1: expected two or more different weights"),
        (lambda: curve(betas=[]), UsageError, r"betas \(none\)"),
        (lambda: curve(betas=[1, 1]), UsageError, "betas 1,1: expected two or more different"),
        (lambda: curve(betas=[0, 1]), UsageError, "betas 0,1: expected positive numbers"),
        (lambda: curve(betas=[1, math.inf]), UsageError, "betas 1,inf: expected positive numbers"),
        (lambda: curve(model="autoencoder"), UsageError, "has no likelihood; train a vae"),
        (lambda: curve(model="vqvae"), UsageError, "rate of a VQVAE does not answer to beta"),
        (lambda: curve(data=replace(data, test=None)), DataError, "have no test rows"),
    ]
    for call, kind, message in wrong:
        with pytest.raises(kind, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_the_command_makes_runs_points_and_a_page(tmp_path, capsys):
    out = tmp_path / "curve"
    options = ["--epochs", "1", "--hidden", "8", "--latent-dim", "2", "--evaluation-samples", "2"]
    assert main(["rate-distortion", "digits", "--betas", "4,0.5", "--out", str(out), *options, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert json.loads((out / "rate_distortion.json").read_text()) == {"source": "digits", "points": printed["points"]}
    assert [p["beta"] for p in printed["points"]] == [0.5, 4.0]
    for point in printed["points"]:
        stored = json.loads((out / point["run"] / "evaluation.json").read_text())
        assert (stored["kl"], stored["distortion"], stored["elbo"]) == (
            point["rate"],
            point["distortion"],
            point["elbo"],
        )
        config = yaml.safe_load((out / point["run"] / "config.yaml").read_text())
        assert (config["beta"], config["patience"]) == (point["beta"], 0)
    page = (out / "rate_distortion.html").read_text()
    assert 'href="beta-0.5/report.html"' in page
    assert (out / "rate_distortion.png").read_bytes()[:4] == b"\x89PNG"


def test_the_command_refuses_before_a_folder_is_made(tmp_path, capsys):
    out = tmp_path / "curve"
    wrong = [
        (["--betas", "1,x"], "--betas 1,x: expected numbers divided by commas"),
        (["--betas", "2"], "betas 2: expected two or more different"),
        (["--beta", "2"], "--beta: not an option of rate-distortion"),
        (["--model", "vqvae"], "the objective vq of vqvae has no beta"),
        (["--model", "autoencoder"], "has no beta; take --model vae"),
        (["--objective", "iwae"], "the objective iwae of vae has no beta"),
        (["--model", "vea"], "--model vea: expected one of"),
        (["--epochz", "3"], "--epochz"),
    ]
    for options, message in wrong:
        assert main(["rate-distortion", "digits", "--out", str(out), *options]) != 0
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
        assert not out.exists()
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    assert main(["rate-distortion", "digits", "--out", str(out)]) != 0
    assert "exists already; choose another --out" in capsys.readouterr().err
    assert [file.name for file in out.iterdir()] == ["mine.txt"]


def test_what_is_refused_leaves_no_folder(tmp_path, capsys):
    out = tmp_path / "rr" / "b"
    (tmp_path / "lines.txt").write_text("a few words\n" * 40)
    for source, options in (("nothere.npy", []), ("digits", ["--latent-dim", "0"]), (tmp_path / "lines.txt", [])):
        assert main(["rate-distortion", str(source), "--betas", "1,2", "--out", str(out), *options]) in (2, 3)
        assert len(capsys.readouterr().err.splitlines()) == 1
        assert not out.parent.exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, TrainingError("failed")])
def test_points_there_are_are_drawn_where_a_later_one_fails(tmp_path, capsys, monkeypatch, error):
    out, options = (
        tmp_path / "curve",
        ["--epochs", "1", "--hidden", "8", "--latent-dim", "2", "--evaluation-samples", "2"],
    )
    run, made = train.run, []

    def failing(arguments):
        if len(made) == 2:
            raise error
        made.append(arguments)
        return run(arguments)

    monkeypatch.setattr(train, "run", failing)
    assert main(["rate-distortion", "digits", "--betas", "0.5,1,4", "--out", str(out), *options]) in (5, 130)
    told = " ".join(capsys.readouterr().err.split())
    assert "saved 2 of 3 points in" in told
    assert len(json.loads((out / "rate_distortion.json").read_text())["points"]) == 2
    assert (out / "rate_distortion.html").exists()


def test_weights_of_one_name_are_refused():
    for betas, said in (
        ([1.0, 1.0000001], "two are the same to six digits"),
        ([1.0, math.nan, 2.0], "positive numbers"),
    ):
        with pytest.raises(UsageError, match=said):
            check_betas(betas)
