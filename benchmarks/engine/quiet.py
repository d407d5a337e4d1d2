"""Whether the machine was quiet: what other processes computed while one was measured."""

from __future__ import annotations

import psutil

_DISTURBED = 0.05
"""The share of the measured process's own CPU time from which others count as a disturbance."""


class CpuWatch:
    """CPU seconds of one process, and of all others, during a block."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.own_s = 0.0
        self.others_s = 0.0

    def __enter__(self) -> CpuWatch:
        self._began = self._read()
        return self

    def __exit__(self, *_: object) -> None:
        own, every = self._read()
        self.own_s = own - self._began[0]
        self.others_s = max(0.0, every - self._began[1] - self.own_s)

    def _read(self) -> tuple[float, float]:
        """CPU seconds so far: of the process, and of the machine with the time others stole."""
        own, every = self._process.cpu_times(), psutil.cpu_times()
        idle = every.idle + getattr(every, "iowait", 0.0)
        guest = getattr(every, "guest", 0.0) + getattr(every, "guest_nice", 0.0)
        return own.user + own.system, sum(every) - idle - guest

    def warning(self) -> str:
        """A remark for the log when others computed too."""
        if self.others_s <= _DISTURBED * self.own_s:
            return ""
        return f" (disturbed: {self.own_s:.1f} s of CPU, others {self.others_s:.1f} s)"
