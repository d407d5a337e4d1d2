"""Conversations into tokens, with a proven mask of the trained tokens.

The proof: the text up to where an answer begins, and the text up to its end of turn, must both be
prefixes of the whole rendering. That gives the answer's characters, and with them its tokens. Does
not know models or batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from modelyard.chatdata.conversation import Conversation
from modelyard.chatdata.template import ChatTokenizer, TemplateRefused
from modelyard.core.errors import Diagnostic

_BATCH_ROWS = 1000

Span = tuple[int, int]
"""An answer's place in a rendering: its first character, and the one after its end of turn."""


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
    problems: tuple[Diagnostic, ...] = ()
    """The rows that cannot be trained on, and why."""


def tokenize_conversations(
    conversations: Sequence[Conversation],
    tokenizer: ChatTokenizer,
    *,
    max_length: int,
    most_tokens: int | None = None,
) -> Tokenized:
    """Render, tokenize and mask conversations; rows longer than `max_length` keep their beginning.

    `most_tokens` is the most that `max_length` can be raised to, for hints; None is no limit.
    Never raises for a row: what cannot be trained on is in `problems`, and a template that is not
    prefix-stable is one problem, whatever the number of rows.
    """
    rendered: list[tuple[Conversation, str, list[Span]]] = []
    problems: list[Diagnostic] = []
    unstable: list[str] = []
    for conversation in conversations:
        try:
            text, spans = _answer_spans(conversation, tokenizer)
            rendered.append((conversation, text, spans))
        except TemplateRefused as error:
            problems.append(Diagnostic(message=error.message, where=conversation.source))
        except _Unstable as error:
            unstable.append(str(error))
    if unstable:
        problems.append(
            Diagnostic(
                message=(
                    "the chat template is not prefix-stable, so nothing proves which tokens are "
                    f"answers: {unstable[0]}, in {len(unstable):,} of {len(conversations):,} rows"
                ),
                where=tokenizer.template.name,
                hint=(
                    "give the base a template that renders a turn the same whatever follows it, "
                    "or give each answer a row of its own"
                ),
            )
        )

    rows: list[TokenRow] = []
    cut: list[str] = []
    lost: list[str] = []
    longest = 0
    straddling: list[str] = []
    for start in range(0, len(rendered), _BATCH_ROWS):
        batch = rendered[start : start + _BATCH_ROWS]
        encodings = tokenizer.tokenizer.encode_batch(
            [text for _, text, _ in batch], add_special_tokens=False
        )
        for (conversation, text, spans), encoding in zip(batch, encodings, strict=True):
            found = [_token_span(encoding, span, len(text)) for span in spans]
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
        problems=tuple(problems),
    )


def _answer_spans(conversation: Conversation, tokenizer: ChatTokenizer) -> tuple[str, list[Span]]:
    """The rendered conversation and the span of each answer, proven by the prefix property.

    A span runs from where the model begins to answer to the end of its end-of-turn token.
    """
    messages = conversation.messages
    whole = tokenizer.render(messages)
    spans: list[Span] = []
    for index, message in enumerate(messages):
        if message.role != "assistant":
            continue
        before = tokenizer.render(messages[:index], add_generation_prompt=True)
        is_last = index + 1 == len(messages)
        upto = whole if is_last else tokenizer.render(messages[: index + 1])
        turn_end = _turn_end(upto, tokenizer.special_texts)
        place = f"message {index + 1} of {conversation.source}"
        if not upto.startswith(before):
            raise _Unstable(f"the text before the answer changes ({place})")
        if not whole.startswith(upto[:turn_end]):
            raise _Unstable(f"the answer changes when turns follow ({place})")
        spans.append((len(before), turn_end))
    return whole, spans


class _Unstable(Exception):
    """A rendering that is not a prefix of the one with more turns."""


def _turn_end(text: str, special_texts: tuple[str, ...]) -> int:
    """The end of the last turn: after its end-of-turn token, whatever whitespace follows that."""
    trimmed = text.rstrip()
    return len(trimmed) if trimmed.endswith(special_texts) else len(text)


def _token_span(encoding: Any, span: Span, text_length: int) -> tuple[int, int, bool]:
    """First token, the token after the last, and whether a token lies across the start."""
    start, end = span
    first = _token_at(encoding, start, text_length)
    straddles = first < len(encoding) and encoding.token_to_chars(first)[0] < start
    return first + straddles, _token_at(encoding, end, text_length), straddles


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
