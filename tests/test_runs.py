"""A run folder gives the model back, and says which file is damaged."""

import json
import os

import numpy as np
import pytest
import torch

import vaekit as vk
from vaekit import files, runs
from vaekit.errors import RunError, StorageError


@pytest.fixture(scope="module")
def data():
    return vk.load("digits")


@pytest.fixture
def model(data):
    torch.manual_seed(0)
    return vk.models.vae(data.schema, latent_dim=3, hidden=(16,))


@pytest.fixture
def folder(tmp_path, model):
    return vk.save_run(tmp_path / "run", model, [{"epoch": 1, "train_loss": 2.5}], {"elbo": {"value": -1.0}})


def test_the_same_numbers_bit_for_bit(folder, model, data):
    run = vk.load_run(folder)
    before, after = (vk.evaluation.evaluate(m, data, samples=20) for m in (model, run.model))
    assert vk.evaluation.to_json(before) == vk.evaluation.to_json(after)
    assert run.history == [{"epoch": 1, "train_loss": 2.5}]
    assert run.evaluation == {"elbo": {"value": -1.0}}


def test_double_precision_comes_back(tmp_path, model, data):
    x = data.test.rows(slice(0, 4)).double()
    vk.save_run(tmp_path / "double", model.double())
    assert torch.equal(vk.load_run(tmp_path / "double").model.encode(x), model.encode(x))


def test_nothing_is_pickled(folder):
    for path in folder.rglob("*"):
        if path.is_file():
            assert path.suffix in (".json", ".jsonl", ".safetensors", ".yaml")
            assert not path.read_bytes().startswith(b"\x80")


def test_an_existing_folder_is_not_touched(folder, model):
    before = (folder / "model" / "model.json").read_bytes()
    with pytest.raises(RunError, match="exists already"):
        vk.save_run(folder, model)
    assert (folder / "model" / "model.json").read_bytes() == before


def flip(path):
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)


def as_a_folder(path):
    path.unlink()
    path.mkdir()


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: flip(f / "model" / "model.safetensors"), r"model\.safetensors.*checksum"),
        (lambda f: (f / "model" / "model.safetensors").write_bytes(b""), r"model\.safetensors"),
        (lambda f: (f / "model" / "model.safetensors").unlink(), r"model\.safetensors"),
        (lambda f: (f / "model" / "model.json").unlink(), r"model\.json: not found"),
        (lambda f: (f / "model" / "model.json").write_text("{"), r"model\.json: cannot be read"),
        (lambda f: (f / "model" / "model.json").write_text("[]"), "JSON object"),
        (lambda f: change(f / "model" / "model.json", format=99), "format 99"),
        (lambda f: change(f / "model" / "model.json", recipe="os.system"), "os.system"),
        (lambda f: change(f / "model" / "model.json", arguments={"colour": 1}), "colour"),
        (lambda f: change(f / "model" / "model.json", arguments={"latent_dim": 7}), "cannot be loaded"),
        (lambda f: (f / "status.json").write_text("nonsense"), r"status\.json"),
        (lambda f: (f / "config.yaml").write_text("a: [1"), r"config\.yaml"),
        (lambda f: (f / "metrics.jsonl").write_text("nonsense\n{}\n"), r"metrics\.jsonl: line 1"),
        (
            lambda f: change(f / "model" / "model.json", arguments={"latent_dim": 7, "hidden": [16]}),
            "size mismatch for .*shape",
        ),
        (lambda f: change(f / "model" / "model.json", arguments=[1]), r"model\.json: arguments: expected an object"),
        (lambda f: change(f / "model" / "model.json", schema={"shape": 3}), r"model\.json: schema: shape: expected"),
        (lambda f: (f / "data.json").write_text('{"splits": 3}'), r"data\.json: splits: expected an object, got 3"),
        (lambda f: (f / "data.json").write_text('{"splits": {"test": 3}}'), r"data\.json: splits: test: expected"),
        (lambda f: (f / "data.json").write_text('{"splits": {"test": {}}}'), r"data\.json: splits: test: n: expected"),
        (
            lambda f: (f / "config.yaml").write_text("seed: abc"),
            r"config\.yaml: seed: expected a whole number, got 'abc'",
        ),
        (lambda f: (f / "config.yaml").write_text("source: [1]"), r"config\.yaml: source: expected text"),
        (lambda f: (f / "config.yaml").write_text("beta: abc"), r"config\.yaml: beta: expected a number"),
        (lambda f: (f / "metrics.jsonl").write_text("[1]\n{}\n"), r"metrics\.jsonl: line 1: expected an object"),
        (lambda f: (f / "metrics.jsonl").write_text('{"a": "b"}\n'), r"metrics\.jsonl: line 1: a: expected a number"),
        (lambda f: as_a_folder(f / "metrics.jsonl"), r"metrics\.jsonl: cannot be read"),
        (lambda f: (f / "evaluation.json").write_text('{"elbo": 3}'), r"evaluation\.json: elbo: expected an object"),
        (lambda f: change(f / "evaluation.json", elbo={"samples": "x"}), r"evaluation\.json: elbo: samples: expected"),
        (lambda f: change(f / "evaluation.json", kl_per_dim=[{"value": "x"}]), r"kl_per_dim: value: expected a number"),
    ],
)
def test_damage_is_named(folder, damage, message):
    damage(folder)
    with pytest.raises(RunError, match=message) as told:
        vk.load_run(folder)
    assert len(str(told.value).splitlines()) == 1


def test_weights_that_are_not_finite_are_named_with_their_file(folder, model):
    next(model.parameters()).detach().view(-1)[0] = torch.inf
    runs.save_model(model, folder / "model")
    with pytest.raises(RunError, match=r"run/model/model\.safetensors: weight .* is not finite; train it again"):
        vk.load_run(folder)


def test_a_last_line_cut_short_is_left_out(folder):
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "tra')
    assert [r["epoch"] for r in vk.load_run(folder).history] == [1]


def test_no_such_folder(tmp_path):
    with pytest.raises(RunError, match="no such run folder"):
        vk.load_run(tmp_path / "nothing")


def test_a_model_without_a_recipe_is_refused(tmp_path, model):
    del model.origin
    with pytest.raises(RunError, match="recipe"):
        vk.save_run(tmp_path / "x", model)


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "file.json"
    files.write_json(target, {"a": 1})

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="disk is full"):
        files.write_json(target, {"a": 2})
    assert json.loads(target.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]


def test_files_are_readable_by_others(tmp_path):
    files.write_text(tmp_path / "f", "x")
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o666 & ~mask


def test_arrays_go_and_come(tmp_path):
    runs.write_arrays(tmp_path / "a.npz", {"x": np.arange(3)})
    assert runs.read_arrays(tmp_path / "a.npz")["x"].tolist() == [0, 1, 2]
    (tmp_path / "a.npz").write_bytes(b"PKjunk")
    with pytest.raises(RunError, match=r"a\.npz"):
        runs.read_arrays(tmp_path / "a.npz")


def test_json_has_no_nan(tmp_path):
    runs.append_record(tmp_path, {"epoch": 1, "x": float("nan")})
    assert runs.read_history(tmp_path) == [{"epoch": 1, "x": None}]
    estimate = vk.evaluation.Estimate(float("inf"), float("nan"), 1, "nats", "test")
    assert estimate.to_json()["value"] is None
