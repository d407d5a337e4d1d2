"""Reading the chunks of one file, with words in place of tokens."""

from __future__ import annotations

from collections.abc import Sequence

from modelyard.configs.kinds.embedding_models import IndexSettings
from modelyard.retrieval.chunk import Chunk
from modelyard.retrieval.reading.chunks import read_chunks
from modelyard.retrieval.reading.decoding import decode

NAMES = [
    "a.md",
    "a.rst",
    "a.py",
    "a.sh",
    "a.js",
    "a.ts",
    "a.tsx",
    "a.go",
    "a.rs",
    "a.java",
    "a.c",
    "a.cpp",
    "a.cs",
    "a.kt",
    "a.rb",
    "a.php",
    "a.swift",
    "a.lua",
    "a.scala",
    "a.sql",
    "a.tf",
    "a.proto",
    "a.yaml",
    "a.json",
    "a.toml",
    "a.html",
    "a.ipynb",
    "a.pdf",
    "a.log",
    "a.prom",
    "a.csv",
    "a.jsonl",
    "a.txt",
    "Makefile",
    "openapi.yaml",
]


def count_words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) + 2 for text in texts]


def read(text: str | bytes, name: str, chunker: str = "auto", tokens: int = 220) -> list[Chunk]:
    chosen = IndexSettings(description="x", sources=("**",), chunker=chunker, chunk_tokens=tokens)
    content = text.encode() if isinstance(text, str) else text
    return read_chunks(content, name, chosen, count_words)


def check_lines(content: bytes, chunks: list[Chunk]) -> None:
    """Every chunk stands on its lines, word for word."""
    lines = [line.removesuffix("\r") for line in decode(content).split("\n")]
    for chunk in chunks:
        assert 1 <= chunk.first_line <= chunk.last_line <= len(lines)
        there = "\n".join(lines[chunk.first_line - 1 : chunk.last_line])
        assert "****" in chunk.text or chunk.text in there


def small_pdf(text: str) -> bytes:
    """A PDF of one page, written by hand."""
    stream = f"BT /F1 12 Tf 20 100 Td ({text}) Tj ET".encode()
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 200]/Contents 4 0 R"
        b"/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    content, places = b"%PDF-1.4\n", []
    for number, item in enumerate(objects, 1):
        places.append(len(content))
        content += b"%d 0 obj%s endobj\n" % (number, item)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    ending = b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (size, len(content))
    return content + b"xref\n0 %d\n0000000000 65535 f \n" % size + table + ending
