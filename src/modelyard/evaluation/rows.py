"""Which rows of a dataset can be evaluated at a given length, and why others cannot.

Known before any weight is loaded. Does not import torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modelyard.chatdata.conversation import Conversation
from modelyard.chatdata.tokenizing import Tokenized, TokenRow
from modelyard.core.errors import Diagnostic, NoData
from modelyard.core.wording import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRows:
    """Evaluation rows: conversations and their tokens, in the same order; never empty."""

    conversations: tuple[Conversation, ...]
    """Questions and answers."""
    tokens: tuple[TokenRow, ...]
    """The tokens whose loss is measured."""
    warnings: tuple[str, ...] = ()
    """What `max_length` and the chat template removed, a line each."""


def choose_rows(
    conversations: Sequence[Conversation],
    tokenized: Tokenized,
    *,
    max_length: int,
    most_tokens: int | None = None,
) -> EvaluationRows:
    """The conversations that could be tokenised, with warnings about the others.

    `tokenized` belongs to `conversations`; `most_tokens` is the base's context length.
    Raises NoData, with the cause, when none are left.
    """
    if not conversations:
        raise NoData(
            "there are no evaluation rows, so nothing can be evaluated",
            hint="give the dataset an eval.jsonl; `models prepare-data` splits one off",
        )
    if not tokenized.rows:
        raise _none_left(conversations, tokenized, max_length, most_tokens)
    by_source = {row.source: row for row in conversations}
    return EvaluationRows(
        # A plain text may be several rows of tokens.
        conversations=tuple(by_source[row.source] for row in tokenized.rows),
        tokens=tokenized.rows,
        warnings=tuple(_warnings(conversations, tokenized, max_length)),
    )


def _none_left(
    conversations: Sequence[Conversation],
    tokenized: Tokenized,
    max_length: int,
    most_tokens: int | None,
) -> NoData:
    rows, longest = counted(len(conversations), "evaluation row"), tokenized.longest
    if len(tokenized.lost) < len(conversations):
        first = _other_problems(tokenized)[0]
        message = f"none of the {rows} can be evaluated: {first.message}"
        return NoData(message, where=first.where, hint=first.hint)
    if most_tokens is None or longest <= most_tokens:
        hint = f"raise max_length to {longest:,}, which keeps every row whole"
    else:
        hint = (
            f"the longest row has {longest:,} tokens, and the base takes {most_tokens:,}: "
            "raise max_length to that, and split longer rows"
        )
    return NoData(
        f"all {rows} are cut off before their last answer by max_length {max_length:,}, "
        "so nothing can be evaluated",
        hint=hint,
    )


def _warnings(
    conversations: Sequence[Conversation], tokenized: Tokenized, max_length: int
) -> list[str]:
    whole = f"max_length {max_length:,} (the longest row has {tokenized.longest:,} tokens)"
    lines = [
        (len(tokenized.cut), f"evaluated without the end of the last answer, because of {whole}"),
        (len(tokenized.lost), f"left out, cut off before the last answer by {whole}"),
    ]
    if others := _other_problems(tokenized):
        kept = {row.source for row in tokenized.rows}
        left_out = len(conversations) - len(kept) - len(tokenized.lost)
        lines.append((left_out, f"left out: {others[0].message}"))
    rows = counted(len(conversations), "evaluation row")
    return [f"{number:,} of {rows} {text}" for number, text in lines if number]


def _other_problems(tokenized: Tokenized) -> list[Diagnostic]:
    """The problems that do not come from the length."""
    return [problem for problem in tokenized.problems if problem.where not in tokenized.lost]
