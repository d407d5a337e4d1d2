"""Pages: HTML by heading, with the lines of its source, and PDF by page number."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from io import BytesIO

from modelyard.retrieval.reading.markdown import plain_words

_HIDDEN = frozenset(("script", "style", "template", "noscript", "svg", "math", "head"))
_BLOCKS = frozenset(
    (
        "address",
        "article",
        "aside",
        "blockquote",
        "br",
        "dd",
        "details",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "li",
        "main",
        "nav",
        "ol",
        "option",
        "p",
        "pre",
        "section",
        "summary",
        "table",
        "td",
        "th",
        "tr",
        "ul",
        "title",
        "body",
        "html",
    )
)
_OF_SECRETS = ("passw", "secret", "token", "credential", "key")
"""In the name of an element that HTML does not have: read as `password: X`, to be redacted."""
_HEADINGS = {f"h{level}": level for level in range(1, 7)}


class _Page(HTMLParser):
    """Collects (line, level of the heading or 0, words) of each block."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[tuple[int, int, str]] = []
        self._words: list[str] = []
        self._preformatted = ""
        self._line = 1
        self._in_pre = False
        self._heading = 0
        self._hidden = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._hidden:
            return
        names_secret = any(word in tag for word in _OF_SECRETS)
        if tag in _BLOCKS or tag in _HIDDEN or names_secret:
            self.finish_block()
        if names_secret:
            self._words, self._line = [f"{tag}:"], self.getpos()[0]
        if tag in _HIDDEN:
            self._hidden = tag
        self._heading = _HEADINGS.get(tag, self._heading)
        self._in_pre = self._in_pre or tag == "pre"

    def handle_endtag(self, tag: str) -> None:
        if self._hidden:
            self._hidden = "" if tag == self._hidden or tag == "body" else self._hidden
        elif tag in _BLOCKS:
            self.finish_block()
            self._heading = 0 if tag in _HEADINGS else self._heading
            self._in_pre = self._in_pre and tag != "pre"

    def handle_data(self, data: str) -> None:
        if self._in_pre and not self._hidden:
            self._add_preformatted(data)
        elif data.strip() and not self._hidden:
            if not self._words:
                ahead = data[: len(data) - len(data.lstrip())]
                self._line = self.getpos()[0] + ahead.count("\n")
            self._words.extend(data.split())

    def _add_preformatted(self, data: str) -> None:
        """Preformatted text: each of its lines is a block."""
        line = self.getpos()[0]
        for number, part in enumerate(data.split("\n")):
            if number:
                self.finish_block()
            if not self._preformatted:
                self._line = line + number
            self._preformatted += part

    def finish_block(self) -> None:
        words = (
            f"{' '.join(self._words)} {self._preformatted}" if self._words else self._preformatted
        )
        if words := words.rstrip():
            self.blocks.append((self._line, self._heading, words))
        self._words, self._preformatted = [], ""


def read_page(
    text: str, redact: Callable[[str], str] = str
) -> Iterator[tuple[str, list[tuple[int, str]]]]:
    """Each section of a page: its trail of headings, and its blocks with their lines.

    redact: removes secrets from the words of the page, line by line.
    """
    page = _Page()
    try:
        page.feed(text)
        page.close()
    except (AssertionError, ValueError):
        pass  # a malformed marked section; what was read before it is used
    page.finish_block()
    if not page.blocks:
        return
    trail: list[tuple[int, str]] = []
    blocks: list[tuple[int, str]] = []
    heading: list[tuple[int, str]] = []
    shown = redact("\n".join(words for _, _, words in page.blocks)).split("\n")
    for (line, level, _), words in zip(page.blocks, shown, strict=True):
        if not level:
            blocks.append((line, words))
            continue
        has_subheading = bool(trail) and trail[-1][0] < level
        if blocks or (heading and not has_subheading):
            yield " > ".join(words for _, words in trail), blocks or heading
        trail = [*(above for above in trail if above[0] < level), (level, plain_words(words))]
        blocks, heading = [], [(line, plain_words(words))]
    if blocks or heading:
        yield " > ".join(words for _, words in trail), blocks or heading


_MOST_PAGES = 2_000


def read_pages(content: bytes) -> Iterator[tuple[int, str]]:
    """The pages with text, from 1; of a broken or encrypted file those that can be read."""
    from pypdf import PdfReader

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it warns of each flaw in a file
    try:
        pages = PdfReader(BytesIO(content)).pages
        count = min(len(pages), _MOST_PAGES)
    except Exception:  # not narrower: pypdf says that a broken file may raise any class, and does
        return
    for number in range(count):
        try:
            text = pages[number].extract_text()
        except Exception:  # as above, KeyError to RecursionError; the next page may be whole
            continue
        if text.strip():
            yield number + 1, text
