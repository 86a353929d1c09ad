"""What a source must not be: nothing at all, or the folder of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vaekit.errors import DataError

_OF_A_RUN = ("config.yaml", "status.json", "model/model.json")
"""Files that every run folder has."""


def check_is_data(source: Any) -> None:
    """Raise DataError for a source that names nothing, and for a run folder, whose pictures are of the run."""
    if not isinstance(source, str | Path):
        return
    if not str(source):
        raise DataError("source: is empty; give a file, a folder or a built-in set")
    if all((Path(source).expanduser() / name).is_file() for name in _OF_A_RUN):
        raise DataError(f"{source}: is a run folder, not data; give the source that the run was trained on")
