"""HTML by heading: the words of a page, with the lines of its source where they stand."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser

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
_HEADINGS = {f"h{level}": level for level in range(1, 7)}


class _Page(HTMLParser):
    """Collects (line, level of the heading or 0, words) of each block."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[tuple[int, int, str]] = []
        self._words: list[str] = []
        self._line = 1
        self._heading = 0
        self._hidden = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._hidden:
            return
        if tag in _BLOCKS or tag in _HIDDEN:
            self.finish_block()
        if tag in _HIDDEN:
            self._hidden = tag
        self._heading = _HEADINGS.get(tag, self._heading)

    def handle_endtag(self, tag: str) -> None:
        if self._hidden:
            self._hidden = "" if tag == self._hidden or tag == "body" else self._hidden
        elif tag in _BLOCKS:
            self.finish_block()
            self._heading = 0 if tag in _HEADINGS else self._heading

    def handle_data(self, data: str) -> None:
        if self._hidden or not data.strip():
            return
        if not self._words:
            ahead = data[: len(data) - len(data.lstrip())]
            self._line = self.getpos()[0] + ahead.count("\n")
        self._words.extend(data.split())

    def finish_block(self) -> None:
        if self._words:
            self.blocks.append((self._line, self._heading, " ".join(self._words)))
        self._words = []


def read_page(text: str) -> Iterator[tuple[str, list[tuple[int, str]]]]:
    """Each section of a page: its trail of headings, and its blocks with their lines."""
    page = _Page()
    try:
        page.feed(text)
        page.close()
    except (AssertionError, ValueError):
        pass  # a marked section that is none; what came before it holds
    page.finish_block()
    trail: list[tuple[int, str]] = []
    blocks: list[tuple[int, str]] = []
    for line, level, words in page.blocks:
        if not level:
            blocks.append((line, words))
            continue
        if blocks:
            yield " > ".join(one for _, one in trail), blocks
        trail = [*(one for one in trail if one[0] < level), (level, plain_words(words))]
        blocks = []
    if blocks:
        yield " > ".join(one for _, one in trail), blocks
