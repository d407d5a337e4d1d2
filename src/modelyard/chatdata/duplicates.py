"""Repeated rows, and evaluation rows that are nearly training rows.

Two rows are equal when all that is rendered of them is. They are near-duplicates when their
questions share most of their word pairs. Rare pairs count more, so an instruction that opens all
rows has no effect.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelyard.chatdata.conversation import Conversation, Message

_NEAR_SIMILARITY = 0.6

# Japanese and Chinese are written without spaces: there a character counts as a word.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")
_COMMON_SHARE = 0.1
_COMMON_ROWS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicatePair:
    """Two rows that are equal or nearly equal."""

    source: str
    """Where the row is that repeats the other."""
    other: str
    """Where the other row is."""
    similarity: float
    """1 for equal rows, else the weighted share of common word pairs of the questions."""

    def __str__(self) -> str:
        return f"{self.source} is near {self.other} ({self.similarity:.2f})"


def find_repeated(conversations: Sequence[Conversation]) -> list[DuplicatePair]:
    """Rows equal to an earlier one."""
    first: dict[tuple[tuple[Message, ...], str], str] = {}
    pairs = []
    for row in conversations:
        other = first.setdefault(row.trained_content, row.source)
        if other != row.source:
            pairs.append(DuplicatePair(source=row.source, other=other, similarity=1.0))
    return pairs


def find_shared(
    train: Sequence[Conversation], evaluation: Sequence[Conversation]
) -> list[DuplicatePair]:
    """Evaluation rows that are in train word for word."""
    trained = {row.trained_content: row.source for row in train}
    return [
        DuplicatePair(source=row.source, other=trained[row.trained_content], similarity=1.0)
        for row in evaluation
        if row.trained_content in trained
    ]


def find_near(
    train: Sequence[Conversation], evaluation: Sequence[Conversation]
) -> list[DuplicatePair]:
    """Evaluation rows whose question is nearly that of a training row; equal rows are left out.

    Each is paired with the nearest training row. The measure is the Jaccard index of the questions'
    word pairs, weighted by how rare a pair is.
    Source: Broder, On the resemblance and containment of documents (1997), with IDF weights.
    """
    rows, shingles, number_of_shingles = _shingles([*train, *evaluation])
    in_train = rows < len(train)
    frequency = np.bincount(shingles[in_train], minlength=number_of_shingles)
    weights = np.log1p(len(train) / np.maximum(frequency, 1))
    weights[frequency > max(_COMMON_ROWS, _COMMON_SHARE * len(train))] = 0
    total_weight = np.bincount(rows, weights[shingles], minlength=len(train) + len(evaluation))

    # Postings: for each shingle, the train rows it is in, as a slice of one array.
    postings = rows[in_train][np.argsort(shingles[in_train], kind="stable")]
    ends = np.cumsum(frequency)
    row_starts = np.searchsorted(rows, np.arange(len(train), len(train) + len(evaluation) + 1))

    equal = {row.trained_content for row in train}
    pairs = []
    for index, row in enumerate(evaluation):
        own = shingles[row_starts[index] : row_starts[index + 1]]
        known = own[(frequency[own] > 0) & (weights[own] > 0)]
        if not known.size or row.trained_content in equal:
            continue
        places = np.concatenate([postings[ends[k] - frequency[k] : ends[k]] for k in known])
        common = np.bincount(places, np.repeat(weights[known], frequency[known]))
        union = total_weight[len(train) + index] + total_weight[: common.size] - common
        nearest = int((common / union).argmax())
        resemblance = float(common[nearest] / union[nearest])
        if resemblance >= _NEAR_SIMILARITY:
            pairs.append(
                DuplicatePair(
                    source=row.source,
                    other=train[nearest].source,
                    similarity=round(resemblance, 3),
                )
            )
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
