"""Right answers to rows that say what is right: `expect`, strings that must occur, or `label`.

Knows rows and the answers of base and tuned model; does not know who gave them.
"""

from __future__ import annotations

from collections.abc import Sequence

from modelyard.chatdata.conversation import Conversation
from modelyard.evaluation.scoring import answer_meets, labels_exact
from modelyard.evaluation.statistics import share_interval
from modelyard.records.evaluation import Answers, Example, Kind

WHOLE = "all"
"""The group of rows that name none."""


def says_what_is_right(row: Conversation) -> bool:
    """Whether answers to the row can be scored."""
    return "expect" in row.fields or "label" in row.fields


def kind_of(row: Conversation) -> Kind:
    """How answers to the row are scored."""
    return "facts" if "expect" in row.fields else "labels"


def label_of(row: Conversation) -> str:
    """The answer that is right, where the kind is `labels`."""
    return str(row.fields["label"])


def group_of(row: Conversation) -> str:
    """The group in which the row's result is counted."""
    return str(row.fields.get("group") or WHOLE)


def is_right(row: Conversation, answer: str) -> bool:
    """Whether this answer to the row is right."""
    if kind_of(row) == "facts":
        return answer_meets(answer, row.fields["expect"])
    return labels_exact(answer, label_of(row))


def build_example(row: Conversation, base_answer: str, tuned_answer: str) -> Example:
    """One question with both answers, scored."""
    return Example(
        question=row.prompt[-1].content,
        reference=row.answer,
        base_answer=base_answer,
        tuned_answer=tuned_answer,
        base_right=is_right(row, base_answer),
        tuned_right=is_right(row, tuned_answer),
        group=group_of(row),
    )


def count_right(rows: Sequence[Conversation], examples: Sequence[Example]) -> list[Answers]:
    """Right answers by group and kind; `examples` belong to `rows`."""
    members: dict[tuple[str, Kind], list[Example]] = {}
    for row, example in zip(rows, examples, strict=True):
        members.setdefault((example.group, kind_of(row)), []).append(example)
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
