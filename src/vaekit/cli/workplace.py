"""Where a run is written: its own folder, or beside the one it is to replace until it is finished.

An interrupted or failed run stays where it was written, and what it was to replace is untouched.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from vaekit.errors import RunError, UsageError
from vaekit.files import disk_errors


@dataclass(frozen=True)
class Workplace:
    """`folder` is written to; `final` is where it ends up. They differ only while another run is being replaced."""

    folder: Path
    final: Path

    @classmethod
    def open(cls, out: str | None, overwrite: bool, source: str, model: str) -> Workplace:
        """Make the folder of a new run.

        Raises RunError where `out` exists already and `overwrite` was not said, or is no run folder.
        """
        if out is None:
            if overwrite:
                raise UsageError("--overwrite: name the folder to replace with --out")
            final = free(Path("runs") / f"{date.today():%Y-%m-%d}_{short(source)}_{model}")
        else:
            final = Path(out)
        replaces = final.exists() and not (final.is_dir() and not any(final.iterdir()))
        if replaces and not overwrite:
            raise RunError(f"{final}: exists already; choose another --out, or say --overwrite to replace it")
        if replaces and not (final / "config.yaml").is_file() and not (final / "model").is_dir():
            raise RunError(f"{final}: is not a run folder, so it is not replaced; choose another --out")
        folder = free(final.with_name(f"{final.name}.unfinished")) if replaces else final
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return cls(folder, final)

    def finish(self) -> Path:
        """Put the finished run in its place; returns it."""
        if self.folder == self.final:
            return self.final
        old = free(self.final.with_name(f"{self.final.name}.old"))
        with disk_errors(self.final):
            os.replace(self.final, old)
            os.replace(self.folder, self.final)
            shutil.rmtree(old)
        return self.final


def short(source: str) -> str:
    """A source's name as part of a folder's."""
    name = re.sub(r"[^\w.-]+", "-", Path(source).name.split(".")[0] or "data").strip("-.") or "data"
    return name[:60]


def free(path: Path) -> Path:
    """The path itself, or with the first number that is not taken."""
    number, candidate = 1, path
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate
