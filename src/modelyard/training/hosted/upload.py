"""The training rows as the fine-tuning API takes them: one conversation a line, and nothing else.

Only what the model is to learn leaves the machine: turns and tools, not a row's other keys, and no
evaluation row.
Source: OpenAI, Supervised fine-tuning, "Formatting your data" (the chat format).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from modelyard.answering.prompt import count_tokens
from modelyard.chatdata.conversation import Conversation, Message
from modelyard.chatdata.turns import RENDERED_KEYS
from modelyard.core.errors import Diagnostic, ProblemsFound
from modelyard.core.wording import counted

_LIKELY_BYTES_PER_TOKEN = 4
"""Of English prose; code and other languages have fewer bytes a token."""
_TOKENS_PER_TURN = 4
"""Control tokens around a turn."""
_FEWEST_ROWS = 10
"""OpenAI refuses a training file with fewer."""
_CARRIED = ("name", "tool_calls")
"""Keys of RENDERED_KEYS for which the format has a place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """The file that is sent."""

    data: bytes
    """Its content, JSON Lines in UTF-8."""
    sha256: str
    """The SHA-256 of the content, in hex."""
    rows: int
    """Its conversations."""
    turns: int
    """Their turns."""
    text_bytes: int
    """Bytes of the turns' texts, without the JSON around them."""
    most_tokens: int
    """An upper bound of the tokens of one pass over the file: what `count_tokens` says of its text.
    The JSON around a turn is longer than the control tokens that the model gets in its place."""

    @property
    def likely_tokens(self) -> int:
        """About how many tokens one pass has, by a rule of thumb."""
        return self.text_bytes // _LIKELY_BYTES_PER_TOKEN + self.turns * _TOKENS_PER_TURN


def build_upload(rows: Sequence[Conversation], *, provider: str) -> Upload:
    """The file for these rows.

    Raises ProblemsFound with every row that holds what the format has no place for: it would teach
    something else than it says.
    """
    problems = [
        Diagnostic(message=message, where=row.source) for row in rows for message in _unfit(row)
    ]
    if provider == "openai" and len(rows) < _FEWEST_ROWS:
        problems.append(
            Diagnostic(
                message=f"{counted(len(rows), 'training row')}: OpenAI takes no file with fewer "
                f"than {_FEWEST_ROWS}"
            )
        )
    if problems:
        raise ProblemsFound(
            f"these rows cannot be sent for fine-tuning: {counted(len(problems), 'problem')}",
            problems,
            hint="nothing was dropped or changed; correct these and run the command again",
        )
    lines = [json.dumps(_row(row), ensure_ascii=False) + "\n" for row in rows]
    text = "".join(lines)
    data = text.encode()
    texts = (turn.content for row in rows for turn in row.messages)
    return Upload(
        data=data,
        sha256=hashlib.sha256(data).hexdigest(),
        rows=len(rows),
        turns=sum(len(row.messages) for row in rows),
        text_bytes=sum(len(each.encode()) for each in texts),
        most_tokens=count_tokens(text),
    )


def _unfit(row: Conversation) -> Iterator[str]:
    if row.is_plain_text:
        yield "is a plain text, and a hosted model is trained on conversations"
        return
    if row.template_variables:
        name = next(iter(row.template_variables))
        yield f"has '{name}' in chat_template_kwargs, which a hosted model does not read"
    for key in dict.fromkeys(
        key
        for turn in row.messages
        for key in RENDERED_KEYS
        if key not in _CARRIED and turn.more.get(key) not in (None, "")
    ):
        yield f"has '{key}' in a turn, and the fine-tuning format has no place for it"
    asked: list[str] = []
    for number, turn in enumerate(row.messages, start=1):
        if "tool_calls" in turn.more:
            asked = [call["id"] for call in _calls(turn, number)]
        elif turn.role == "tool":
            answered = _answered(turn, asked)
            if answered in asked:
                asked.remove(answered)
            else:
                yield f"message {number} answers a call that is not made before it"


def _row(row: Conversation) -> dict[str, Any]:
    turns = []
    asked: list[str] = []
    for number, turn in enumerate(row.messages, start=1):
        written: dict[str, Any] = {"role": turn.role, "content": turn.content}
        if turn.more.get("name") and turn.role != "tool":
            written["name"] = turn.more["name"]
        if "tool_calls" in turn.more:
            calls = _calls(turn, number)
            asked = [call["id"] for call in calls]
            written = {**written, "content": turn.content or None, "tool_calls": calls}
        elif turn.role == "tool":
            written["tool_call_id"] = answered = _answered(turn, asked)
            asked.remove(answered)
        if turn.role == "assistant" and not turn.trained:
            written["weight"] = 0
        turns.append(written)
    return {"messages": turns, **({"tools": list(row.tools)} if row.tools else {})}


def _answered(turn: Message, asked: Sequence[str]) -> str:
    """The id of the call that a tool's turn answers: the next one, where it does not say."""
    return str(turn.more.get("tool_call_id") or next(iter(asked), ""))


def _calls(turn: Message, number: int) -> list[dict[str, Any]]:
    """The calls of a turn; one without an id gets one from its place."""
    return [
        {
            "id": str(call.get("id") or f"call_{number}_{place}"),
            "type": "function",
            "function": {
                "name": call["function"]["name"],
                "arguments": json.dumps(call["function"]["arguments"], ensure_ascii=False),
            },
        }
        for place, call in enumerate(turn.more["tool_calls"], start=1)
    ]
