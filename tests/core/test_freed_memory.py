from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard.core.freed_memory import return_freed_memory

STATUS = Path("/proc/self/status")
LIBC_IS_OTHER = not hasattr(ctypes.CDLL(None), "malloc_trim")


def resident_bytes() -> int:
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(not STATUS.exists() or LIBC_IS_OTHER, reason="needs glibc")
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


FREED = """
import sys
from modelyard.core.freed_memory import map_large_blocks

def resident_bytes():
    (line,) = (line for line in open("/proc/self/status") if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024

del [bytearray(b"x" * (24 << 20))][0]  # glibc would put the next ones of this size into the heap
if sys.argv[1:]:
    map_large_blocks()
block = [bytearray(b"x" * (24 << 20))]
above = [bytearray(50_000) for _ in range(40)]
before = resident_bytes()
block.clear()
print(before - resident_bytes())
"""


@pytest.mark.skipif(not STATUS.exists() or LIBC_IS_OTHER, reason="needs glibc")
def test_a_large_block_below_what_is_still_used_goes_back_when_it_is_freed() -> None:
    def freed_bytes(*arguments: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", FREED, *arguments], capture_output=True, check=True, text=True
        )
        return int(done.stdout)

    assert freed_bytes("map") > 20_000_000 > freed_bytes()
