"""Base against adapter on the same rows: losses with a paired interval, and answers that are right.

The base is the same model with its adapter switched off, so both see the same tokens and kernels.
Answers are generated where a row says how to score them: `expect` (strings that must occur) or
`label` (the exact answer).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from modelyard.chatdata.conversation import Conversation
from modelyard.chatdata.dataset import fingerprint_rows
from modelyard.core.progress import Progress
from modelyard.evaluation.rows import EvaluationRows
from modelyard.evaluation.scoring import answer_meets, labels_exact
from modelyard.evaluation.statistics import paired_difference, share_interval
from modelyard.inference.engine import Engine, RowLoss

DEFAULT_ANSWERS = 200
"""How many rows are answered at most; losses are measured on all."""
_SPARE_TOKENS = 16
_LONGEST_ANSWER = 256
_WHOLE = "all"

Kind = Literal["facts", "labels"]


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
    rows: int
    """How many questions were asked."""
    base_right: int
    """How many the base answers correctly."""
    tuned_right: int
    """How many the adapter answers correctly."""
    tuned_interval: tuple[float, float]
    """The adapter's share, 95% interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One question and both answers."""

    question: str
    reference: str
    base_answer: str
    tuned_answer: str
    base_right: bool
    tuned_right: bool
    group: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The contents of validation.json."""

    rows: int
    """Rows whose loss was measured."""
    tokens: int
    """Trained tokens in them."""
    fingerprint: str
    """Which rows they were."""
    base: Mapping[str, float]
    """loss, perplexity, and facts_recalled or exact_match where rows say how to score."""
    tuned: Mapping[str, float]
    """The same with the adapter."""
    difference: Mapping[str, float | None]
    """Tuned minus base mean loss: mean, and low and high of its 95% interval."""
    groups: tuple[GroupLoss, ...]
    answers: tuple[Answers, ...]
    examples: tuple[Example, ...]


def evaluate_adapter(
    engine: Engine,
    rows: EvaluationRows,
    *,
    progress: Progress,
    answers_limit: int = DEFAULT_ANSWERS,
) -> Evaluation:
    """Measure base and adapter on rows that the adapter was not trained on."""
    conversations = rows.conversations
    progress.stage(f"evaluate: base and adapter on {len(conversations):,} rows")
    base = engine.row_losses(rows.tokens, use_adapter=False)
    tuned = engine.row_losses(rows.tokens)
    examples, answers = _ask(engine, conversations, progress, answers_limit)
    difference = paired_difference(
        [row.mean for row in base], [row.mean for row in tuned], [row.tokens for row in base]
    )
    return Evaluation(
        rows=len(conversations),
        tokens=sum(row.tokens for row in base),
        fingerprint=fingerprint_rows((), conversations),
        base={**_loss_figures(base), **_shares(answers, "base_right")},
        tuned={**_loss_figures(tuned), **_shares(answers, "tuned_right")},
        difference=asdict(difference),
        groups=tuple(_group_losses(conversations, base, tuned)),
        answers=tuple(answers),
        examples=tuple(examples),
    )


def _mean_loss(losses: Sequence[RowLoss]) -> float:
    return sum(row.total for row in losses) / sum(row.tokens for row in losses)


def _loss_figures(losses: Sequence[RowLoss]) -> dict[str, float]:
    loss = _mean_loss(losses)
    return {"loss": loss, "perplexity": math.exp(min(loss, 700.0))}


def _group(conversation: Conversation) -> str:
    return str(conversation.fields.get("group") or _WHOLE)


def _group_losses(
    conversations: Sequence[Conversation], base: Sequence[RowLoss], tuned: Sequence[RowLoss]
) -> list[GroupLoss]:
    members: dict[str, list[int]] = {}
    for index, conversation in enumerate(conversations):
        members.setdefault(_group(conversation), []).append(index)
    return [
        GroupLoss(
            name=name,
            rows=len(chosen),
            tokens=sum(base[index].tokens for index in chosen),
            base_loss=_mean_loss([base[index] for index in chosen]),
            tuned_loss=_mean_loss([tuned[index] for index in chosen]),
        )
        for name, chosen in members.items()
    ]


def _kind(conversation: Conversation) -> Kind | None:
    if "expect" in conversation.fields:
        return "facts"
    return "labels" if "label" in conversation.fields else None


def _is_right(conversation: Conversation, answer: str) -> bool:
    if _kind(conversation) == "facts":
        return answer_meets(answer, conversation.fields["expect"])
    return labels_exact(answer, str(conversation.fields["label"]))


def _ask(
    engine: Engine, conversations: Sequence[Conversation], progress: Progress, limit: int
) -> tuple[list[Example], list[Answers]]:
    """Ask base and adapter the questions that can be scored; evenly spread when there are many."""
    scorable = [row for row in conversations if _kind(row) is not None]
    count = min(limit, len(scorable))
    chosen = [scorable[index * len(scorable) // count] for index in range(count)]
    if not chosen:
        return [], []
    tokenizer = engine.tokenizer
    prompts = [tokenizer.encode_prompt(row.prompt) for row in chosen]
    longest = max(len(tokenizer.encode(row.answer)) for row in chosen)
    budget = min(_LONGEST_ANSWER, longest + _SPARE_TOKENS)

    generated = {
        name: engine.generate(
            prompts, max_new_tokens=budget, use_adapter=adapter, progress=progress, label=name
        )
        for name, adapter in (("base", False), ("adapter", True))
    }
    examples = [
        Example(
            question=row.prompt[-1].content,
            reference=row.answer,
            base_answer=base,
            tuned_answer=tuned,
            base_right=_is_right(row, base),
            tuned_right=_is_right(row, tuned),
            group=_group(row),
        )
        for row, base, tuned in zip(chosen, generated["base"], generated["adapter"], strict=True)
    ]
    return examples, _count_right(chosen, examples)


def _count_right(chosen: Sequence[Conversation], examples: Sequence[Example]) -> list[Answers]:
    members: dict[tuple[str, Kind], list[Example]] = {}
    for conversation, example in zip(chosen, examples, strict=True):
        kind = _kind(conversation)
        if kind is not None:
            members.setdefault((example.group, kind), []).append(example)
    return [
        Answers(
            group=group,
            kind=kind,
            rows=len(some),
            base_right=sum(example.base_right for example in some),
            tuned_right=sum(example.tuned_right for example in some),
            tuned_interval=share_interval(sum(example.tuned_right for example in some), len(some)),
        )
        for (group, kind), some in members.items()
    ]


_SHARE_NAMES: dict[Kind, str] = {"facts": "facts_recalled", "labels": "exact_match"}


def _shares(answers: Sequence[Answers], side: str) -> dict[str, float]:
    """The share of right answers of each kind over all groups but `general`."""
    found: dict[str, float] = {}
    scored = [group for group in answers if group.group.rpartition(": ")[2] != "general"]
    for kind, name in _SHARE_NAMES.items():
        groups = [group for group in scored if group.kind == kind]
        if groups:
            right = sum(getattr(group, side) for group in groups)
            found[name] = right / sum(group.rows for group in groups)
    return found
