"""Giving freed memory back to the system before a stage that needs its own.

glibc keeps the memory of freed objects for the next ones of their size, so what comes after a stage
with other sizes takes its memory on top. Source: malloc_trim(3).
"""

from __future__ import annotations

import ctypes
import gc


def return_freed_memory() -> None:
    """Free what only cycles hold and give it to the system; only the first without glibc."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))
