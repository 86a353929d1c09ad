"""What the files of a run folder may hold: a value of another kind is an error that names the file, not one further on.

Only what some command reads is looked at. A number may be null: what was not finite is written so.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vaekit.errors import RunError

_WHOLE = ("seed", "split_seed", "binarize_seed", "evaluation_samples", "epochs", "warm_up", "cycles")
_NUMBERS = ("beta", "capacity", "free_bits", "weight", "information", "dimensions", "gamma")
_WORDS = ("source", "model", "objective", "data_dir")


def check_record(record: Any, path: Path, line: int) -> dict[str, Any]:
    """One epoch of metrics.jsonl: numbers by name."""
    where = f"line {line}"
    found = _object(record, path, where)
    for key, value in found.items():
        _expect(_is_number(value), path, f"{where}: {key}", "a number", value)
    return found


def check_config(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """The options of config.yaml that are numbers or words in every run."""
    for keys, kind, name in (
        (_WHOLE, int, "a whole number"),
        (_NUMBERS, int | float, "a number"),
        (_WORDS, str, "text"),
    ):
        for key in keys:
            value = config.get(key)
            _expect(value is None or (isinstance(value, kind) and not isinstance(value, bool)), path, key, name, value)
    for key in ("seed", "beta", "free_bits"):
        _expect(config.get(key, 0) is not None, path, key, "a number", None)
    size = config.get("image_size")
    sides = [1] if size is None else size if isinstance(size, list) else [size]
    whole = len(sides) in (1, 2) and all(isinstance(side, int) and side >= 1 for side in sides)
    _expect(whole, path, "image_size", "a number of pixels or two", size)
    for key in ("seed", "split_seed", "binarize_seed"):
        _expect(0 <= (config.get(key) or 0) < 2**63, path, key, "a number from 0 to 2**63 - 1", config.get(key))
    return config


def check_data(data: dict[str, Any], path: Path) -> dict[str, Any]:
    """The schema of data.json and the fingerprints of its splits, each with its number of rows."""
    _check_schema(data, path)
    for name, split in _object(data.get("splits"), path, "splits").items():
        n = _object(split, path, f"splits: {name}").get("n")
        _expect(isinstance(n, int), path, f"splits: {name}: n", "a number of rows", n)
    return data


def check_evaluation(evaluation: dict[str, Any], path: Path) -> dict[str, Any]:
    """The figures of evaluation.json: one a key, or a list of them."""
    for key, entry in evaluation.items():
        for one in entry if isinstance(entry, list) else [entry]:
            for name in ("value", "standard_error", "n", "samples"):
                value = _object(one, path, key).get(name)
                _expect(_is_number(value), path, f"{key}: {name}", "a number", value)
    return evaluation


def check_findings(findings: dict[str, Any], path: Path) -> dict[str, Any]:
    """The list of findings.json."""
    found = findings.get("findings", [])
    _expect(isinstance(found, list), path, "findings", "a list", found)
    for number, finding in enumerate(found, 1):
        _object(finding, path, f"finding {number}")
    return findings


def check_description(description: dict[str, Any], path: Path) -> dict[str, Any]:
    """The parts of model.json that are objects."""
    for key in ("arguments", "weights"):
        _object(description.get(key), path, key)
    _check_schema(description, path)
    return description


def _check_schema(content: dict[str, Any], path: Path) -> None:
    schema = _object(content.get("schema"), path, "schema")
    shape = schema.get("shape") or []
    whole = isinstance(shape, list) and all(isinstance(side, int) for side in shape)
    _expect(whole, path, "schema: shape", "a list of whole numbers", shape)
    classes = schema.get("classes") or []
    _expect(isinstance(classes, list), path, "schema: classes", "a list", classes)
    for key in ("low", "high"):
        _expect(_is_number(schema.get(key)), path, f"schema: {key}", "a number", schema.get(key))
    for key in ("shift", "scale"):
        value = schema.get(key, 0.0)
        each = value if isinstance(value, list) else [value]
        fits = not isinstance(value, list) or len(value) == (shape or [0])[0]
        right = fits and all(one is not None and _is_number(one) for one in each)
        _expect(right, path, f"schema: {key}", "a number, or one for each column", value)


def _object(value: Any, path: Path, where: str) -> dict[str, Any]:
    """`value`, {} for what is not there."""
    _expect(value is None or isinstance(value, Mapping), path, where, "an object", value)
    return value or {}


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _expect(holds: bool, path: Path, where: str, kind: str, value: Any) -> None:
    if not holds:
        text = repr(value)
        raise RunError(
            f"{path}: {where}: expected {kind}, got {text[:40]}{'...' if len(text) > 40 else ''}; it is damaged"
        )
