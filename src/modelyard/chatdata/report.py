"""What a dataset holds, in figures: the part of preflight that a person reads.

Pure: it counts what the other modules found. Does not know the terminal, HTML or models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modelyard.chatdata.conversation import Conversation
from modelyard.chatdata.dataset import ChatDataset
from modelyard.chatdata.duplicates import Pair, find_near, find_repeated, find_shared
from modelyard.chatdata.sensitive import Finding, find_sensitive
from modelyard.chatdata.tokenizing import Tokenized, TokenRow
from modelyard.core.errors import Diagnostic
from modelyard.core.wording import counted

_BARS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar of a histogram."""

    low: int
    """The smallest value it counts."""
    high: int
    """The largest value it counts."""
    rows: int
    """How many rows there are between the two, both included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFigures:
    """The tokens of one side of a dataset."""

    rows: int
    """Rows that became tokens."""
    total: int
    """Tokens of all rows."""
    trained: int
    """Tokens that are learned: answers with their end-of-turn tokens."""
    mean: float
    """Mean tokens a row."""
    p50: int
    """Half of the rows are at most this long."""
    p90: int
    """Nine tenths of the rows are at most this long."""
    p99: int
    """All but a hundredth of the rows are at most this long."""
    longest: int
    """Tokens of the longest row."""
    histogram: tuple[Bar, ...]
    """Rows by length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataReport:
    """Everything that preflight found in a dataset; data_report.json holds it."""

    dataset: str
    """The dataset's name."""
    fingerprint: str
    """The fingerprint of its rows."""
    max_length: int
    """The most tokens a row may have."""
    train_rows: int
    """Rows to learn from."""
    evaluation_rows: int
    """Rows to judge with."""
    formats: dict[str, int]
    """Rows by the format in which they were written."""
    turns: dict[int, int]
    """Rows by their number of answers."""
    train_tokens: TokenFigures
    """The tokens to learn from."""
    evaluation_tokens: TokenFigures | None
    """The tokens to judge with; None when they were not counted."""
    cut: tuple[str, ...]
    """Rows whose last answer lost its end to `max_length`."""
    straddling: tuple[str, ...]
    """Rows in which a token lies across the start of an answer."""
    repeated: tuple[Pair, ...]
    """Train rows equal to an earlier one."""
    shared: tuple[Pair, ...]
    """Evaluation rows that are in train word for word: an error."""
    near: tuple[Pair, ...]
    """Evaluation rows whose question is nearly one of train's."""
    sensitive: tuple[Finding, ...]
    """Secrets and e-mail addresses, by place."""

    @property
    def problems(self) -> tuple[Diagnostic, ...]:
        """What forbids training: the model would be judged by what it has learned."""
        return tuple(
            Diagnostic(
                message=f"is also in train ({pair.other}), so it judges nothing",
                where=pair.source,
                hint="remove it from one of the two files",
            )
            for pair in self.shared
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know before training, a line each."""
        secrets = [finding for finding in self.sensitive if finding.is_secret]
        addresses = [finding for finding in self.sensitive if not finding.is_secret]
        lines = (
            (self.cut, f"lost the end of their answer to max_length {self.max_length:,}"),
            (self.repeated, "of train repeat an earlier row"),
            (self.near, "of eval ask nearly what a train row asks"),
            (secrets, "seem to hold a secret"),
            (addresses, "hold an e-mail address"),
            (
                self.straddling,
                "have a token that belongs to question and answer; it is not learned",
            ),
        )
        return tuple(
            f"{counted(len(found), 'row')} {text} ({_first(found)})"
            for found, text in lines
            if found
        )


def build_data_report(
    dataset: ChatDataset,
    train: Tokenized,
    evaluation: Tokenized | None = None,
    *,
    max_length: int,
) -> DataReport:
    """Count a dataset and its tokens; looks for duplicates and for what should not be learned."""
    rows = dataset.train + dataset.evaluation
    return DataReport(
        dataset=dataset.name,
        fingerprint=dataset.fingerprint,
        max_length=max_length,
        train_rows=len(dataset.train),
        evaluation_rows=len(dataset.evaluation),
        formats=dict(Counter(row.format for row in rows)),
        turns=dict(sorted(Counter(map(_answers, rows)).items())),
        train_tokens=_figures(train.rows),
        evaluation_tokens=_figures(evaluation.rows) if evaluation else None,
        cut=train.cut + (evaluation.cut if evaluation else ()),
        straddling=train.straddling + (evaluation.straddling if evaluation else ()),
        repeated=tuple(find_repeated(dataset.train)),
        shared=tuple(find_shared(dataset.train, dataset.evaluation)),
        near=tuple(find_near(dataset.train, dataset.evaluation)),
        sensitive=tuple(find_sensitive(rows)),
    )


def _first(found: Sequence[str | Pair | Finding]) -> str:
    """The places of the first few."""
    sources = dict.fromkeys(one if isinstance(one, str) else one.source for one in found)
    shown = ", ".join(list(sources)[:3])
    return f"{shown}, ..." if len(sources) > 3 else shown


def _answers(conversation: Conversation) -> int:
    return sum(message.role == "assistant" for message in conversation.messages)


def _figures(rows: Sequence[TokenRow]) -> TokenFigures:
    lengths = np.array([len(row.input_ids) for row in rows] or [0])
    p50, p90, p99 = np.percentile(lengths, (50, 90, 99), method="higher").astype(int).tolist()
    return TokenFigures(
        rows=len(rows),
        total=int(lengths.sum()),
        trained=sum(int(row.trained.sum()) for row in rows),
        mean=round(float(lengths.mean()), 1),
        p50=p50,
        p90=p90,
        p99=p99,
        longest=int(lengths.max()),
        histogram=_histogram(lengths.tolist()) if rows else (),
    )


def _histogram(lengths: Sequence[int]) -> tuple[Bar, ...]:
    """At most twenty bars of equal, whole width from the shortest row to the longest."""
    low, high = min(lengths), max(lengths)
    width = max(1, -(-(high - low + 1) // _BARS))
    counts = Counter((length - low) // width for length in lengths)
    return tuple(
        Bar(low=low + index * width, high=low + (index + 1) * width - 1, rows=counts[index])
        for index in range((high - low) // width + 1)
    )
