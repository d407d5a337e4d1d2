"""Giving freed memory back to the system before what needs memory of other sizes.

glibc keeps the memory of freed objects for the next ones of their size, so what comes after a stage
with other sizes takes its memory on top. Source: malloc_trim(3).
"""

from __future__ import annotations

import ctypes
import gc


def return_freed_memory() -> None:
    """Free what only cycles hold, and give all that is free to the system; see `trim_heap`."""
    gc.collect()
    trim_heap()


def trim_heap() -> None:
    """Give to the system what the C library holds of freed memory; does nothing without glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))
