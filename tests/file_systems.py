"""File systems that lack something: real ones where they can be mounted, and stand-ins.

A stand-in is this machine's file system whose system calls refuse what exFAT or vfat do not know.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest


def refuse(monkeypatch: pytest.MonkeyPatch, call: str, number: int) -> None:
    """Let a system call of `os`, such as `link`, fail as on a file system that does not know it."""

    def refused(*arguments: Any, **options: Any) -> None:
        raise OSError(number, os.strerror(number), *map(str, arguments[:1]))

    monkeypatch.setattr(os, call, refused)


def without_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """As exFAT: no symbolic links, no hard links."""
    refuse(monkeypatch, "symlink", errno.ENOSYS)
    refuse(monkeypatch, "link", errno.EPERM)


@contextmanager
def mounted_exfat(place: Path, size_bytes: int = 32 << 20) -> Iterator[Path]:
    """An exFAT disk at `place`; skips the test where none can be made and mounted."""
    needed = ("mkfs.exfat", "losetup", "umount")
    if lacking := [name for name in needed if shutil.which(name) is None]:
        pytest.skip(f"an exFAT disk needs {', '.join(lacking)}")
    image = place.with_name(f"{place.name}.image")
    with image.open("wb") as stream:
        stream.truncate(size_bytes)
    with ExitStack() as undone:
        _try("mkfs.exfat", image)
        device = _try("losetup", "--find", "--show", image).strip()
        undone.callback(subprocess.run, ["losetup", "--detach", device], check=True)
        place.mkdir()
        if shutil.which("mount.exfat-fuse"):
            _try("mount.exfat-fuse", device, place)
        else:
            _try("mount", "-t", "exfat", device, place)
        undone.callback(subprocess.run, ["umount", "-l", str(place)], check=True)
        yield place


def _try(*words: str | Path) -> str:
    ended = subprocess.run([*map(str, words)], check=False, capture_output=True, text=True)
    if ended.returncode != 0:
        pytest.skip(f"an exFAT disk cannot be mounted here: {words[0]}: {ended.stderr.strip()}")
    return ended.stdout
