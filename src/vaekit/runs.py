"""A run is a folder; everything outside the core talks through its files.

    config.yaml        every option, resolved: `vaekit train --config` repeats the run
    environment.json   versions, machine, time
    data.json          source, schema, a fingerprint of every split
    metrics.jsonl      one record an epoch
    status.json        running, finished, interrupted or failed
    model/             model.json (recipe, arguments, schema) and model.safetensors
    evaluation.json    a figure a key, each with its standard error
    figures/           gallery.npz and the report's pictures
    report.html        all of it on one page

Nothing is pickled, and each file is written whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

import vaekit
from vaekit.data import Schema
from vaekit.errors import RunError, UsageError, VaekitError
from vaekit.files import disk_errors, write_atomically, write_json, write_text
from vaekit.models import Model, make_model, origin_of
from vaekit.models.base import check_weights
from vaekit.models.recipes import Origin
from vaekit.records import check_config, check_data, check_description, check_evaluation, check_record
from vaekit.training.history import Record

_FORMAT = 1
_WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Run:
    """A run folder read back: the model with its weights, and the contents of the files beside it.

    `config`, `data`, `status` and `evaluation` are dictionaries, empty where the run did not come that far; `history` is
    the list of epochs.
    """

    path: Path
    model: Model
    config: dict[str, Any]
    data: dict[str, Any]
    status: dict[str, Any]
    history: list[Record]
    evaluation: dict[str, Any]


def load_run(path: str | Path) -> Run:
    """Read a run folder. Its model computes the same numbers as the one that was saved.

    Raises RunError, naming the file, where something is absent or damaged.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise RunError(f"{folder}: no such run folder; `vaekit train` makes one")
    model = load_model(folder / "model")
    return Run(
        folder,
        model,
        config=read_config(folder),
        data=read_data(folder),
        status=read_json(folder / "status.json", {}),
        history=read_history(folder),
        evaluation=read_evaluation(folder),
    )


def save_run(path: str | Path, model: Model, history: Any = (), evaluation: dict[str, Any] | None = None) -> Path:
    """Save a model trained from Python as a folder that `load_run` and the commands read.

    Args:
        path: a folder that does not exist yet, or is empty.
        history: what `fit` returned.
        evaluation: figures as `evaluation.evaluate` returns them, already through `evaluation.to_json`.
    """
    folder = Path(path)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder}: exists already; choose another place or remove it first")
    figures = (
        None if evaluation is None else _as_json(evaluation, "evaluation", "give evaluation.to_json of the figures")
    )
    save_model(model, folder / "model")
    write_json(folder / "status.json", {"state": "finished"})
    for record in () if history is None else history:
        append_record(folder, record)
    if figures is not None:
        write_json(folder / "evaluation.json", figures)
    return folder


