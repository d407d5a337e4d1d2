"""Bytes become text by the encoding that a file has or declares."""

from __future__ import annotations

import pytest

from chunk_reading import count_words, read
from modelyard.configs.kinds.embedding_models import IndexSettings
from modelyard.retrieval.reading.chunks import read_chunks
from modelyard.retrieval.reading.decoding import decode, has_broken_characters, is_binary


def test_encodings_are_known_and_broken_characters_counted() -> None:
    assert decode("é".encode("utf-16")) == "é"
    assert decode(b"\xef\xbb\xbfabc") == "abc"
    assert decode(b"a\xffb\xfe") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"
    assert has_broken_characters(b"a\xffb\xfe")
    assert is_binary(b"abc\0def")
    assert not is_binary("abc".encode("utf-16"))
    assert read(b"abc\0def", "a.txt") == []


@pytest.mark.parametrize(
    "line",
    [
        "# -*- coding: latin-1 -*-",
        "#!/usr/bin/python\n# coding=latin-1",
        "# vim: set fileencoding=iso-8859-1 :",
        "\n# coding: latin-1",
        "// -*- mode: c; coding: latin-1 -*-",
    ],
)
def test_a_declared_encoding_is_honoured(line: str) -> None:
    content = f'{line}\n\ndef café():\n    return "Grüße"\n'.encode("latin-1")
    assert not has_broken_characters(content)
    (*_, found) = read(content, "a.py")
    assert found.facts["symbol"] == "café" and "Grüße" in found.text


@pytest.mark.parametrize(
    "line",
    [
        "import x\n# coding: latin-1",
        "\n\n# coding: latin-1",
        "# coding: ascii-art",
        "# coding: utf-16",
        "# coding: rot13",
        "# coding: zlib",
    ],
)
def test_what_declares_no_encoding_of_texts_changes_none(line: str) -> None:
    assert has_broken_characters(f"{line}\n# Grüße\n".encode("latin-1"))
    assert decode(f"{line}\n# Grüße\n".encode()).endswith("Grüße\n")


@pytest.mark.parametrize("codec", ["rot-13", "hex", "base64"])
def test_what_is_declared_and_is_no_encoding_is_reported(codec: str) -> None:
    said: list[str] = []
    settings = IndexSettings(description="x", sources=("*",))
    content = f"# coding: {codec}\nsome words\n".encode()
    assert read_chunks(content, "a.py", settings, count_words, report=said.append)
    assert said == [f"declares {codec}, which is no encoding of text: read as UTF-8"]


def test_an_encoding_of_seven_bits_is_honoured_and_utf_8_is_never_misread() -> None:
    japanese = "# coding: iso-2022-jp\n# データ\n"
    assert decode(japanese.encode("iso-2022-jp")) == japanese
    assert decode("# coding: latin-1\n# Grüße\n".encode()).endswith("Grüße\n")


@pytest.mark.parametrize("name", ["a.md", "a.txt", "a.yaml", "a.log"])
def test_a_file_of_an_old_mac_has_lines(name: str) -> None:
    text = "one: first\rtwo: second\r\rthree: third\r"
    assert [item.text for item in read(text, name)] == [
        item.text for item in read(text.replace("\r", "\n"), name)
    ]
    assert read(text, name)
