"""The command's process keeps the memory that a training step frees; the user's own settings stand."""

import ctypes
import os
import subprocess
import sys

import pytest

from vaekit.cli import allocator

pytestmark = pytest.mark.skipif(not allocator._is_glibc(), reason="glibc's allocator")

BOOKS = """
import ctypes, threading
import torch
from vaekit.cli.allocator import keep_memory
print(keep_memory())
names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
Info = type("Info", (ctypes.Structure,), {"_fields_": [(name, ctypes.c_size_t) for name in names]})
books = ctypes.CDLL(None).mallinfo2
books.restype = Info
def train():
    mapped = books().hblkhd
    blocks = [torch.zeros(6_000_000) for _ in range(20)]
    print(books().hblkhd - mapped)
    del blocks
    print(books().fordblks)
thread = threading.Thread(target=train)
thread.start()
thread.join()
"""


def run(code, **settings):
    """The lines that a fresh process prints."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=plain | settings, check=True
    )
    return done.stdout.split()


def test_a_training_thread_keeps_the_memory_that_it_frees():
    """Twenty blocks of 24 MB, by glibc's own books: none is mapped by itself, all are still there when they are free.

    Page faults would show it less surely: a kernel takes pages from a process that waits, and where nothing is set the
    C library keeps some blocks too.
    """
    if not hasattr(ctypes.CDLL(None), "mallinfo2"):
        pytest.skip("glibc before 2.33 keeps no such books")
    said, mapped, free = run(BOOKS)
    assert said == "True"
    assert int(mapped) == 0
    assert int(free) >= 20 * 24_000_000


@pytest.mark.parametrize("setting", [{"MALLOC_ARENA_MAX": "2"}, {"GLIBC_TUNABLES": "glibc.malloc.arena_max=2"}])
def test_a_setting_of_the_user_is_left_alone(setting):
    said, *_ = run(BOOKS, **setting)
    assert said == "False"


def test_only_a_process_of_the_command_is_set(monkeypatch):
    """A program that calls `main` with arguments keeps its own allocator."""
    from vaekit.cli import main as command

    asked = []
    monkeypatch.setattr(command, "keep_memory", lambda: asked.append(True))
    assert command.main(["--version"]) == 0
    assert not asked
    monkeypatch.setattr(sys, "argv", ["vaekit", "--version"])
    assert command.main() == 0
    assert asked == [True]
