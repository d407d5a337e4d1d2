"""Batches of ever new sizes do not fill the memory with kernels that were compiled for them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from modelyard.inference import KERNEL_CACHES

MULTIPLY = """
import modelyard.inference.machine
import torch

def held_bytes():
    with open("/proc/self/status") as status:
        return [int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon")][0]

torch.set_num_threads(1)
weight = torch.ones(96, 64, dtype=torch.bfloat16)
for tokens in range(300, 450):
    x = torch.ones(tokens, 64, dtype=torch.bfloat16)
    y = x @ weight.t()
    y @ weight, y.t() @ x
    if tokens == 350:
        before = held_bytes()
print(held_bytes() - before)
"""


def grown_bytes() -> int:
    """How much memory a process gains by 300 products, each of a shape of its own."""
    kept = {name: value for name, value in os.environ.items() if name not in KERNEL_CACHES}
    ended = subprocess.run(
        [sys.executable, "-c", MULTIPLY], env=kept, check=True, capture_output=True
    )
    return int(ended.stdout)


def test_kernels_of_earlier_shapes_are_let_go() -> None:
    pytest.importorskip("torch", reason="needs torch")
    assert grown_bytes() < 60_000_000


def test_a_person_may_keep_more() -> None:
    environment = dict.fromkeys(KERNEL_CACHES, "1024")
    kept = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os, modelyard.inference; "
            f"print([os.environ[name] for name in {KERNEL_CACHES!r}])",
        ],
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
    )
    assert kept.stdout.strip() == "['1024', '1024']"
