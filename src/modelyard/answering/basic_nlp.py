"""The answer without a model: the sentences of what was found that share most with the question.

It calls nothing and cannot fail, so that every route can end with it. It always says that no model
wrote it.
"""

from __future__ import annotations

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
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9])|\n\s*\n|\n(?=\s*[-*+|>] )")
_MARKS = re.compile(r"^[\s#>*+|-]+")


@dataclass(frozen=True, slots=True)
class _Sentence:
    text: str
    chunk: UsedChunk
    place: int
    """Its place among all sentences, those of the best chunk first."""
    terms: frozenset[str]


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
    """The sentences, best first: by the terms of the question that they have, rare ones more.

    A term weighs 1 / (the sentences that have it), so one that is everywhere decides nothing.
    """
    wanted = frozenset(query_terms(question))
    sentences = list(_sentences(chunks, wanted))
    counts = Counter(term for sentence in sentences for term in sentence.terms)

    def score(sentence: _Sentence) -> float:
        return sum(1 / counts[term] for term in sentence.terms)

    return sorted(sentences, key=lambda sentence: (-score(sentence), sentence.place))


def _sentences(chunks: Iterator[UsedChunk], wanted: frozenset[str]) -> Iterator[_Sentence]:
    """Each different sentence with letters in it, in one line."""
    seen: set[str] = set()
    for chunk in chunks:
        for piece in _SENTENCE_END.split(chunk.text):
            text = " ".join(_MARKS.sub("", piece).split())
            if len(text) > _LONGEST_SENTENCE:
                text = f"{text[:_LONGEST_SENTENCE]}..."
            if text in seen or not any(character.isalpha() for character in text):
                continue
            seen.add(text)
            yield _Sentence(text, chunk, len(seen), wanted.intersection(query_terms(text)))
