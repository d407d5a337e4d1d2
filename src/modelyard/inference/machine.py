"""What this machine is, found by looking: device, threads, memory, and which precision is fast.

A CPU without bf16 instructions computes in bf16 several times slower than in fp32, and a flag name
does not tell; so a matrix product of a model's size is timed once in each precision.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil
import torch

from modelyard.core.processor import cpu_name
from modelyard.core.wording import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The facts that defaults are chosen by."""

    device: str
    """`cuda` or `cpu`."""
    name: str
    """The processor's or the GPU's own name."""
    threads: int
    """CPU cores this process may use."""
    memory_bytes: int
    """Memory of the machine (cgroup limit included)."""
    memory_free_bytes: int
    """Memory that can still be taken."""
    device_memory_bytes: int | None
    """Memory of the GPU; None on a CPU."""
    fp32_gflops: float
    """Measured speed of a matrix product in fp32 (on a CPU: of one thread)."""
    bf16_gflops: float
    """Measured speed of the same product in bf16."""

    @property
    def usable_bytes(self) -> int:
        """Memory that the model can take: the GPU's, or what is free."""
        return self.device_memory_bytes or self.memory_free_bytes

    @property
    def precision(self) -> str:
        """The faster of `bf16` and `fp32` here."""
        return "bf16" if self.bf16_gflops > self.fp32_gflops else "fp32"

    def describe(self) -> str:
        """One line for cards and logs, such as `cpu · 2 threads · 24 GB · AMD EPYC`."""
        memory = self.device_memory_bytes or self.memory_bytes
        threads = counted(self.threads, "thread")
        return f"{self.device} · {threads} · {memory / 1e9:.0f} GB · {self.name}"


def device_name() -> str:
    """`cuda` or `cpu`: what models are computed on here."""
    return "cuda" if torch.cuda.is_available() else "cpu"


@cache
def probe_machine() -> Machine:
    """Look at this machine once; takes well under a second."""
    threads = usable_threads()
    # One thread: with two, a busy machine makes either type look ten times slower by chance.
    torch.set_num_threads(1)
    fp32_gflops, bf16_gflops = measure_matmul_gflops([torch.float32, torch.bfloat16])
    torch.set_num_threads(threads)
    device = device_name()
    cuda = device == "cuda"
    memory = psutil.virtual_memory()
    limit = _cgroup_limit_bytes() or memory.total
    return Machine(
        device=device,
        name=torch.cuda.get_device_name() if cuda else cpu_name(),
        threads=threads,
        memory_bytes=min(memory.total, limit),
        memory_free_bytes=min(memory.available, limit),
        device_memory_bytes=torch.cuda.get_device_properties(0).total_memory if cuda else None,
        fp32_gflops=fp32_gflops,
        bf16_gflops=bf16_gflops,
    )


def usable_threads() -> int:
    """CPU cores this process may run on: affinity and `OMP_NUM_THREADS` respected."""
    allowed = len(os.sched_getaffinity(0))
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(allowed, int(asked)) if asked.isdigit() and int(asked) > 0 else allowed


def measure_matmul_gflops(
    dtypes: Sequence[torch.dtype],
    *,
    shape: tuple[int, int, int] = (512, 1024, 1024),
    repeats: int = 8,
) -> list[float]:
    """Best of interleaved timings of `[m, k] x [k, n]`, in 10^9 operations a second for each type.

    Uses the threads that torch is set to.
    """
    m, k, n = shape
    device = device_name()
    pairs = [
        (torch.ones(m, k, dtype=dtype, device=device), torch.ones(n, k, dtype=dtype, device=device))
        for dtype in dtypes
    ]
    best_s = [float("inf")] * len(pairs)
    for _ in range(repeats):
        for place, (left, right) in enumerate(pairs):
            started = time.perf_counter()
            torch.nn.functional.linear(left, right)
            if device == "cuda":
                torch.cuda.synchronize()
            best_s[place] = min(best_s[place], time.perf_counter() - started)
    return [2 * m * k * n / seconds / 1e9 for seconds in best_s]


def _cgroup_limit_bytes() -> int | None:
    try:
        text = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
