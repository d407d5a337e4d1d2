"""How good an adapter is: base and adapter measured on the same rows that neither was trained on.

The record is what validation.json holds; a card keeps its figures without the rows' details. The
rows of figures that are shown anywhere are built here, so that no two places show different ones.
Does not know how anything is measured, or which version is promoted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from modelyard.core.errors import InvalidInput, KeyPath
from modelyard.core.wording import counted
from modelyard.records.stored import build_stored
from modelyard.results.json_form import published, to_json
from modelyard.settings.converters import Where
from modelyard.settings.marks import Range

Kind = Literal["facts", "labels"]
"""How an answer is scored: by strings that must occur in it, or by the exact label."""

AtLeastOne = Annotated[int, Range(1)]
Share = Annotated[float, Range(0, 1)]

_NAMES: Mapping[Kind, str] = {"facts": "facts recalled", "labels": "exact match"}
DETAILS = ("tokens", "groups", "answers", "examples")
"""What a card leaves out: it holds the figures alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFigures:
    """The figures of one model, the base or the adapter."""

    loss: float
    """Mean negative log-likelihood of the trained tokens, in nats."""
    perplexity: float | None = field(default=None, metadata=published(if_known=True))
    """exp(loss)."""
    facts_recalled: Share | None = field(default=None, metadata=published(if_known=True))
    """The share of answers with the expected strings; None when no row says what is expected."""
    exact_match: Share | None = field(default=None, metadata=published(if_known=True))
    """The share of answers that are the label; None when no row has one."""

    def share(self, kind: Kind) -> float | None:
        """The share of right answers of one kind."""
        return self.facts_recalled if kind == "facts" else self.exact_match


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """How much a figure changed on the same rows."""

    mean: float
    """The second figure minus the first."""
    low: float | None
    """The lower end of its 95% interval; None when there are too few rows for one."""
    high: float | None
    """The upper end."""

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends, when they are known."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def shown_interval(self) -> str:
        """The interval as it is shown; empty when it is not known."""
        return f"{self.low:+.3f} to {self.high:+.3f}" if self.interval else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLoss:
    """The losses of the rows of one group."""

    name: str
    """The rows' `group`, or `all`."""
    rows: int
    """How many rows."""
    tokens: int
    """Trained tokens in them."""
    base_loss: float
    """Mean negative log-likelihood of their trained tokens under the base, in nats."""
    tuned_loss: float
    """The same with the adapter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """How many questions of one group were answered correctly."""

    group: str
    """The rows' `group`, or `all`."""
    kind: Kind
    """Scored by expected strings, or by an exact label."""
    rows: AtLeastOne
    """How many questions were asked."""
    base_right: int
    """How many the base answers correctly."""
    tuned_right: int
    """How many the adapter answers correctly."""
    tuned_interval: tuple[float, float] | None
    """The adapter's share, 95% interval; None for a sum of groups."""

    @property
    def base_share(self) -> float:
        return self.base_right / self.rows

    @property
    def tuned_share(self) -> float:
        return self.tuned_right / self.rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One question and both answers."""

    question: str
    """What was asked."""
    reference: str
    """The answer of the row."""
    base_answer: str
    """What the base answered."""
    tuned_answer: str
    """What the adapter answered."""
    base_right: bool
    """Whether the base's answer is right."""
    tuned_right: bool
    """Whether the adapter's is."""
    group: str
    """The row's `group`, or `all`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OldRows:
    """The adapter's loss on all evaluation rows of the version that it continues from."""

    rows: AtLeastOne
    """How many they are."""
    fingerprint: str
    """Which rows they are: the fingerprint of that version's evaluation."""
    loss: float
    """Mean negative log-likelihood of their trained tokens, in nats."""


