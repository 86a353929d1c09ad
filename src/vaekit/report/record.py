"""The section that lets a run be repeated: command, options, machine and data."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vaekit.report.contents import Contents
from vaekit.report.words import count, plain


def record(contents: Contents, place: Path) -> dict[str, Any]:
    """What a reader needs to do it again; `place` is the folder's path."""
    path = shlex.quote(str(place / "config.yaml"))
    return {
        "command": f"vaekit train --config {path}" if contents.config else None,
        "options": [(str(key), plain(value)) for key, value in contents.config.items()],
        "environment": list(_flat(contents.environment)),
        "data": _data(contents),
    }


def _flat(values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """One row a value; those of a dictionary inside, such as the versions of packages, under their own names."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value)
        else:
            yield str(key).replace("_", " "), plain(value)


def _data(contents: Contents) -> list[tuple[str, str]]:
    """Source, splits, shape, levels, binarisation and fingerprints."""
    schema, source = contents.schema, contents.data.get("source")
    rows = [("source", contents.source)]
    for name, split in (contents.data.get("splits") or {}).items():
        digest = f", SHA-256 {str(split['sha256'])[:12]}…" if split.get("sha256") else ""
        rows.append((f"{name} split", f"{count(split['n'], 'example')}{digest}"))
    if contents.shape:
        rows.append(
            ("shape of an example", contents.form if contents.examples == "sentence" else _sides(contents.shape))
        )
    if schema:
        rows.append(("values", _values(schema)))
    if schema.get("classes"):
        rows.append(("classes", str(len(schema["classes"]))))
    options = {k: v for k, v in source.items() if k != "name" and v is not None} if isinstance(source, dict) else {}
    return rows + [(str(key).replace("_", " "), plain(value)) for key, value in options.items()]


def _sides(shape: tuple[int, ...]) -> str:
    return " × ".join(str(side) for side in shape)


def _values(schema: dict[str, Any]) -> str:
    if schema.get("kind") == "text":
        return "token numbers of the vocabulary in model/model.json"
    levels = schema.get("levels")
    if levels == 2:
        return "binary"
    if levels:
        return f"{levels} levels from 0 to 1"
    return f"continuous, from {schema.get('low', 0):.4g} to {schema.get('high', 1):.4g} in the training rows"
