"""Tensors of a CPU in small pages of memory, which are taken and given back one by one, or large.

What is read whole in each step is read faster from pages of 2 MB than of 4 KB: the processor
remembers where few pages lie, and behind a hypervisor each look-up is a long one. What is written
bit by bit, and given back, takes less memory in small ones.
Source: Linux, Documentation/admin-guide/mm/transhuge.rst; madvise(2).
"""

from __future__ import annotations

import ctypes
import math
import mmap
import os
import sys
from contextlib import suppress

import torch
from torch import Tensor

_LARGE_PAGE = 2 << 20
_MADV_HUGEPAGE, _MADV_COLLAPSE = 14, 25  # mman.h of Linux; Python knows no name for the second


def zeros_in_small_pages(size: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, mmap.mmap]:
    """Zeros that take memory only as they are written, and that memory.

    torch's own are all written; numpy's lie in large pages.
    """
    pages = _map(math.prod(size) * dtype.itemsize)
    _advise(pages, "MADV_NOHUGEPAGE")
    return _tensor(pages, size, dtype), pages


def zeros_in_large_pages(size: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Zeros that take memory as they are written, in large pages where the system has them."""
    pages = _map(math.prod(size) * dtype.itemsize)
    _advise(pages, "MADV_HUGEPAGE")
    return _tensor(pages, size, dtype)


def gather_in_large_pages(address: int, size_bytes: int) -> None:
    """Move what lies at an address into large pages, some 3 ms a MB; nothing changes in it.

    Does nothing where the system cannot: before Linux 6.1 it does so later, by and by.
    """
    advise = getattr(ctypes.CDLL(None), "madvise", None)
    first = -(-address // _LARGE_PAGE) * _LARGE_PAGE
    end = (address + size_bytes) // _LARGE_PAGE * _LARGE_PAGE
    if sys.platform != "linux" or advise is None or end <= first:
        return
    for advice in (_MADV_HUGEPAGE, _MADV_COLLAPSE):
        advise(ctypes.c_void_p(first), ctypes.c_size_t(end - first), ctypes.c_int(advice))


def _map(size_bytes: int) -> mmap.mmap:
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if os.name == "posix" else {}
    return mmap.mmap(-1, size_bytes, **private)


def _advise(pages: mmap.mmap, name: str) -> None:
    if (advice := getattr(mmap, name, None)) is not None:
        with suppress(OSError):  # from a kernel without large pages
            pages.madvise(advice)


def _tensor(pages: mmap.mmap, size: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.frombuffer(pages, dtype=dtype, count=math.prod(size)).view(size)
