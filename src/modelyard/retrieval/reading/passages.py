"""A file's passages: which reader it gets, with nothing secret left in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath
from typing import BinaryIO

from modelyard.configs.kinds.embedding_models import SearchDomain
from modelyard.retrieval.passage import Passage
from modelyard.retrieval.reading.code import code_pieces
from modelyard.retrieval.reading.decoding import decode, is_binary
from modelyard.retrieval.reading.grammars import GRAMMARS, Grammar, grammar_of
from modelyard.retrieval.reading.keys import key_pieces
from modelyard.retrieval.reading.lines import CountTokens, Document, Piece, cut, make_document
from modelyard.retrieval.reading.logs import read_log
from modelyard.retrieval.reading.makefile import is_makefile, makefile_pieces
from modelyard.retrieval.reading.markdown import markdown_pieces
from modelyard.retrieval.reading.metrics import read_json_lines, read_prometheus, read_table
from modelyard.retrieval.reading.openapi import openapi_pieces
from modelyard.retrieval.reading.paragraphs import paragraph_pieces
from modelyard.retrieval.reading.pdf import read_pages
from modelyard.retrieval.reading.web import read_page
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
_PAGES = (".html", ".htm", ".xhtml")
_TABLES = {".csv": ",", ".tsv": "\t"}


def reads_as_log(shown_path: str, settings: SearchDomain) -> bool:
    """Whether a file is read as a log: as all are in a domain of logs, else by its name."""
    name = PurePosixPath(shown_path).name.lower()
    by_name = name.endswith(".log") or ".log." in name
    return settings.chunker == "logs" or (settings.chunker == "auto" and by_name)


def read_passages(
    content: bytes | BinaryIO,
    shown_path: str,
    settings: SearchDomain,
    count_tokens: CountTokens,
    *,
    report: Callable[[str], None] = lambda _: None,
) -> list[Passage]:
    """The passages of one file, in the order of their lines; any bytes give some or none.

    content: a log may be given as an open file, and is then never held whole.
    report: called with the reason when something of the file is left out.
    Lines of a PDF are the numbers of its pages. A file that is binary has no passages.
    """
    limit, name = settings.chunk_tokens, PurePosixPath(shown_path)
    ending = name.suffix.lower()
    if reads_as_log(shown_path, settings):
        if isinstance(content, bytes):
            content = decode(content).text.encode("utf-8", "replace")
        return read_log(content, limit=limit, redact=settings.redact, count_tokens=count_tokens)
    if not isinstance(content, bytes):
        content = content.read()
    if is_binary(content):
        return []
    if content.startswith(b"%PDF-"):
        passages = _pdf_passages(content, shown_path, settings, count_tokens)
        if not passages:
            report("PDF without text")
        return passages
    if ending == ".pdf":
        report("not a PDF")
        return []
    text = decode(content).text
    if ending in _PAGES and settings.chunker in ("auto", "markdown", "paragraphs"):
        passages = _page_passages(text, shown_path, settings, count_tokens)
    else:
        if settings.redact:
            text = redact_secrets(text, quoted_only=_is_code(ending))
        document = make_document(shown_path, text, limit, count_tokens)
        passages = _figures(document, ending, settings.chunker, report)
        passages = passages or cut(document, _pieces(document, settings.chunker, name, ending))
    if not passages and text.strip():
        report("no words in it")
    return passages


def _pieces(document: Document, chunker: str, name: PurePosixPath, ending: str) -> Iterator[Piece]:
    """The pieces of a text file: by its chunker where that fits the file, else by the file."""
    language = _KEY_LANGUAGES.get(ending)
    grammar = grammar_of(ending, document.lines[0])
    if chunker == "paragraphs":
        return paragraph_pieces(document)
    if chunker == "markdown" or ending in _MARKDOWN:
        return markdown_pieces(document)
    if is_makefile(name.name):
        return makefile_pieces(document)
    if language and chunker in ("auto", "openapi", "code", "shell", "metrics"):
        return openapi_pieces(document, language)
    if language or chunker in ("keys", "openapi"):
        return key_pieces(document, language or "yaml")
    if grammar is None and chunker == "shell":
        grammar = GRAMMARS["shell"]
    return _code_or_text(document, grammar)


def _code_or_text(document: Document, grammar: Grammar | None) -> Iterator[Piece]:
    return code_pieces(document, grammar) if grammar else paragraph_pieces(document)


def _figures(
    document: Document, ending: str, chunker: str, report: Callable[[str], None]
) -> list[Passage]:
    """The series of a file of figures; [] for one that has none."""
    if chunker not in ("auto", "metrics"):
        return []
    passages: list[Passage] = []
    if ending in _TABLES:
        passages = read_table(document.text, _TABLES[ending])
    elif chunker == "metrics" and ending in (".jsonl", ".ndjson"):
        passages = read_json_lines(document.lines)
    elif ending == ".prom" or (chunker == "metrics" and ending in ("", ".txt", ".metrics")):
        passages, unknown = read_prometheus(document.lines)
        if passages and unknown:
            report("lines that are no samples")
    return passages


def _is_code(ending: str) -> bool:
    grammar = grammar_of(ending, "")
    return grammar is not None and grammar.name != "shell"


def _page_passages(
    text: str, path: str, settings: SearchDomain, count_tokens: CountTokens
) -> list[Passage]:
    """The sections of an HTML page; their lines are those of its source."""
    passages: list[Passage] = []
    redact = partial(redact_secrets, quoted_only=False) if settings.redact else str
    for title, blocks in read_page(text, redact):
        words = "\n".join(said for _, said in blocks)
        document = make_document(path, words, settings.chunk_tokens, count_tokens)
        piece = Piece(
            start=0,
            end=len(document.lines),
            title=title,
            kind="section",
            facts={"language": "html"},
        )
        passages.extend(
            replace(
                passage,
                first_line=blocks[passage.first_line - 1][0],
                last_line=blocks[passage.last_line - 1][0],
            )
            for passage in cut(document, [piece])
        )
    return passages


def _pdf_passages(
    content: bytes, path: str, settings: SearchDomain, count_tokens: CountTokens
) -> list[Passage]:
    passages: list[Passage] = []
    for page, text in read_pages(content):
        text = text.encode("utf-8", "replace").decode()
        text = redact_secrets(text) if settings.redact else text
        document = make_document(path, text, settings.chunk_tokens, count_tokens)
        passages.extend(
            replace(passage, first_line=page, last_line=page, facts={"page": str(page)})
            for passage in cut(document, paragraph_pieces(document))
        )
    return passages
