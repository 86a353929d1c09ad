"""Rows of an evaluation shared out among threads, each of which computes alone.

The products of a small network over one chunk of draws are too short to be divided: two threads that do every product
together were measured to take 0.8 of one thread's time, two that take a chunk each little more than half.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Result = TypeVar("Result")


def shared_out(work: Callable[[slice], Result], rows: int, size: int, threads: int) -> list[Result]:
    """`work(rows)` for consecutive rows, `size` at a time, by so many threads; the results in order.

    `work` must need no random number of torch's own generator, which threads would take in any order. No gradients are kept.
    """
    parts = [slice(start, min(start + size, rows)) for start in range(0, rows, size)]
    if threads == 1 or len(parts) == 1:
        return [work(part) for part in parts]

    @torch.no_grad()
    def alone(part: slice) -> Result:
        torch.set_num_threads(1)  # of this thread; MKL's is everybody's
        return work(part)

    with _threads_restored(), ThreadPoolExecutor(min(threads, len(parts)), "vaekit-rows") as pool:
        waiting = [pool.submit(alone, part) for part in parts]
        try:
            return [future.result() for future in waiting]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def _threads_restored() -> Iterator[None]:
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
