"""Calls of tools in the answer of a local model: what of its text is shown, and what is called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from modelyard.providers.call import OnText, Reply, ToolCall

if TYPE_CHECKING:
    from modelyard.chatdata.template import ChatTokenizer
    from modelyard.chatdata.tool_calls import CallForm


class CallReader:
    """Shows the text of one answer as it comes, up to its first call; the rest at its end."""

    def __init__(self, form: CallForm, tokenizer: ChatTokenizer, on_text: OnText | None) -> None:
        self._form, self._tokenizer, self._on_text = form, tokenizer, on_text
        mark = tokenizer.tokenizer.token_to_id(form.begin)
        self._control = mark if mark in tokenizer.special_ids else None
        """The mark of a call where it is a control token, which is no part of the pieces."""
        self._heard = ""
        self._shown = 0

    def show(self, piece: str) -> None:
        """Take the next piece of the text."""
        self._heard += piece
        if self._control is None:
            self._show_up_to(_settled(self._heard, self._form.begin), self._heard)

    def end(self, reply: Reply, tokens: Sequence[int]) -> Reply:
        """The answer with its calls apart; `tokens` are all of it."""
        from modelyard.chatdata.tool_calls import new_call_id, split_calls

        text = reply.text
        if self._control in tokens:
            runs = groupby(tokens, key=lambda token: token == self._control)
            text = "".join(
                self._form.begin * len(list(run)) if is_mark else self._tokenizer.decode(run)
                for is_mark, run in runs
            )
        said, written = split_calls(text, self._form)
        self._show_up_to(len(said), said)
        if not written:
            return replace(reply, text=said)
        calls = tuple(
            ToolCall(id=new_call_id(), name=each.name, arguments=each.arguments) for each in written
        )
        return replace(reply, text=said, tool_calls=calls, finish="tool_calls")

    def _show_up_to(self, end: int, text: str) -> None:
        if end > self._shown and self._on_text is not None:
            self._on_text(text[self._shown : end])
        self._shown = max(self._shown, end)


def _settled(text: str, mark: str) -> int:
    """How much of a text is no call and no space before one, whatever follows."""
    begun = text.find(mark)
    if begun < 0:
        sizes = range(1, min(len(mark), len(text)) + 1)
        begun = len(text) - max((n for n in sizes if text.endswith(mark[:n])), default=0)
    return len(text[:begun].rstrip())
