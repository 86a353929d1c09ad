"""Options from the command line and from files: one model and one objective, whoever names them and in whatever order."""

import re

import numpy as np
import pytest

from vaekit.cli.main import main
from vaekit.cli.options import config_first
from vaekit.cli.settings import read_options
from vaekit.errors import UsageError


@pytest.fixture
def file(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.write_text(text, "utf-8")
        return str(path)

    return write


def names(*arguments):
    name, objective, options = read_options(list(arguments))
    assert (options["model"], options["objective"]) == (name, objective)
    return name, objective


def test_what_is_typed_outweighs_a_file_wherever_it_stands(file):
    path = file("a.yaml", "model: cvae\nepochs: 7\n")
    for arguments in (("--model", "vae", "--config", path), ("--config", path, "--model", "vae")):
        assert names(*arguments)[0] == "vae"
    assert names("--config", path)[0] == "cvae"
    assert read_options(["--epochs", "2", "--config", path])[2]["epochs"] == 2
    assert read_options([f"--config={path}"])[2]["epochs"] == 7


def test_of_several_files_the_last_that_says_it_counts(file):
    model, epochs = file("a.yaml", "model: cvae\n"), file("b.yaml", "epochs: 2\n")
    for arguments in (("--config", model, "--config", epochs), ("--config", epochs, f"--config={model}")):
        assert names(*arguments)[0] == "cvae"
    objective = file("c.yaml", "objective: mmd\n")
    assert names("--config", objective, "--config", epochs)[1] == "mmd"
    assert names("--objective", "iwae", "--config", objective)[1] == "iwae"


def test_files_come_first():
    given = ["mnist", "--epochs", "3", "--config", "a", "--beta=2", "--config=b"]
    assert config_first(given) == ["--config", "a", "--config=b", "mnist", "--epochs", "3", "--beta=2"]
    assert config_first(["--config"]) == ["--config"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("config: other.yaml\n", "give each file by a --config of its own"),
        ("given: other.npy\n", "the data are its source"),
        ("model: null\n", "model: expected a name, got None"),
        ("objective: 3\n", "objective: expected a name, got 3"),
        ("source: 3\n", "--source: expected str, got 3"),
    ],
)
def test_files_that_cannot_be_right_are_refused(file, text, said):
    with pytest.raises(UsageError, match=said):
        read_options(["--config", file("a.yaml", text)])


@pytest.mark.parametrize("short", ["--mod", "--objec", "--epoch", "--conf"])
def test_names_are_not_shortened(short, file):
    with pytest.raises(UsageError, match="nrecognized arguments"):
        read_options([short, file("a.yaml", "model: cvae\n")])


def test_a_configuration_that_is_no_file_cannot_change_the_model():
    with pytest.raises(UsageError, match="the configuration says cvae; name it on the command line"):
        read_options(["--config", "{model: cvae}"])


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--seconds", "0"), "seconds 0.0: expected a number above 0"),
        (("--learning-rate", "1e300"), "learning_rate 1e\\+300: expected a number above 0, and below 1e\\+38"),
    ],
)
def test_numbers_are_looked_at_before_a_folder_is_made(option, said, tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(20, 3)))
    out = tmp_path / "run"
    assert main(["train", str(tmp_path / "x.npy"), *option, "--out", str(out)]) == 2
    assert re.search(said, capsys.readouterr().err)
    assert not out.exists()


def test_required_options_are_named_as_they_are_typed(capsys):
    assert main(["interpolate", "run"]) == 2
    assert "arguments are required: --from, --to" in capsys.readouterr().err
    assert main(["encode", "run", "digits"]) == 2
    assert "arguments are required: --out" in capsys.readouterr().err
