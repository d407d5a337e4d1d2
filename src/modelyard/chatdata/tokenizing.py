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
from modelyard.chatdata.honoured import ControlTokens, find_unrendered
from modelyard.chatdata.proof import PARTS_HINT, Fault, Prover, Rendering, Unstable, no_stop_token
from modelyard.chatdata.rendered_parts import Kind
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
    lengths: tuple[int, ...] = ()
    """Tokens of each row up to its last trained token, before it was cut; lost rows included."""
    straddling: tuple[str, ...] = ()
    """Sources of rows in which a token lies across the start of an answer, so is not trained."""
    respaced: tuple[str, ...] = ()
    """Sources of rows in which the template changed whitespace of a turn's text."""
    without_reasoning: tuple[str, ...] = ()
    """Sources of rows in which the template left out the reasoning before an answer."""
    without_descriptions: tuple[str, ...] = ()
    """Sources of rows in which the template left out what every tool is for."""
    without_parameters: tuple[str, ...] = ()
    """Sources of rows in which the template left out the names of every tool's parameters."""
    problems: tuple[Diagnostic, ...] = ()
    """What cannot be made into tokens, and why."""
    unproven: tuple[Diagnostic, ...] = ()
    """Why `rows` must not be trained on: texts that are lost, and answers that have no end."""

    @property
    def longest(self) -> int:
        """Tokens of the longest row, before it was cut."""
        return max(self.lengths, default=0)


def tokenize_conversations(
    conversations: Sequence[Conversation],
    tokenizer: ChatTokenizer,
    *,
    max_length: int,
    most_tokens: int | None = None,
    allow_control_tokens: bool = False,
) -> Tokenized:
    """Render, tokenize and mask conversations; rows longer than `max_length` keep their beginning.

    A plain text longer than that becomes several rows, so that all of it is trained.
    `most_tokens` is the most that `max_length` can be raised to, for hints; None is no limit.
    With `allow_control_tokens`, texts of rows may hold control tokens of the base.
    Never raises for a row: what cannot be trained on is in `problems`. What is wrong with the
    template is one of `problems` or `unproven`, whatever the number of rows.
    """
    stops = tokenizer.stop_ids
    control_tokens = None if allow_control_tokens else ControlTokens(tokenizer)
    left_out: dict[Kind, list[str]] = {}
    rendered, problems = _render(conversations, tokenizer, control_tokens, left_out)
    rows: list[TokenRow] = []
    cut: list[str] = []
    lost: list[tuple[str, int]] = []
    lengths: list[int] = []
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
            lengths.append(end)
            if first >= end:
                problems.append(
                    Diagnostic(
                        message="has nothing to train on: its answer adds no token",
                        where=conversation.source,
                    )
                )
                continue
            wrong = rendering.faults
            if conversation.is_plain_text:
                rows += _windows(encoding.ids, max_length, conversation.source)
                continue
            if not wrong and any(encoding.ids[after - 1] not in stops for _, after, _ in found):
                wrong = (no_stop_token(tokenizer, conversation.source),)
            faults += [(conversation.source, fault) for fault in wrong]
            if first >= max_length:
                lost.append((conversation.source, end))
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
        lost=tuple(source for source, _ in lost),
        lengths=tuple(lengths),
        straddling=tuple(straddling),
        respaced=_changed(rendered, Change.WHITESPACE),
        without_reasoning=_changed(rendered, Change.REASONING),
        without_descriptions=tuple(left_out.get(Kind.DESCRIPTION, ())),
        without_parameters=tuple(left_out.get(Kind.PARAMETER, ())),
        problems=(*problems, *_cut_off(lost, max(lengths, default=0), max_length, most_tokens)),
        unproven=_group(faults, len(conversations), where=tokenizer.template.name),
    )


def _render(
    conversations: Sequence[Conversation],
    tokenizer: ChatTokenizer,
    control_tokens: ControlTokens | None,
    left_out: dict[Kind, list[str]],
) -> tuple[list[tuple[Conversation, Rendering]], list[Diagnostic]]:
    """The conversations whose answers can be found, rendered, and why others cannot be.

    Adds to `left_out` the sources of rows of whose tools something is allowed to be left out.
    """
    prover = Prover(tokenizer)
    rendered: list[tuple[Conversation, Rendering]] = []
    problems: list[Diagnostic] = []
    unstable: list[Unstable] = []
    for conversation in conversations:
        try:
            bound = tokenizer.bound_to(conversation)
            one = prover if bound is tokenizer else Prover(bound)
            rendering = one.render(conversation)
            unrendered = find_unrendered(conversation, tokenizer)
            if wrong := _refusals(conversation, unrendered.wrong, control_tokens):
                problems += wrong
            else:
                rendered.append((conversation, rendering))
                for kind in unrendered.left_out:
                    left_out.setdefault(kind, []).append(conversation.source)
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


def _refusals(
    conversation: Conversation, unrendered: Sequence[str], control_tokens: ControlTokens | None
) -> list[Diagnostic]:
    """What the row holds that the template leaves out, and text that would be a control token."""
    where = conversation.source
    wrong = [
        Diagnostic(
            message=message,
            where=where,
            hint="take a base whose chat template does, or remove it from the rows",
        )
        for message in unrendered
    ]
    found = control_tokens.find(conversation) if control_tokens else None
    if not found:
        return wrong
    hint = "rewrite the text; if it is meant, add --allow-control-tokens"
    return [*wrong, Diagnostic(message=found, where=where, hint=hint)]


def _windows(ids: Sequence[int], length: int, source: str) -> list[TokenRow]:
    """A plain text as rows of at most `length` tokens, all of them trained."""
    pieces = [ids[start : start + length] for start in range(0, len(ids), length)]
    return [
        TokenRow(np.array(piece, dtype=np.int32), np.ones(len(piece), dtype=np.bool_), source)
        for piece in pieces
        if len(piece) > 1 or len(pieces) == 1  # nothing predicts a single token
    ]


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
    lost: Sequence[tuple[str, int]], longest: int, max_length: int, most_tokens: int | None
) -> list[Diagnostic]:
    """A problem for each row whose last answer is lost; `lost` has sources and lengths in tokens.
    longest: tokens of the longest row, also one that is cut within its last answer.

    They are worded alike, so that many of them are one line.
    """
    fitting = [end for _, end in lost if most_tokens is None or end <= most_tokens]
    least = max(fitting, default=0)
    possible = least < longest <= (most_tokens or longest)
    whole = f" ({longest:,} keeps every row whole)" if possible else ""
    raised = f"raise max_length to {least:,}{whole}, or shorten or split the row"
    too_long = (
        f"split or remove the row: max_length can be {most_tokens or 0:,} at most with this base"
    )
    return [
        Diagnostic(
            message=f"max_length is {max_length:,}: its last answer is cut off entirely",
            where=source,
            hint=raised if most_tokens is None or end <= most_tokens else too_long,
        )
        for source, end in lost
    ]
