"""The peak of a process is its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from modelyard.core.peak_memory import peak_memory_bytes

CHILD = "from modelyard.core.peak_memory import *; print(peak_memory_bytes())"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux says it")
def test_a_process_that_a_large_one_starts_has_its_own_peak() -> None:
    held = bytearray(b"x" * 300_000_000)
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, check=True)
    assert int(done.stdout) < len(held) <= peak_memory_bytes()


def test_a_process_that_is_not_there_has_no_peak() -> None:
    with pytest.raises(OSError, match="No such file"):
        peak_memory_bytes("0")
