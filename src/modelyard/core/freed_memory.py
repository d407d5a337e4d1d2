"""Giving freed memory back to the system before what needs memory of other sizes.

glibc keeps the memory of freed objects for the next ones of their size, so what comes after a stage
with other sizes takes its memory on top. Sources: malloc_trim(3), mallopt(3).
"""

from __future__ import annotations

import ctypes
import gc

_LARGE_BYTES = 16 << 20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def return_freed_memory() -> None:
    """Free what only cycles hold, and give all that is free to the system; see `trim_heap`."""
    gc.collect()
    trim_heap()


def trim_heap() -> None:
    """Give to the system what the C library holds of freed memory; does nothing without glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))


def map_large_blocks(least_bytes: int = _LARGE_BYTES) -> None:
    """Let each block of 16 MB and more have memory of its own, given back when it is freed.

    least_bytes: the size from which on, where it is not 16 MB.

    Otherwise glibc puts blocks of up to 32 MB between others, where the next ones, of other sizes,
    find no room. Costs time: the system fills memory with zeros. Does nothing without glibc.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_M_MMAP_THRESHOLD, least_bytes)
        set_option(_M_TRIM_THRESHOLD, 2 * least_bytes)  # no longer chosen once the other is set
