"""A disk of a test's own: small enough to fill, and its to make read-only."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest


@contextmanager
def mounted_disk(place: Path, size: str) -> Iterator[Path]:
    """A disk at `place`, of a size such as `2m`; skips the test without the right to mount."""
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(words, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("only root can mount a small disk")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def remount(disk: Path, mode: Literal["ro", "rw"]) -> None:
    """Make it read-only, or writable again."""
    subprocess.run(["mount", "-o", f"remount,{mode}", str(disk)], check=True)
