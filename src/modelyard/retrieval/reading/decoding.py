"""Bytes to text: which files are binary, and the encoding of the others."""

from __future__ import annotations

from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE

FIRST_BLOCK = 8192
"""Bytes that are checked to recognise a binary file, as git does."""


def is_binary(content: bytes) -> bool:
    """Whether a file is no text: its first block has a NUL, and is neither PDF nor UTF-16."""
    block = content[:FIRST_BLOCK]
    return b"\0" in block and not block.startswith((b"%PDF-", BOM_UTF16_LE, BOM_UTF16_BE))


def decode(content: bytes, *, errors: str = "replace") -> str:
    """The text of a file, in UTF-8, or in UTF-16 with a byte order mark.

    Lines end at `\\n` and nowhere else; in a file that has only `\\r`, as old Macs wrote them, each
    `\\r` becomes `\\n`. Broken characters become `�`, or raise UnicodeDecodeError with
    errors="strict".
    """
    if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        text = content.decode("utf-16", errors)
    else:
        text = content.removeprefix(BOM_UTF8).decode("utf-8", errors)
    return text if "\n" in text else text.replace("\r", "\n")


def has_broken_characters(content: bytes) -> bool:
    """Whether a text file has bytes that are no characters of its encoding."""
    if is_binary(content) or content.startswith(b"%PDF-"):
        return False
    try:
        decode(content, errors="strict")
    except UnicodeDecodeError:
        return True
    return False
