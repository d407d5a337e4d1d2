"""PDF by page: the text in it, without pictures of text."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from io import BytesIO

_MOST_PAGES = 2_000


def read_pages(content: bytes) -> Iterator[tuple[int, str]]:
    """The pages with text, from 1; of a broken or encrypted file those that can be read."""
    from pypdf import PdfReader

    quiet = logging.getLogger("pypdf")
    quiet.setLevel(logging.CRITICAL)  # it warns of each oddity of a file
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
