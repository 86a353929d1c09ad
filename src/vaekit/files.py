"""Writing files so that a reader never sees half of one, and errors of the disk in one line."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from vaekit.errors import StorageError


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an OSError into a StorageError that names the file and what to do."""
    try:
        yield
    except OSError as error:
        advice = {
            errno.ENOSPC: "the disk is full; free some space",
            errno.EDQUOT: "the disk quota is used up; free some space",
            errno.EACCES: "no permission; choose another place",
            errno.EROFS: "the file system is read-only; choose another place",
            errno.ENOTDIR: "part of the path is a file; choose another place",
            errno.EEXIST: "it is there already; choose another place",
        }.get(error.errno or 0, str(error))
        raise StorageError(f"{path}: cannot be written: {advice}") from error


def write_atomically(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to the disk, then put it in the place of `path`."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise


def check_writable(path: Path) -> None:
    """Raise StorageError where no file can be made in the folder of `path`, or where that folder would be made."""
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    with disk_errors(path), tempfile.TemporaryFile(dir=folder):
        pass


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_atomically(path, lambda file: file.write(text.encode()))


def write_json(path: Path, values: Any) -> None:
    """Write JSON values atomically, indented, with a newline at the end; NaN is refused, JSON has none."""
    write_text(path, json.dumps(values, indent=2, allow_nan=False) + "\n")
