"""Conversations into tokens, with a proven mask of the trained tokens.

The proof gives each answer's characters (chatdata/proof.py), and with them its tokens. Does not
know models or batches.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from modelyard.chatdata.conversation import Conversation
from modelyard.chatdata.proof import PARTS_HINT, Fault, Prover, Rendering, Unstable, no_stop_token
from modelyard.chatdata.template import ChatTokenizer, TemplateRefused
from modelyard.chatdata.turn_texts import Change, Span
from modelyard.core.errors import Diagnostic

_BATCH_ROWS = 1000


@dataclass(frozen=True, slots=True, eq=False)
class TokenRow:
    """One conversation as tokens, up to its last trained token; what follows has no loss."""

    input_ids: npt.NDArray[np.int32]
    """int32 [n]: token ids."""
    trained: npt.NDArray[np.bool_]
    """bool [n]: which tokens are trained (the answers with their end-of-turn tokens)."""
    source: str
    """Where the conversation was read, such as `train.jsonl:12`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenized:
    """A list of conversations as tokens, with what was cut, left out or wrong."""

    rows: tuple[TokenRow, ...]
    """The rows that can be trained on, in order."""
    cut: tuple[str, ...] = ()
    """Sources of rows whose last answer lost its end to `max_length`."""
    lost: tuple[str, ...] = ()
    """Sources of rows whose whole last answer lies beyond `max_length`; they are problems too."""
    longest: int = 0
    """Tokens of the longest row up to its last trained token, before it was cut."""
    straddling: tuple[str, ...] = ()
    """Sources of rows in which a token lies across the start of an answer, so is not trained."""
    respaced: tuple[str, ...] = ()
    """Sources of rows in which the template changed whitespace of a turn's text."""
    without_reasoning: tuple[str, ...] = ()
    """Sources of rows in which the template left out the reasoning before an answer."""
    problems: tuple[Diagnostic, ...] = ()
    """What cannot be made into tokens, and why."""
    unproven: tuple[Diagnostic, ...] = ()
    """Why `rows` must not be trained on: texts that are lost, and answers that have no end."""


def tokenize_conversations(
    conversations: Sequence[Conversation],
    tokenizer: ChatTokenizer,
    *,
    max_length: int,
    most_tokens: int | None = None,
) -> Tokenized:
    """Render, tokenize and mask conversations; rows longer than `max_length` keep their beginning.

    `most_tokens` is the most that `max_length` can be raised to, for hints; None is no limit.
    Never raises for a row: what cannot be trained on is in `problems`. What is wrong with the
    template is one of `problems` or `unproven`, whatever the number of rows.
    """
    stops = tokenizer.stop_ids
    rendered, problems = _render(conversations, tokenizer)
    rows: list[TokenRow] = []
    cut: list[str] = []
    lost: list[str] = []
    longest = 0
    straddling: list[str] = []
    faults: list[tuple[str, Fault]] = []
    for start in range(0, len(rendered), _BATCH_ROWS):
        batch = rendered[start : start + _BATCH_ROWS]
        encodings = tokenizer.tokenizer.encode_batch(
            [rendering.text for _, rendering in batch], add_special_tokens=False
        )
        for (conversation, rendering), encoding in zip(batch, encodings, strict=True):
            length = len(rendering.text)
            found = [_token_span(encoding, span, length, stops) for span in rendering.answers]
            first, end = found[-1][:2]
            longest = max(longest, end)
            if first >= end:
                problems.append(
                    Diagnostic(
                        message="has nothing to train on: its answer adds no token",
                        where=conversation.source,
                    )
                )
                continue
            wrong = rendering.faults
            if not wrong and any(encoding.ids[after - 1] not in stops for _, after, _ in found):
                wrong = (no_stop_token(tokenizer, conversation.source),)
            faults += [(conversation.source, fault) for fault in wrong]
            if first >= max_length:
                lost.append(conversation.source)
                problems.append(_cut_off(conversation, first, end, max_length, most_tokens))
                continue
            if end > max_length:
                cut.append(conversation.source)
            if any(straddles for _, _, straddles in found):
                straddling.append(conversation.source)
            length = min(end, max_length)
            trained = np.zeros(length, dtype=np.bool_)
            for answer_start, answer_end, _ in found:
                trained[answer_start:answer_end] = True
            ids = np.array(encoding.ids[:length], dtype=np.int32)
            rows.append(TokenRow(ids, trained, conversation.source))
    return Tokenized(
        rows=tuple(rows),
        cut=tuple(cut),
        lost=tuple(lost),
        longest=longest,
        straddling=tuple(straddling),
        respaced=_changed(rendered, Change.WHITESPACE),
        without_reasoning=_changed(rendered, Change.REASONING),
        problems=tuple(problems),
        unproven=_group(faults, len(conversations), where=tokenizer.template.name),
    )


