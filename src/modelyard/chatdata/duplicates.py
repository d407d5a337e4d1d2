"""Rows that are there twice, and evaluation rows that training has as good as seen.

Two rows are equal when all their turns are. They are near-duplicates when their questions share
most of their word pairs. Rare pairs count more: an instruction that opens all rows says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelyard.chatdata.conversation import Conversation, Message

NEAR_SIMILARITY = 0.6

# Japanese and Chinese are written without spaces: there a character counts as a word.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")
_COMMON_SHARE = 0.1
_COMMON_ROWS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two rows that are too much alike."""

    source: str
    """Where the row stands that is in question."""
    other: str
    """Where the row stands that it repeats."""
    similarity: float
    """1 for equal rows, else the weighted share of common word pairs of the questions."""

    def __str__(self) -> str:
        return f"{self.source} is near {self.other} ({self.similarity:.2f})"


def find_repeated(conversations: Sequence[Conversation]) -> list[Pair]:
    """Rows equal to an earlier one."""
    first: dict[tuple[Message, ...], str] = {}
    pairs = []
    for one in conversations:
        other = first.setdefault(one.messages, one.source)
        if other != one.source:
            pairs.append(Pair(source=one.source, other=other, similarity=1.0))
    return pairs


def find_shared(train: Sequence[Conversation], evaluation: Sequence[Conversation]) -> list[Pair]:
    """Evaluation rows that are in train word for word."""
    learned = {one.messages: one.source for one in train}
    return [
        Pair(source=one.source, other=learned[one.messages], similarity=1.0)
        for one in evaluation
        if one.messages in learned
    ]


def find_near(
    train: Sequence[Conversation],
    evaluation: Sequence[Conversation],
    *,
    similarity: float = NEAR_SIMILARITY,
) -> list[Pair]:
    """Evaluation rows whose question is nearly one of train's, with the nearest; no equal rows.

    The measure is the Jaccard index of the questions' word pairs, weighted by how rare a pair is.
    Source: Broder, On the resemblance and containment of documents (1997), with IDF weights.
    """
    rows, shingles, number_of_shingles = _shingles([*train, *evaluation])
    learned = rows < len(train)
    frequency = np.bincount(shingles[learned], minlength=number_of_shingles)
    weights = np.log1p(len(train) / np.maximum(frequency, 1))
    weights[frequency > max(_COMMON_ROWS, _COMMON_SHARE * len(train))] = 0
    total_weight = np.bincount(rows, weights[shingles], minlength=len(train) + len(evaluation))

    # Postings: for each shingle, the train rows it is in, as a slice of one array.
    by_shingle = np.argsort(shingles[learned], kind="stable")
    postings = rows[learned][by_shingle]
    ends = np.cumsum(frequency)
    row_starts = np.searchsorted(rows, np.arange(len(train), len(train) + len(evaluation) + 1))

    equal = {one.messages for one in train}
    pairs = []
    for index, one in enumerate(evaluation):
        own = shingles[row_starts[index] : row_starts[index + 1]]
        known = own[(frequency[own] > 0) & (weights[own] > 0)]
        if not known.size or one.messages in equal:
            continue
        places = np.concatenate([postings[ends[k] - frequency[k] : ends[k]] for k in known])
        common = np.bincount(places, np.repeat(weights[known], frequency[known]))
        union = total_weight[len(train) + index] + total_weight[: common.size] - common
        nearest = int((common / union).argmax())
        resemblance = float(common[nearest] / union[nearest])
        if resemblance >= similarity:
            other = train[nearest].source
            pairs.append(Pair(source=one.source, other=other, similarity=round(resemblance, 3)))
    return pairs


def _shingles(
    conversations: Sequence[Conversation],
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], int]:
    """The pairs of neighbouring words of each row's questions, each pair once a row.

    Returns row [n] (ascending), shingle [n], and the number of different shingles. The first and
    the last word also make a pair with the edge of the text.
    """
    known: dict[str, int] = {}
    words = [0]
    row_of_pair = []
    for row, conversation in enumerate(conversations):
        questions = [turn.content for turn in conversation.messages if turn.role == "user"]
        found = _WORD.findall(" ".join(questions).casefold())
        if not found:
            continue
        words += [known.setdefault(word, len(known) + 1) for word in found]
        words.append(0)
        row_of_pair += [row] * (len(found) + 1)
    ids = np.array(words)
    pairs, shingles = np.unique(ids[:-1] * (len(known) + 1) + ids[1:], return_inverse=True)
    codes = np.unique(np.array(row_of_pair, dtype=np.intp) * pairs.size + shingles)
    return codes // pairs.size, codes % pairs.size, pairs.size
