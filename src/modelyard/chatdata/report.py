"""What preflight reports about a dataset: counts, warnings, and rows with their trained text.

Counts what the other modules found. Does not know the terminal, HTML or models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from modelyard.chatdata.dataset import ChatDataset
from modelyard.chatdata.duplicates import DuplicatePair, find_near, find_repeated, find_shared
from modelyard.chatdata.sensitive import SensitiveValue, find_sensitive
from modelyard.chatdata.template import ChatTokenizer
from modelyard.chatdata.tokenizing import Tokenized, TokenRow
from modelyard.chatdata.unused_keys import UnusedKey, find_unused_keys
from modelyard.core.errors import Diagnostic
from modelyard.core.wording import counted

_MOST_BINS = 20
_SHOWN_KEYS = 5

_Flagged = str | DuplicatePair | SensitiveValue


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthBin:
    """One bin of the histogram of row lengths, in tokens."""

    low: int
    """The shortest length it counts."""
    high: int
    """The longest length it counts."""
    rows: int
    """Rows with a length between the two, both included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthLimit:
    """How many rows a `max_length` would keep whole."""

    max_length: int
    """The limit, in tokens."""
    whole_rows: int
    """Rows that are no longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFigures:
    """The tokens of one side of a dataset."""

    rows: int
    """Rows that became tokens."""
    total: int
    """Tokens of all rows."""
    trained: int
    """Tokens that are trained (not masked): answers with their end-of-turn tokens."""
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
    histogram: tuple[LengthBin, ...]
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
    """Training rows."""
    evaluation_rows: int
    """Evaluation rows."""
    formats: Mapping[str, int]
    """Rows by the format in which they were written."""
    turns: Mapping[int, int]
    """Rows by their number of answers."""
    train_tokens: TokenFigures
    """Tokens of the training rows."""
    evaluation_tokens: TokenFigures | None
    """Tokens of the evaluation rows; None when they were not counted."""
    cut: tuple[str, ...]
    """Rows whose last answer lost its end to `max_length`."""
    limits: tuple[LengthLimit, ...] = ()
    """What this limit and longer ones keep whole, up to the one that keeps every row."""
    unused_keys: tuple[UnusedKey, ...] = ()
    """Keys of rows and messages that are kept and not learned."""
    straddling: tuple[str, ...]
    """Rows in which a token lies across the start of an answer."""
    respaced: tuple[str, ...] = ()
    """Rows in which the chat template changed whitespace of a turn's text."""
    without_reasoning: tuple[str, ...] = ()
    """Rows in which the chat template left out the reasoning before an answer."""
    without_descriptions: tuple[str, ...] = ()
    """Rows in which the chat template left out the descriptions of all tools."""
    without_parameters: tuple[str, ...] = ()
    """Rows in which the chat template left out the names of all tools' parameters."""
    repeated: tuple[DuplicatePair, ...]
    """Train rows equal to an earlier one."""
    shared: tuple[DuplicatePair, ...]
    """Evaluation rows that are in train word for word: an error."""
    near: tuple[DuplicatePair, ...]
    """Evaluation rows whose question is nearly that of a training row."""
    sensitive: tuple[SensitiveValue, ...]
    """Secrets and e-mail addresses, by place."""

    @property
    def problems(self) -> tuple[Diagnostic, ...]:
        """What forbids training: the model would be evaluated on rows it was trained on."""
        return tuple(
            Diagnostic(
                message=f"is also in train ({pair.other}), so it cannot be used for evaluation",
                where=pair.source,
                hint="remove it from one of the two files",
            )
            for pair in self.shared
        )

    @property
    def template_changes(self) -> tuple[str, ...]:
        """What the chat template changed in the rows' texts, a line each."""
        return self._lines(
            (self.respaced, "in which the chat template changes whitespace"),
            (self.without_reasoning, "whose reasoning the chat template leaves out"),
            (self.without_descriptions, "whose tools the chat template does not describe"),
            (
                self.without_parameters,
                "of whose tools the chat template names no parameters",
            ),
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know before training, a line each."""
        secrets = [found for found in self.sensitive if found.is_secret]
        addresses = [found for found in self.sensitive if not found.is_secret]
        cut = (self.cut, f"with the end of the answer cut off by max_length {self.max_length:,}")
        unused = ", ".join(map(str, self.unused_keys[:_SHOWN_KEYS]))
        more = ", ..." if len(self.unused_keys) > _SHOWN_KEYS else ""
        return (
            *(f"{line}{self._kept_whole}" for line in self._lines(cut)),
            *self._lines(
                (self.repeated, "of train equal to an earlier row"),
                (self.near, "of eval with nearly the question of a train row"),
                (secrets, "with what looks like a secret"),
                (addresses, "with an e-mail address"),
                (
                    self.straddling,
                    "with a token that spans question and answer, which is not trained",
                ),
            ),
            *([f"kept and not learned: {unused}{more}"] if unused else []),
            *self.template_changes,
        )

    @property
    def _kept_whole(self) -> str:
        """How long the longest row is, and how many rows each limit would keep whole."""
        kept = ", ".join(f"{each.max_length:,} keeps {each.whole_rows:,}" for each in self.limits)
        longest = self.limits[-1]
        return (
            f"; the longest of {counted(longest.whole_rows, 'row')} has "
            f"{counted(longest.max_length, 'token')}: max_length {kept} whole"
        )

    @staticmethod
    def _lines(*kinds: tuple[Sequence[_Flagged], str]) -> tuple[str, ...]:
        return tuple(
            f"{counted(len(found), 'row')} {text} ({_first(found)})"
            for found, text in kinds
            if found
        )


def build_data_report(
    dataset: ChatDataset,
    train: Tokenized,
    evaluation: Tokenized | None = None,
    *,
    max_length: int,
) -> DataReport:
    """Count a dataset and its tokens, and find duplicates and sensitive values."""
    rows = dataset.train + dataset.evaluation
    answers = Counter(sum(turn.role == "assistant" for turn in row.messages) for row in rows)
    return DataReport(
        dataset=dataset.name,
        fingerprint=dataset.fingerprint,
        max_length=max_length,
        train_rows=len(dataset.train),
        evaluation_rows=len(dataset.evaluation),
        formats=dict(Counter(row.format for row in rows)),
        turns=dict(sorted(answers.items())),
        train_tokens=_figures(train.rows),
        evaluation_tokens=_figures(evaluation.rows) if evaluation else None,
        cut=train.cut + (evaluation.cut if evaluation else ()),
        limits=_limits((*train.lengths, *(evaluation.lengths if evaluation else ())), max_length),
        unused_keys=tuple(find_unused_keys(rows)),
        straddling=train.straddling + (evaluation.straddling if evaluation else ()),
        respaced=train.respaced + (evaluation.respaced if evaluation else ()),
        without_reasoning=train.without_reasoning
        + (evaluation.without_reasoning if evaluation else ()),
        without_descriptions=train.without_descriptions
        + (evaluation.without_descriptions if evaluation else ()),
        without_parameters=train.without_parameters
        + (evaluation.without_parameters if evaluation else ()),
        repeated=tuple(find_repeated(dataset.train)),
        shared=tuple(find_shared(dataset.train, dataset.evaluation)),
        near=tuple(find_near(dataset.train, dataset.evaluation)),
        sensitive=tuple(find_sensitive(rows)),
    )


def _limits(lengths: Sequence[int], max_length: int) -> tuple[LengthLimit, ...]:
    """The limit, its doubles while they cut rows, and the length of the longest row."""
    longest = max(lengths, default=0)
    limits = [max_length]
    while limits[-1] * 2 < longest:
        limits.append(limits[-1] * 2)
    if limits[-1] < longest:
        limits.append(longest)
    return tuple(
        LengthLimit(max_length=limit, whole_rows=sum(length <= limit for length in lengths))
        for limit in limits
    )


def _first(found: Sequence[_Flagged]) -> str:
    """The places of the first three rows."""
    sources = dict.fromkeys(row if isinstance(row, str) else row.source for row in found)
    shown = ", ".join(list(sources)[:3])
    return f"{shown}, ..." if len(sources) > 3 else shown


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


def _histogram(lengths: Sequence[int]) -> tuple[LengthBin, ...]:
    """At most twenty bins of equal, whole width from the shortest row to the longest."""
    low, high = min(lengths), max(lengths)
    width = max(1, -(-(high - low + 1) // _MOST_BINS))
    counts = Counter((length - low) // width for length in lengths)
    return tuple(
        LengthBin(low=low + index * width, high=low + (index + 1) * width - 1, rows=counts[index])
        for index in range((high - low) // width + 1)
    )


@dataclass(frozen=True, slots=True)
class MaskedText:
    """One row's text as the model sees it, control tokens included, with what is trained."""

    pieces: tuple[tuple[str, bool], ...]
    """Neighbouring texts, each with whether its tokens are trained."""
    source: str
    """Where the row is, such as `train.jsonl:12`."""


def build_masked_texts(
    rows: Sequence[TokenRow], tokenizer: ChatTokenizer, n: int
) -> list[MaskedText]:
    """The text of `n` rows, spread evenly over all (of every row when there are fewer)."""
    count = min(n, len(rows))
    return [_masked_text(rows[index * len(rows) // count], tokenizer) for index in range(count)]


def _masked_text(row: TokenRow, tokenizer: ChatTokenizer) -> MaskedText:
    changes = np.flatnonzero(np.diff(row.trained)) + 1
    pieces: list[tuple[str, bool]] = []
    shown = ""
    for start, end in zip([0, *changes], [*changes, len(row.trained)], strict=True):
        # Some tokenizers drop a leading space, so a piece is what it adds to the text so far.
        text = tokenizer.decode(row.input_ids[:end], skip_special_tokens=False)
        pieces.append((text[len(shown) :], bool(row.trained[start])))
        shown = text
    return MaskedText(tuple(pieces), row.source)
