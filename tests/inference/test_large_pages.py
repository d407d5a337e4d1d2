"""Which pages a tensor lies in changes nothing in it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch

from modelyard.inference.pages import (
    gather_in_large_pages,
    zeros_in_large_pages,
    zeros_in_small_pages,
)

SIZE = (3, 1 << 20)


def large_page_kb(address: int) -> int:
    """How much of the mapping that holds an address lies in large pages."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if bounds := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(bounds[1], 16) <= address < int(bounds[2], 16)
        elif inside and line.startswith("AnonHugePages:"):
            return int(line.split()[1])
    return 0


def test_what_was_gathered_is_what_it_was() -> None:
    held = torch.arange(5 << 20, dtype=torch.int32)
    wanted = held.clone()
    gather_in_large_pages(held.data_ptr(), held.nbytes)
    gather_in_large_pages(held.data_ptr(), 100)
    assert torch.equal(held, wanted)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_small_pages_stay_small_and_both_begin_as_zeros() -> None:
    small, pages = zeros_in_small_pages(SIZE, torch.float32)
    large = zeros_in_large_pages(SIZE, torch.float32)
    assert len(pages) == small.nbytes == large.nbytes
    assert not small.any() and not large.any()
    for tensor in (small, large):
        tensor.fill_(1.0)
    assert large_page_kb(small.data_ptr()) == 0
    assert bool((small == 1).all()) and bool((large == 1).all())
