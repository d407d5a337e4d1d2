"""A yard with a small dataset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training_runs import flower_rows

from modelyard.core.layout import Yard


@pytest.fixture
def flowers(yard: Yard, write_jsonl: Callable[[Path, list[Any]], Path]) -> Yard:
    """The yard with a dataset of 24 rows to learn and 6 to judge with."""
    write_jsonl(yard.root / "datasets/flowers/train.jsonl", flower_rows(24))
    write_jsonl(yard.root / "datasets/flowers/eval.jsonl", flower_rows(6, start=100))
    return yard
