"""The answer without a model: the sentences of what was found that share most with the question.

It calls nothing and cannot fail, so that every route can end with it. It always says that no model
wrote it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from modelyard.answering.prompt import CountTokens, estimate_tokens
from modelyard.answering.request import UsedChunk
from modelyard.configs.kinds.language_models import LanguageModel
from modelyard.retrieval.terms import query_terms

NO_MODEL = "No language model wrote this: it quotes what a search found."
_NOTHING = "No language model wrote this, and a search found nothing to quote."
_LONGEST_SENTENCE = 400
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[`]?[A-Z0-9])")
_FENCE = re.compile(r"\s*(?:`{3}|~{3})")
_BEGINS = re.compile(r"\s*(?:[-*+>|]|\d{1,3}[.)])\s")
"""How a line begins that does not continue the one before: an item, a quotation, a row."""
_ALONE = re.compile(r"\s*[#$]|.*\S {3,}\S|.*[\u2500-\u257f]")
"""A heading, a command, or a line in columns: not a part of a sentence."""
_MARKS = re.compile(r"^[\s#>*+|-]+")
_K1, _B = 1.2, 0.75
_CODE_WEIGHT = 0.5


@dataclass(frozen=True, slots=True)
class _Sentence:
    text: str
    chunk: UsedChunk
    place: int
    """Its place among all sentences, those of the best chunk first."""
    is_prose: bool
    """Whether it is no line of code or of a table."""
    terms: tuple[str, ...]


def basic_answer(
    settings: LanguageModel,
    question: str,
    chunks: Sequence[UsedChunk],
    *,
    count: CountTokens = estimate_tokens,
) -> str:
    """The text of the answer: the config's message, quotes with their numbers and places, the note.

    It quotes `basic.quoted_sentences` at most, from the first chunks that fit `context_tokens`,
    and no more than fit `max_output_tokens`.
    """
    basic = settings.basic
    left = settings.max_output_tokens - count(basic.message) - count(NO_MODEL)
    quotes: list[str] = []
    for sentence in _best(question, _readable(chunks, settings.context_tokens, count)):
        if len(quotes) == basic.quoted_sentences:
            break
        quote = f"> {sentence.text}\n> [{sentence.chunk.number}] {sentence.chunk.place}"
        tokens = count(quote)
        if tokens <= left:
            quotes.append(quote)
            left -= tokens
    return "\n\n".join([basic.message, *quotes, NO_MODEL if quotes else _NOTHING])


def _readable(
    chunks: Sequence[UsedChunk], most_tokens: int, count: CountTokens
) -> Iterator[UsedChunk]:
    left = most_tokens
    for chunk in chunks:
        left -= count(chunk.text)
        if left < 0:
            return
        yield chunk


def _best(question: str, chunks: Iterator[UsedChunk]) -> list[_Sentence]:
    """The sentences by their BM25 for the question, best first, and else in their order.

    A term counts once in a sentence, and a line of code half as much as prose.
    Source: Robertson and Zaragoza 2009, The Probabilistic Relevance Framework, section 3.4.
    """
    sentences = list(_sentences(chunks))
    wanted = frozenset(query_terms(question))
    total = len(sentences)
    length = sum(len(sentence.terms) for sentence in sentences) / max(1, total) or 1.0
    having = Counter(term for sentence in sentences for term in set(sentence.terms) & wanted)

    def score(sentence: _Sentence) -> float:
        norm = 1 + _K1 * (1 - _B + _B * len(sentence.terms) / length)
        found = wanted.intersection(sentence.terms)
        return sum(
            math.log(1 + (total - having[term] + 0.5) / (having[term] + 0.5)) for term in found
        ) * ((_K1 + 1) / norm * (1 if sentence.is_prose else _CODE_WEIGHT))

    return sorted(sentences, key=lambda sentence: (-score(sentence), sentence.place))


def _sentences(chunks: Iterator[UsedChunk]) -> Iterator[_Sentence]:
    """Each different sentence with letters in it, in one line."""
    seen: set[str] = set()
    for chunk in chunks:
        for piece, is_prose in _pieces(chunk.text):
            text = " ".join(_MARKS.sub("", piece).split())
            if len(text) > _LONGEST_SENTENCE:
                text = f"{text[:_LONGEST_SENTENCE]}..."
            if text in seen or not any(character.isalpha() for character in text):
                continue
            seen.add(text)
            yield _Sentence(text, chunk, len(seen), is_prose, tuple(query_terms(text)))


def _pieces(text: str) -> Iterator[tuple[str, bool]]:
    """The sentences of paragraphs and items, and each line of code by itself; no headings.

    Each with whether it is prose.
    """
    paragraph: list[str] = []
    in_code = False
    for line in [*text.split("\n"), ""]:
        is_fence = _FENCE.match(line) is not None
        is_alone = in_code or _ALONE.match(line) is not None
        if is_fence or is_alone or not line.strip() or _BEGINS.match(line):
            yield from ((piece, True) for piece in _SENTENCE_END.split(" ".join(paragraph)))
            paragraph = []
        if is_fence:
            in_code = not in_code
        elif not is_alone:
            paragraph.append(line)
        elif in_code or not line.lstrip().startswith("#"):
            yield line, False
