"""Bytes to text: which files are binary, and the encoding of the others."""

from __future__ import annotations

import codecs
import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE

_DECLARED = re.compile(
    rb"(?:[ \t\f]*#.*?coding[:=]|.*-\*-.*coding[:=])[ \t]*([-_.a-zA-Z0-9]{1,40})"
)
"""PEP 263's form, which contains those of Vim and Emacs; and Emacs' in any comment."""
_LONGEST_LINE = 300
_BLANK = re.compile(rb"[ \t\f]*(?:[#/;%<.*-].*)?\r?")
_FAMILIES = (
    "iso8859",
    "iso2022",
    "cp",
    "koi8",
    "mac",
    "euc",
    "shift_jis",
    "gb",
    "big5",
    "johab",
    "tis-620",
)
"""How the names of encodings begin that a line may declare: those that were used for text."""

_NO_ENCODINGS = frozenset(("rot-13", "hex", "base64", "uu", "quopri", "zlib", "bz2"))
"""Codecs of Python's registry that make bytes of bytes or text of text."""

FIRST_BLOCK = 8192
"""Bytes that are checked to recognise a binary file, as git does."""


def is_binary(content: bytes) -> bool:
    """Whether a file is no text: its first block has a NUL, and is neither PDF nor UTF-16."""
    block = content[:FIRST_BLOCK]
    return b"\0" in block and not block.startswith((b"%PDF-", BOM_UTF16_LE, BOM_UTF16_BE))


def decode(content: bytes, *, errors: str = "replace") -> str:
    """The text of a file: UTF-8, UTF-16 with a byte order mark, or what a `coding:` line declares.

    Where a file is UTF-8 although it declares something else, it is read as UTF-8. Lines end at
    `\\n` and nowhere else; in a file that has only `\\r`, as old Macs wrote them, each `\\r`
    becomes `\\n`. Broken characters become `�`, or raise UnicodeDecodeError with errors="strict".
    """
    if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        text = content.decode("utf-16", errors)
    else:
        text = _decode_bytes(content.removeprefix(BOM_UTF8), errors)
    return text if "\n" in text else text.replace("\r", "\n")


def _decode_bytes(content: bytes, errors: str) -> str:
    declared = _declared_encoding(content)
    if declared.startswith("iso2022"):  # its bytes are all ASCII, and so UTF-8
        return content.decode(declared, errors)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode(declared or "utf-8", errors)


def _declared_encoding(content: bytes) -> str:
    """The encoding that a file declares, where it is one of those that were used for text."""
    name = _declared_codec(content)
    return name if name.startswith(_FAMILIES) else ""


def declared_no_encoding(content: bytes) -> str | None:
    """The codec that a file declares although it is no encoding of text, such as rot13."""
    name = _declared_codec(content)
    return name if name in _NO_ENCODINGS else None


def _declared_codec(content: bytes) -> str:
    """The codec that a comment in the first two lines declares, as PEP 263 says; or empty."""
    first, _, rest = content[:FIRST_BLOCK].partition(b"\n")
    for line in (first[:_LONGEST_LINE], rest.partition(b"\n")[0][:_LONGEST_LINE]):
        if declared := _DECLARED.match(line):
            try:
                return codecs.lookup(declared[1].decode()).name
            except LookupError:
                return ""
        if not _BLANK.fullmatch(line):
            return ""
    return ""


def has_broken_characters(content: bytes) -> bool:
    """Whether a text file has bytes that are no characters of its encoding."""
    if is_binary(content) or content.startswith(b"%PDF-"):
        return False
    try:
        decode(content, errors="strict")
    except UnicodeDecodeError:
        return True
    return False
