"""Whether the text of an index looks English, which is what the embedded encoder reads.

Two counts over a sample of chunks tell: how many letters are of another script than Latin, and in
prose how many words are English function words. Measured on the documentation of FastAPI in 24
languages and of five other projects in English: function words are 22 to 38% of English prose and
12% of its changelogs, and 0 to 9% of pages in other languages, 12% where half of a page is not
translated. So the bound finds an index that is mostly not English; it says nothing of single pages,
and of code and logs only the script is known.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from modelyard.retrieval.index_file import IndexReader, open_index
from modelyard.retrieval.indexes import SearchIndex
from modelyard.retrieval.terms import STOP_WORDS
from modelyard.weights.encoders import PACKAGED

LEAST_FUNCTION_WORDS = 0.08
"""Share of English function words in prose, below which it is another language."""
MOST_OTHER_LETTERS = 0.5
"""Share of letters of other scripts, above which a text is not English."""

_SAMPLED_CHUNKS = 300
_LEAST_LETTERS = 2_000
"""With fewer, nothing is said."""
_LETTERS = re.compile(r"[^\W\d_]+")


def looks_english(texts: Iterable[str], *, is_prose: bool) -> bool | None:
    """Whether texts are mostly English; None where they are too few to say."""
    words = [word for text in texts for word in _LETTERS.findall(text)]
    letters = sum(map(len, words))
    if letters < _LEAST_LETTERS:
        return None
    others = sum(_is_of_another_script(letter) for word in words for letter in word)
    if others > MOST_OTHER_LETTERS * letters:
        return False
    functional = sum(word.lower() in STOP_WORDS for word in words)
    return not is_prose or functional >= LEAST_FUNCTION_WORDS * len(words)


def find_language_problem(index: SearchIndex, reader: IndexReader) -> str | None:
    """What is wrong where an index is mostly not English and its encoder reads only English."""
    encoder = index.encoder
    if encoder.source != "wheel" or encoder.model not in PACKAGED:
        return None
    texts = reader.sample_texts(_SAMPLED_CHUNKS)
    if looks_english(texts, is_prose=index.settings.chunker == "markdown") is not False:
        return None
    return (
        f"the text of {index.label} is mostly not English, and its encoder {encoder.model} reads "
        "English: meaning is found badly, words as usual. A folder with a multilingual encoder "
        "(`source: path`) reads it"
    )


def read_language_problem(index: SearchIndex, path: Path) -> str | None:
    """The same of an index file. Raises IndexMissing and IndexDamaged."""
    with open_index(path) as reader:
        return find_language_problem(index, reader)


def _is_of_another_script(letter: str) -> bool:
    return not letter.isascii() and not unicodedata.name(letter, "").startswith("LATIN")
