"""The command's process keeps the memory that a training step frees; the user's own settings stand."""

import os
import subprocess
import sys

import pytest

from vaekit.cli import allocator

pytestmark = pytest.mark.skipif(not allocator._is_glibc(), reason="glibc's allocator")

FAULTS = """
import resource, sys, threading
import torch
from vaekit.cli.allocator import keep_memory
print(keep_memory() if sys.argv[1] == "kept" else None)
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def step():
    blocks = [torch.zeros(4_000_000) for _ in range(6)]
def train():
    for _ in range(3):
        step()
    before = faults()
    for _ in range(10):
        step()
    print(faults() - before)
thread = threading.Thread(target=train)
thread.start()
thread.join()
"""


def run(code, *arguments, **settings):
    """The lines that a fresh process prints."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=plain | settings, check=True
    )
    return done.stdout.split()


def test_steps_of_a_training_thread_ask_the_kernel_for_no_more_pages():
    """Six blocks of 16 MB a step: their pages are cleared anew at each step, or never again."""
    said, kept = run(FAULTS, "kept")
    _, given_back = run(FAULTS, "plain")
    assert said == "True"
    assert int(given_back) > 10 * int(kept)  # not none at all: a kernel may take pages from a process that waits


@pytest.mark.parametrize("setting", [{"MALLOC_ARENA_MAX": "2"}, {"GLIBC_TUNABLES": "glibc.malloc.arena_max=2"}])
def test_a_setting_of_the_user_is_left_alone(setting):
    said, _ = run(FAULTS, "kept", **setting)
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
