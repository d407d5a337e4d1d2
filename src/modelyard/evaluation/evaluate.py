"""Base against adapter on the same rows: losses with a paired interval, and answers that are right.

The base is the same model with its adapter switched off, so both see the same tokens and kernels.
Answers are generated where a row says how to score them: `expect` (strings that must occur) or
`label` (the exact answer).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from modelyard.chatdata.conversation import Conversation
from modelyard.chatdata.dataset import fingerprint_rows
from modelyard.core.progress import Progress
from modelyard.core.wording import counted
from modelyard.evaluation.rows import EvaluationRows
from modelyard.evaluation.scoring import answer_meets, labels_exact
from modelyard.evaluation.statistics import paired_difference, share_interval
from modelyard.inference.engine import Engine, RowLoss
from modelyard.records.evaluation import (
    Answers,
    Evaluation,
    Example,
    GroupLoss,
    Kind,
    ModelFigures,
    pool_answers,
)

DEFAULT_ANSWERS = 200
"""How many rows are answered at most; losses are measured on all."""
_SPARE_TOKENS = 16
_LONGEST_ANSWER = 256
_WHOLE = "all"


def evaluate_adapter(
    engine: Engine,
    rows: EvaluationRows,
    *,
    progress: Progress,
    answers_limit: int = DEFAULT_ANSWERS,
) -> Evaluation:
    """Measure base and adapter on rows that the adapter was not trained on."""
    conversations = rows.conversations
    progress.stage(f"evaluate: base and adapter on {counted(len(conversations), 'row')}")
    base = engine.row_losses(rows.tokens, use_adapter=False)
    tuned = engine.row_losses(rows.tokens)
    examples, answers = _ask(engine, conversations, progress, answers_limit)
    facts, labels = pool_answers(answers, "facts"), pool_answers(answers, "labels")
    return Evaluation(
        rows=len(conversations),
        tokens=sum(row.tokens for row in base),
        fingerprint=fingerprint_rows((), conversations),
        base=_figures(
            base,
            facts_recalled=facts.base_share if facts else None,
            exact_match=labels.base_share if labels else None,
        ),
        tuned=_figures(
            tuned,
            facts_recalled=facts.tuned_share if facts else None,
            exact_match=labels.tuned_share if labels else None,
        ),
        difference=paired_difference(
            [row.mean for row in base], [row.mean for row in tuned], [row.tokens for row in base]
        ),
        groups=tuple(_group_losses(conversations, base, tuned)),
        answers=tuple(answers),
        examples=tuple(examples),
    )


def _mean_loss(losses: Sequence[RowLoss]) -> float:
    return sum(row.total for row in losses) / sum(row.tokens for row in losses)


def _figures(
    losses: Sequence[RowLoss], *, facts_recalled: float | None, exact_match: float | None
) -> ModelFigures:
    loss = _mean_loss(losses)
    return ModelFigures(
        loss=loss,
        perplexity=math.exp(min(loss, 700.0)),
        facts_recalled=facts_recalled,
        exact_match=exact_match,
    )


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
    prompts = [tokenizer.bound_to(row).encode_prompt(row.prompt) for row in chosen]
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