def _as_json(values: Any, what: str, advice: str) -> Any:
    """`values`, once it is known that JSON can hold them. Raises UsageError before anything is written."""
    try:
        json.dumps(values, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{what}: cannot be kept as JSON ({error}); {advice}") from error
    return values


def save_model(model: Model, folder: Path) -> None:
    """Write model.safetensors, then model.json with its checksum.

    Raises RunError where the model does not come from a recipe, or is no longer what its recipe makes: it would be read as another.
    """
    origin = origin_of(model)
    # a weight that two modules share is kept under both names
    weights = save_tensors(
        {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
    )
    description = {
        "format": _FORMAT,
        "vaekit": vaekit.__version__,
        "recipe": origin.recipe,
        "arguments": origin.arguments,
        "schema": origin.schema.to_json(),
        "weights": {"file": _WEIGHTS, "sha256": hashlib.sha256(weights).hexdigest()},
    }
    description = _as_json(description, "model", "give the recipe plain numbers and words")
    _check_is_its_recipes(model, origin)
    write_atomically(folder / _WEIGHTS, lambda file: file.write(weights))
    write_json(folder / "model.json", description)


def _check_is_its_recipes(model: Model, origin: Origin) -> None:
    """Raise RunError where layers were exchanged since the recipe made the model."""
    with torch.random.fork_rng(devices=[]):
        fresh = make_model(origin.recipe, Schema.from_json(origin.schema.to_json()), origin.arguments)
    shapes = [{name: tuple(value.shape) for name, value in m.state_dict().items()} for m in (model, fresh)]
    if shapes[0] != shapes[1] or repr(model) != repr(fresh):
        raise RunError(
            f"{type(model).__name__}: is no longer what recipe {origin.recipe} makes, and would be read as that; "
            "write a recipe of your own (vaekit.models.recipe) that makes it"
        )


def load_model(folder: Path) -> Model:
    """The model of a `model/` folder, in evaluation mode. Raises RunError where it is absent, damaged or of another kind."""
    description = check_description(read_json(folder / "model.json"), folder / "model.json")
    if description.get("format") != _FORMAT:
        raise RunError(
            f"{folder / 'model.json'}: format {description.get('format')!r} is not {_FORMAT}; use the vaekit that wrote it"
        )
    try:
        schema = Schema.from_json(description["schema"])
        model = make_model(description["recipe"], schema, description["arguments"])
        checksum = description["weights"]["sha256"]
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, VaekitError) as error:
        raise RunError(f"{folder / 'model.json'}: cannot be used ({_in_a_line(error)})") from error
    file = folder / _WEIGHTS
    try:
        content = file.read_bytes()
        if hashlib.sha256(content).hexdigest() != checksum:
            raise RunError(f"{file}: its checksum is not the one in model.json; the file is damaged or was exchanged")
        tensors = load_tensors(content)
        dtype = next((t.dtype for t in tensors.values() if t.is_floating_point()), None)
        (model if dtype is None else model.to(dtype)).load_state_dict(tensors)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise RunError(f"{file}: cannot be loaded ({_in_a_line(error)})") from error
    check_weights(model, str(file))
    return model.eval()


def _in_a_line(error: Exception) -> str:
    """The first line of an error; the second where the first is a heading, as torch's of weights that do not fit."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return lines[1] if len(lines) > 1 and lines[0].endswith(":") else lines[0]


def read_json(path: Path, default: dict[str, Any] | None = None) -> dict[str, Any]:
    """The object in a JSON file; `default` where there is no such file. Raises RunError where it is damaged or absent."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        if default is not None:
            return default
        raise RunError(f"{path}: not found; is this a run folder of a finished training?") from error
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise RunError(f"{path}: expected a JSON object")
    return content


def read_config(folder: Path) -> dict[str, Any]:
    """The options in a run's config.yaml, empty where there is none."""
    path = folder / "config.yaml"
    if not path.exists():
        return {}
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RunError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error
    if not isinstance(content, dict):
        raise RunError(f"{path}: expected options, one a line")
    return check_config(content, path)


def read_data(folder: Path) -> dict[str, Any]:
    """Source, schema and fingerprints in a run's data.json, empty where there is none."""
    path = folder / "data.json"
    return check_data(read_json(path, {}), path)


def read_evaluation(folder: Path) -> dict[str, Any]:
    """The figures in a run's evaluation.json, empty where there is none."""
    path = folder / "evaluation.json"
    return check_evaluation(read_json(path, {}), path)


def write_config(folder: Path, options: dict[str, Any]) -> None:
    """Write config.yaml."""
    write_text(folder / "config.yaml", yaml.safe_dump(options, sort_keys=False, allow_unicode=True))


def append_record(folder: Path, record: Record) -> None:
    """Add one epoch to metrics.jsonl; what is not finite becomes null."""
    clean = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
    path = folder / "metrics.jsonl"
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(clean, allow_nan=False) + "\n")


def read_history(folder: Path) -> list[Record]:
    """The epochs in metrics.jsonl, empty where there is none; a last line cut short is left out."""
    path = folder / "metrics.jsonl"
    if not path.exists():
        return []
    records: list[Record] = []
    try:
        lines = path.read_text("utf-8", errors="replace").splitlines()
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from error
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                break
            raise RunError(f"{path}: line {number} is damaged ({error})") from error
        records.append(check_record(record, path, number))
    return records


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write named arrays as .npz without Python objects."""
    write_atomically(path, lambda file: np.savez_compressed(file, allow_pickle=False, **arrays))


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The named arrays of an .npz. Raises RunError where it is absent or damaged."""
    try:
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name] for name in content.files}
    except FileNotFoundError as error:
        raise RunError(f"{path}: not found; `vaekit train` writes it at the end of a run") from error
    except Exception as error:  # zipfile and NumPy raise errors of many kinds on damaged files
        raise RunError(f"{path}: cannot be read ({error})") from error
