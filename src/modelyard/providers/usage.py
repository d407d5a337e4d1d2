"""Tokens of a call: what was reported, where it can be true, else an estimate."""

from __future__ import annotations

from collections.abc import Sequence

from modelyard.chatdata.conversation import Message
from modelyard.providers.call import Usage

_BYTES_PER_TOKEN = 3
"""A low estimate, which gives too many tokens rather than too few: English prose has 4 to 5, code
and many other scripts about 3."""
_TOKENS_PER_MESSAGE = 4


def estimate_tokens(text: str) -> int:
    """About how many tokens a text has, by a tokenizer that is not known."""
    return -(-len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN)


def estimate_usage(messages: Sequence[Message], text: str) -> Usage:
    """The tokens of a call that nobody reported."""
    given = sum(estimate_tokens(turn.content) + _TOKENS_PER_MESSAGE for turn in messages)
    return Usage(input_tokens=given, output_tokens=estimate_tokens(text), is_estimated=True)


def reported_usage(reported: Usage | None, estimate: Usage, *, most_tokens: int) -> Usage:
    """What was reported, where that can be true; else the estimate.

    most_tokens: more than any call of the model can have, of input and of output.
    """
    if reported is None:
        return estimate
    given, made = reported.input_tokens, reported.output_tokens
    cached, written = reported.cached_input_tokens, reported.cache_write_tokens
    can_be = (
        0 < given <= most_tokens
        and 0 <= made <= most_tokens
        and (made > 0 or estimate.output_tokens == 0)
        and min(cached, written) >= 0
        and cached + written <= given
    )
    return reported if can_be else estimate


def count_of(value: object) -> int:
    """A number of tokens as JSON has it; -1, which no usage can have, for anything else."""
    if value is None:
        return 0
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else -1
