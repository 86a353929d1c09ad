"""A C library that keeps its memory between two optimiser steps, for the process of the command line.

A step allocates and frees the same blocks again and again. glibc gives large ones back to the kernel each time, which must
clear every page anew: with many draws an example, that takes a fifth to a third of a step. How a whole process allocates
is for the process's owner to say, so the library never does this; where the user has said anything, neither does the
command.
"""

from __future__ import annotations

import ctypes
import os

_MMAP_THRESHOLD, _TRIM_THRESHOLD, _TOP_PAD, _ARENA_MAX = -3, -1, -2, -8
"""Parameters of glibc's mallopt, as malloc.h numbers them."""

_MIB = 2**20


def keep_memory() -> bool:
    """Set glibc's allocator to keep what is freed; False where there is another C library or the user has set it.

    One arena for all threads, because an arena other than the main one gives its heaps back whatever the thresholds say
    and training has a thread of its own; blocks up to 32 MiB, glibc's limit, from the heap; a heap that is trimmed when
    2 GiB of its end are free, and grows in steps of 64 MiB.
    """
    if not _is_glibc() or any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return False
    settings = (
        (_ARENA_MAX, 1),
        (_MMAP_THRESHOLD, 32 * _MIB),
        (_TRIM_THRESHOLD, 2048 * _MIB - 1),
        (_TOP_PAD, 64 * _MIB),
    )
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(parameter, value) == 1 for parameter, value in settings)


def _is_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, ValueError):  # Windows, another C library
        return False
