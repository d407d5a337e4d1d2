"""Base against adapter on the same rows: losses with a paired interval, and answers that are right.

Base and adapter are computed in the same batches, so both see the same tokens and kernels.
Answers are scored where a row says what is right: `expect` (strings that must occur) or `label`
(the exact answer).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from modelyard.chatdata.conversation import Conversation
from modelyard.chatdata.dataset import fingerprint_rows
from modelyard.core.progress import Progress
from modelyard.core.wording import counted
from modelyard.evaluation.asking import choose_questions, measure
from modelyard.evaluation.right_answers import build_example, count_right, group_of
from modelyard.evaluation.rows import EvaluationRows
from modelyard.evaluation.statistics import paired_difference
from modelyard.inference.engine import LoadedModel
from modelyard.inference.losses import RowLoss
from modelyard.records.evaluation import (
    Evaluation,
    GroupLoss,
    ModelFigures,
    pool_answers,
)

DEFAULT_ANSWERS = 200
"""How many rows are answered at most; losses are measured on all."""


def evaluate_adapter(
    model: LoadedModel,
    rows: EvaluationRows,
    *,
    progress: Progress,
    answers_limit: int = DEFAULT_ANSWERS,
) -> Evaluation:
    """Measure base and adapter on rows that the adapter was not trained on."""
    conversations = rows.conversations
    progress.stage(f"evaluate: base and adapter on {counted(len(conversations), 'row')}")
    models = (model.without_adapter, model)
    questions = choose_questions(rows, model.tokenizer, answers_limit)
    measured = measure(models, rows.tokens, questions, progress=progress)
    base, tuned = (each.losses for each in measured)
    asked = [question.row for question in questions]
    examples = list(map(build_example, asked, *(each.answers for each in measured)))
    answers = count_right(asked, examples)
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


def _group_losses(
    conversations: Sequence[Conversation], base: Sequence[RowLoss], tuned: Sequence[RowLoss]
) -> list[GroupLoss]:
    members: dict[str, list[int]] = {}
    for index, conversation in enumerate(conversations):
        members.setdefault(group_of(conversation), []).append(index)
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
