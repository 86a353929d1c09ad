"""A thread whose floating point flushes denormal numbers to zero.

On real images some weights get almost no gradient, Adam's second moments decay into denormal numbers from the second
epoch on, and an optimiser step takes several times as long. Flushing is a property of each thread and is inherited by
the workers it starts, so it must be set in a fresh thread before its first parallel operation; the caller's own thread
is left as it was.

A second thread with workers of its own has a price: once more workers exist than processors, GNU's OpenMP lets them
sleep between operations, and waking them halves the speed of a small network. So the caller's idle workers are
dismissed first; OpenMP starts new ones when the caller needs them again.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

Result = TypeVar("Result")

_WORTH_TWO_THREADS = 2**25
"""Multiplications in a forward pass of one batch; measured on two cores, where 4e7 are still even and 5e7 gain a quarter."""

_PAUSE_HARD = 2
"""omp_pause_hard of OpenMP 5.0: the threads end."""


def run_flushed(work: Callable[[threading.Event], Result], threads: int | None = None) -> Result:
    """Call `work(stop)` in such a thread, with `threads` OpenMP threads; return its result or raise its exception.

    An interrupt (Ctrl-C) while the main thread waits sets `stop`; KeyboardInterrupt is raised when `work` has ended.
    """
    stop = threading.Event()
    result: list[Result] = []
    failure: list[BaseException] = []

    def body() -> None:
        torch.set_flush_denormal(True)
        before = torch.get_num_threads()
        torch.set_num_threads(threads or before)
        try:
            result.append(work(stop))
        except BaseException as error:
            failure.append(error)
        finally:
            torch.set_num_threads(before)

    dismiss_workers()
    thread = threading.Thread(target=body, name="vaekit-fit", daemon=True)
    with _interrupts_stop(stop):
        thread.start()
        thread.join()
    if failure:
        raise failure[0]
    if stop.is_set():
        raise KeyboardInterrupt
    return result[0]


@contextmanager
def _interrupts_stop(stop: threading.Event) -> Iterator[None]:
    """Let Ctrl-C set `stop` and nothing more: before Python 3.13 an interrupted `join` takes a live thread for dead."""
    ours = threading.current_thread() is threading.main_thread() and (
        signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        signal.signal(signal.SIGINT, lambda _number, _frame: stop.set())
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def threads_for(model: nn.Module, batch_size: int) -> int | None:
    """One thread for a fully connected network so small that a second gains nothing; None leaves the number alone.

    Threads wait for each other after every operation. On a machine that is busy elsewhere that wait can take ten
    milliseconds, where the whole step of such a network takes four.
    """
    convolves = any(isinstance(m, nn.Conv2d) for m in model.modules())
    multiplications = batch_size * sum(p.numel() for p in model.parameters())
    return 1 if not convolves and multiplications < _WORTH_TWO_THREADS else None


def dismiss_workers() -> bool:
    """End the idle OpenMP workers of the calling thread; False where torch does not run on GNU's OpenMP."""
    for library in (Path(torch.__file__).parent / "lib").glob("libgomp*.so*"):
        try:
            gomp = ctypes.CDLL(str(library), mode=os.RTLD_NOLOAD)
            return bool(gomp.omp_pause_resource_all(_PAUSE_HARD) == 0)
        except (OSError, AttributeError):
            continue
    return False
