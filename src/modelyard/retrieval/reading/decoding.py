"""Bytes to text: what is binary, which encoding it is, and how much of it was broken."""

from __future__ import annotations

from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from dataclasses import dataclass

FIRST_BLOCK = 8192
"""Bytes that are looked at to tell a binary file, as git does."""


@dataclass(frozen=True, slots=True)
class DecodedText:
    """A file's text."""

    text: str
    """Its characters; its lines end where `\\n` stands, and nowhere else.

    In a file that has only `\\r`, as old Macs wrote them, each of those has become `\\n`.
    """
    broken: int
    """How many characters could not be read, and stand there as `�`."""


def is_binary(content: bytes) -> bool:
    """Whether a file is no text: its first block holds a NUL, and is neither PDF nor UTF-16."""
    block = content[:FIRST_BLOCK]
    return b"\0" in block and not block.startswith((b"%PDF-", BOM_UTF16_LE, BOM_UTF16_BE))


def decode(content: bytes) -> DecodedText:
    """UTF-8, or UTF-16 where the file says so; never an error."""
    if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        encoding = "utf-16"
    else:
        encoding, content = "utf-8", content.removeprefix(BOM_UTF8)
    try:
        return DecodedText(_with_line_ends(content.decode(encoding)), 0)
    except UnicodeDecodeError:
        text = _with_line_ends(content.decode(encoding, "replace"))
        return DecodedText(text, text.count("\N{REPLACEMENT CHARACTER}"))


def _with_line_ends(text: str) -> str:
    return text if "\n" in text else text.replace("\r", "\n")


def has_broken_characters(content: bytes) -> bool:
    """Whether a text file is not wholly in an encoding that is known here."""
    if is_binary(content) or content.startswith(b"%PDF-"):
        return False
    return decode(content).broken > 0
