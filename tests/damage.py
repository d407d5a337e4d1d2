"""Damage to files, as a bad disk makes it."""

from __future__ import annotations

from pathlib import Path


def flip_last_bit(path: Path) -> None:
    """Change the last bit of a file; a read-only file becomes writable."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)