def _render(
    conversations: Sequence[Conversation], tokenizer: ChatTokenizer
) -> tuple[list[tuple[Conversation, Rendering]], list[Diagnostic]]:
    """The conversations whose answers can be found, rendered, and why others cannot be."""
    prover = Prover(tokenizer)
    rendered: list[tuple[Conversation, Rendering]] = []
    problems: list[Diagnostic] = []
    unstable: list[Unstable] = []
    for conversation in conversations:
        try:
            rendered.append((conversation, prover.render(conversation)))
        except TemplateRefused as error:
            hint = PARTS_HINT if tokenizer.template.reads_parts_only("user") else None
            problems.append(Diagnostic(message=error.message, where=conversation.source, hint=hint))
        except Unstable as error:
            unstable.append(error)
    if unstable:
        problems.append(
            Diagnostic(
                message=(
                    "the chat template is not prefix-stable, so nothing proves which tokens are "
                    f"answers: {unstable[0]}, in {len(unstable):,} of {len(conversations):,} rows"
                ),
                where=tokenizer.template.name,
                hint=unstable[0].hint,
            )
        )
    return rendered, problems


def _changed(rendered: Sequence[tuple[Conversation, Rendering]], change: Change) -> tuple[str, ...]:
    return tuple(row.source for row, rendering in rendered if change in rendering.changes)


def _group(faults: Sequence[tuple[str, Fault]], rows: int, *, where: str) -> tuple[Diagnostic, ...]:
    """One problem for each reason, with its first place and how many rows have it."""
    first: dict[str, Fault] = {}
    sources: dict[str, set[str]] = {}
    for source, fault in faults:
        first.setdefault(fault.reason, fault)
        sources.setdefault(fault.reason, set()).add(source)
    return tuple(
        Diagnostic(
            message=f"{reason}: {fault.place}, in {len(sources[reason]):,} of {rows:,} rows",
            where=where,
            hint=fault.hint,
        )
        for reason, fault in first.items()
    )


def _token_span(
    encoding: Any, span: Span, text_length: int, stops: Set[int]
) -> tuple[int, int, bool]:
    """First token, the token after the last, and whether a token lies across the start."""
    start, end = span
    first, after = (_token_at(encoding, place, text_length) for place in span)
    straddles = first < len(encoding) and encoding.token_to_chars(first)[0] < start
    if after < len(encoding) and encoding.token_to_chars(after)[0] < end:
        after += encoding.ids[after] in stops  # it took in the whitespace that follows (`rstrip`)
    return first + straddles, after, straddles


def _token_at(encoding: Any, position: int, text_length: int) -> int:
    """The token of the first character at or after `position` that has one."""
    for character in range(position, text_length):
        token: int | None = encoding.char_to_token(character)
        if token is not None:
            return token
    return len(encoding)


def _cut_off(
    conversation: Conversation, first: int, end: int, max_length: int, most_tokens: int | None
) -> Diagnostic:
    if most_tokens is None or end <= most_tokens:
        hint = f"raise max_length to {end:,}, or shorten or split the row"
    else:
        hint = f"split or remove the row: max_length can be {most_tokens:,} at most with this base"
    return Diagnostic(
        message=(
            f"is {end:,} tokens long and max_length is {max_length:,}: "
            f"its last answer (from token {first + 1:,}) is cut off entirely"
        ),
        where=conversation.source,
        hint=hint,
    )