@dataclass(frozen=True, slots=True)
class FigureRow:
    """One figure of base and adapter, as every medium shows it."""

    name: str
    """What is measured."""
    base: str
    """The base's figure."""
    adapter: str
    """The adapter's figure."""
    interval: str = ""
    """The 95% interval of the adapter's figure, or of the difference; empty when not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Base and adapter on the same rows."""

    rows: AtLeastOne
    """Rows whose loss was measured."""
    tokens: int | None = field(default=None, metadata=published(if_known=True))
    """Trained tokens in them; None where only the figures were kept."""
    fingerprint: str
    """Which rows they were."""
    base: ModelFigures
    """The base model on them."""
    tuned: ModelFigures
    """The same with the adapter."""
    difference: PairedDifference
    """Tuned minus base mean loss."""
    groups: tuple[GroupLoss, ...] = ()
    """Losses by group; empty where only the figures were kept, as are the next two."""
    answers: tuple[Answers, ...] = ()
    """Right answers by group."""
    examples: tuple[Example, ...] = ()
    """Every answer."""
    old: OldRows | None = field(default=None, metadata=published(if_known=True))
    """The figures on the rows of the version that it continues from, if they were all evaluated."""

    @classmethod
    def from_mapping(cls, values: Any, where: Where, *, path: KeyPath = ()) -> Self:
        """The evaluation that a file holds at `path`.

        Raises InvalidInput with each figure that is missing or not a number.
        """
        found = build_stored(cls, "the evaluation", values, where, path=path)
        if (found.difference.low is None) != (found.difference.high is None):
            raise InvalidInput(
                "an interval needs both 'low' and 'high'", where=where((*path, "difference"))
            )
        return found

    def to_mapping(self) -> dict[str, Any]:
        """What validation.json holds; figures that are not known are left out."""
        return dict(to_json(self))

    def figures_mapping(self) -> dict[str, Any]:
        """What a card holds: the figures alone."""
        return {key: value for key, value in self.to_mapping().items() if key not in DETAILS}

    def main_rows(self) -> Iterator[FigureRow]:
        """The figures over all rows; a card has these."""
        base, tuned = self.base, self.tuned
        interval = (
            self.difference.shown_interval and f"{self.difference.shown_interval} (difference)"
        )
        yield FigureRow("loss", f"{base.loss:,.3f}", f"{tuned.loss:,.3f}", interval)
        yield FigureRow("perplexity", _perplexity(base), _perplexity(tuned))
        for kind, name in _NAMES.items():
            shares = base.share(kind), tuned.share(kind)
            if shares != (None, None):
                interval = _answers_interval(pool_answers(self.answers, kind))
                yield FigureRow(name, _percent(shares[0]), _percent(shares[1]), interval)

    def all_rows(self) -> Iterator[FigureRow]:
        """The figures over all rows, then the right answers of each group that they do not show."""
        yield from self.main_rows()
        for kind, name in _NAMES.items():
            pool = pool_answers(self.answers, kind)
            for group in self.answers:
                if group.kind == kind and group is not pool:
                    yield FigureRow(
                        f"{name} ({group.group})",
                        _percent(group.base_share),
                        _percent(group.tuned_share),
                        _answers_interval(group),
                    )

    @property
    def summary(self) -> str:
        """What the loss says, in one sentence."""
        seen = f"On {counted(self.rows, 'conversation')} it never saw"
        if not self.difference.interval:
            return f"{seen}; too few for an interval."
        return (
            f"{seen}, the loss differs by {self.difference.mean:+.3f} from the base's "
            f"(95% interval {self.difference.shown_interval})."
        )


def comparison_table(
    evaluations: Mapping[str, Evaluation],
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows of a table with several datasets, by name: one row for each.

    A cell has a figure of the base and of the adapter, as `main_rows` shows them, with the number
    of answers where it is a share of some; `—` where a
    dataset has no such figure.
    """
    figures = {
        name: {row.name: row for row in evaluation.main_rows()}
        for name, evaluation in evaluations.items()
    }
    names = list(dict.fromkeys(name for shown in figures.values() for name in shown))
    rows = [
        (
            name,
            f"{evaluations[name].rows:,}",
            *(
                _change(row, evaluations[name]) if (row := shown.get(figure)) else "—"
                for figure in names
            ),
            evaluations[name].difference.shown_interval or "—",
        )
        for name, shown in figures.items()
    ]
    return ("dataset", ">rows", *(f">{name}" for name in names), "loss difference, 95%"), rows


def pool_answers(answers: Sequence[Answers], kind: Kind) -> Answers | None:
    """The answers of one kind over all groups but `general`; None when there are none.

    A single group is returned as it is.
    """
    groups = [
        group
        for group in answers
        if group.kind == kind and group.group.rpartition(": ")[2] != "general"
    ]
    if len(groups) < 2:
        return groups[0] if groups else None
    return Answers(
        group="all",
        kind=kind,
        rows=sum(group.rows for group in groups),
        base_right=sum(group.base_right for group in groups),
        tuned_right=sum(group.tuned_right for group in groups),
        tuned_interval=None,
    )


def _change(row: FigureRow, evaluation: Evaluation) -> str:
    asked = [
        pool.rows
        for kind, name in _NAMES.items()
        if name == row.name and (pool := pool_answers(evaluation.answers, kind))
    ]
    return f"{row.base} → {row.adapter}" + "".join(f" of {count:,}" for count in asked)


def _perplexity(figures: ModelFigures) -> str:
    return "—" if figures.perplexity is None else f"{figures.perplexity:,.2f}"


def _percent(share: float | None) -> str:
    return "—" if share is None else f"{share:.0%}"


def _answers_interval(answers: Answers | None) -> str:
    if answers is None:
        return ""
    asked = counted(answers.rows, "answer")
    if answers.tuned_interval is None:
        return asked
    low, high = answers.tuned_interval
    return f"{low:.0%} to {high:.0%} ({asked})"
