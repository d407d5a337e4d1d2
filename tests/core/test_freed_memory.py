from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from modelyard.core.freed_memory import return_freed_memory

STATUS = Path("/proc/self/status")


def resident_bytes() -> int:
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(
    not STATUS.exists() or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="needs glibc"
)
def test_memory_below_what_is_still_used_goes_back_to_the_system() -> None:
    pieces = [bytes([1]) * 100_000 for _ in range(1000)]
    last = pieces.pop()  # lies above the others: the C library alone gives back only from the top
    pieces.clear()
    before = resident_bytes()
    return_freed_memory()
    assert before - resident_bytes() > 80_000_000
    assert last


def test_objects_that_only_cycles_hold_are_freed() -> None:
    freed = []

    class Cyclic:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            freed.append(True)

    Cyclic()
    return_freed_memory()
    assert freed
