"""The chunks of a file: chooses the reader for the file, and removes secrets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import PurePosixPath
from typing import BinaryIO

from modelyard.configs.kinds.embedding_models import IndexSettings
from modelyard.retrieval.chunk import Chunk
from modelyard.retrieval.reading.code import code_pieces, is_makefile, makefile_pieces
from modelyard.retrieval.reading.decoding import declared_no_encoding, decode, is_binary
from modelyard.retrieval.reading.encoded_bytes import encoded_spans
from modelyard.retrieval.reading.grammars import GRAMMARS, grammar_of
from modelyard.retrieval.reading.keys import key_pieces, openapi_pieces
from modelyard.retrieval.reading.logs import read_log
from modelyard.retrieval.reading.markdown import markdown_pieces
from modelyard.retrieval.reading.metrics import read_json_lines, read_prometheus, read_table
from modelyard.retrieval.reading.notebooks import BrokenNotebook, Redact, read_notebook
from modelyard.retrieval.reading.pages import read_page, read_pages
from modelyard.retrieval.reading.protobuf import proto_pieces
from modelyard.retrieval.reading.restructured_text import rst_pieces
from modelyard.retrieval.reading.splitting import (
    CountTokens,
    Piece,
    TextDocument,
    make_document,
    paragraph_pieces,
    split_into_chunks,
)
from modelyard.secrets.detection import redact_secrets

_KEY_LANGUAGES = {
    ".yaml": "yaml",
    ".yml": "yaml",
    ".json": "json",
    ".toml": "toml",
    ".ini": "toml",
    ".cfg": "toml",
}
_MARKDOWN = (".md", ".markdown", ".mdx")
_RST = (".rst", ".rest")
_PAGES = (".html", ".htm", ".xhtml")
_TABLES = {".csv": ",", ".tsv": "\t"}


def reads_as_log(shown_path: str, settings: IndexSettings) -> bool:
    """Whether a file is read as a log: every file in an index of logs, else by its name."""
    name = PurePosixPath(shown_path).name.lower()
    by_name = name.endswith(".log") or ".log." in name
    return settings.chunker == "logs" or (settings.chunker == "auto" and by_name)


def read_chunks(
    content: bytes | BinaryIO,
    shown_path: str,
    settings: IndexSettings,
    count_tokens: CountTokens,
    *,
    report: Callable[[str], None] = lambda _: None,
    file_written: datetime | None = None,
) -> list[Chunk]:
    """The chunks of one file, in the order of their lines; any bytes give some or none.

    content: a log may be given as an open file, and is then read block by block.
    report: called with the reason when something of the file is left out.
    file_written: when the file was last changed, for times in a log without a year; default: now.
    Lines of a PDF are the numbers of its pages. A file that is binary has no chunks.
    """
    limit, name = settings.chunk_tokens, PurePosixPath(shown_path)
    redact = _redact if settings.redact else _as_it_is
    ending = name.suffix.lower()
    if reads_as_log(shown_path, settings):
        if isinstance(content, bytes):
            content = BytesIO(decode(content).encode("utf-8", "replace"))
        return read_log(
            content,
            limit=limit,
            redact=settings.redact,
            count_tokens=count_tokens,
            file_written=file_written or datetime.now(UTC),
        )
    if not isinstance(content, bytes):
        content = content.read()
    if is_binary(content):
        return []
    if content.startswith(b"%PDF-"):
        chunks = _pdf_chunks(content, settings, count_tokens, redact)
        if not chunks:
            report("PDF without text")
        return chunks
    if ending == ".pdf":
        report("not a PDF")
        return []
    if codec := declared_no_encoding(content):
        report(f"declares {codec}, which is no encoding of text: read as UTF-8")
    text = decode(content)
    if ending == ".ipynb" and settings.chunker in ("auto", "code", "markdown"):
        try:
            chunks = read_notebook(text, settings.chunk_tokens, count_tokens, redact)
        except BrokenNotebook as error:
            report(str(error))
            return []
    elif ending in _PAGES and settings.chunker in ("auto", "markdown", "paragraphs"):
        chunks = _page_chunks(text, settings, count_tokens, redact)
    else:
        text = redact(text, quoted_only=_is_code(ending))
        document = make_document(text, limit, count_tokens)
        chunks = _figures(document, ending, settings.chunker, report)
        chunks = chunks or split_into_chunks(
            document, _pieces(document, settings.chunker, name, ending)
        )
    if not chunks and text.strip():
        report("no words in it")
    return chunks


def _pieces(
    document: TextDocument, chunker: str, name: PurePosixPath, ending: str
) -> Iterator[Piece]:
    """The pieces of a text file, by the chunker where it fits, else by the kind of file."""
    language = _KEY_LANGUAGES.get(ending)
    grammar = grammar_of(ending, document.lines[0])
    if chunker == "paragraphs":
        return paragraph_pieces(document)
    if ending in _RST:
        return rst_pieces(document)
    if chunker == "markdown" or ending in _MARKDOWN:
        return markdown_pieces(document)
    if ending == ".proto":
        return proto_pieces(document)
    if is_makefile(name.name):
        return makefile_pieces(document)
    if language and chunker in ("auto", "openapi", "code", "shell", "metrics"):
        return openapi_pieces(document, language)
    if language or chunker in ("keys", "openapi"):
        return key_pieces(document, language or "yaml")
    if grammar is None and chunker == "shell":
        grammar = GRAMMARS["shell"]
    return code_pieces(document, grammar) if grammar else paragraph_pieces(document)


def _figures(
    document: TextDocument, ending: str, chunker: str, report: Callable[[str], None]
) -> list[Chunk]:
    """The series of a file of figures; [] when it has none."""
    if chunker not in ("auto", "metrics"):
        return []
    if ending in _TABLES:
        return read_table(document.text, _TABLES[ending])
    if chunker == "metrics" and ending in (".jsonl", ".ndjson"):
        return read_json_lines(document.lines)
    if ending != ".prom" and (chunker != "metrics" or ending not in ("", ".txt", ".metrics")):
        return []
    chunks, unknown = read_prometheus(document.lines)
    if chunks and unknown:
        report("lines that are no samples")
    return chunks


def _redact(text: str, *, quoted_only: bool = False) -> str:
    """The text with `****` for secrets, and for encoded bytes, which are looked for first."""
    return redact_secrets(text, quoted_only=quoted_only, also=encoded_spans(text))


def _as_it_is(text: str, *, quoted_only: bool = False) -> str:
    return text


def _is_code(ending: str) -> bool:
    """Whether a value without quotes is an expression, and `#` or `//` begins a comment."""
    if ending == ".proto":
        return True
    grammar = grammar_of(ending, "")
    return grammar is not None and grammar.name not in ("shell", "sql", "lua", "hcl")


def _page_chunks(
    text: str, settings: IndexSettings, count_tokens: CountTokens, redact: Redact
) -> list[Chunk]:
    """The sections of an HTML page; their lines are those of its source."""
    chunks: list[Chunk] = []
    for title, blocks in read_page(text, redact):
        words = "\n".join(said for _, said in blocks)
        document = make_document(words, settings.chunk_tokens, count_tokens)
        piece = Piece(
            start=0,
            end=len(document.lines),
            title=title,
            kind="section",
            facts={"language": "html"},
        )
        chunks.extend(
            replace(
                chunk,
                first_line=blocks[chunk.first_line - 1][0],
                last_line=blocks[chunk.last_line - 1][0],
            )
            for chunk in split_into_chunks(document, [piece])
        )
    return chunks


def _pdf_chunks(
    content: bytes, settings: IndexSettings, count_tokens: CountTokens, redact: Redact
) -> list[Chunk]:
    chunks: list[Chunk] = []
    for page, text in read_pages(content):
        text = redact(text.encode("utf-8", "replace").decode())
        document = make_document(text, settings.chunk_tokens, count_tokens)
        chunks.extend(
            replace(chunk, first_line=page, last_line=page, facts={"page": str(page)})
            for chunk in split_into_chunks(document, paragraph_pieces(document))
        )
    return chunks
