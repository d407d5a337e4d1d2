"""The most main memory that a process has held. Does not import torch."""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def peak_memory_bytes(process: str = "self") -> int:
    """The most that a running process, by number, or this one has held so far, in bytes.

    Linux says it of the program that runs now. The `ru_maxrss` of getrusage(2), taken for `self`
    where there is no /proc, also counts what the parent held when it started this process.
    Raises OSError when there is no such process, ValueError when it has ended.
    """
    status = Path("/proc") / process / "status"
    if status.exists() or process != "self":
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise ValueError(f"process {process} holds no memory")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
