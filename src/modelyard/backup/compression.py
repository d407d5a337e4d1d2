"""Zstandard, bounded: what is stored cannot make a reader take more memory than it says."""

from __future__ import annotations

import threading

import zstandard

from modelyard.core.errors import ModelyardError

_LEVEL = 2
"""Weights become no smaller at 3, the default, which takes twice the time; indexes 1%, in a third
more."""
_KEPT = threading.local()


class DamagedData(ModelyardError):
    """Compressed bytes that cannot be decompressed, or to more than they should."""


def compress(data: bytes) -> bytes:
    """One Zstandard frame, with its size and a checksum; other threads run meanwhile."""
    if not hasattr(_KEPT, "compressor"):
        _KEPT.compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
    compressed: bytes = _KEPT.compressor.compress(data)
    return compressed


def decompress(data: bytes, *, most_bytes: int, where: str) -> bytes:
    """The bytes of one Zstandard frame.

    Raises DamagedData, which names it `where`, when it is damaged, or larger than `most_bytes`:
    before that much memory is taken.
    """
    try:
        size = zstandard.frame_content_size(data)
        if not 0 <= size <= most_bytes:
            raise DamagedData("is larger than it may be", where=where)
        if not hasattr(_KEPT, "decompressor"):
            _KEPT.decompressor = zstandard.ZstdDecompressor()
        plain: bytes = _KEPT.decompressor.decompress(
            data, max_output_size=most_bytes, allow_extra_data=False
        )
        return plain
    except zstandard.ZstdError as error:
        raise DamagedData("cannot be decompressed: it is damaged", where=where) from error
