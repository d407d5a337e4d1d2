"""A conversation reaches the model whole, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.chatdata.conversation import Message
from modelyard.chatdata.dialogue import ContextFull, Dialogue
from modelyard.chatdata.template import ChatTokenizer


@pytest.fixture
def tokenizer(tiny_base_folder: Path) -> ChatTokenizer:
    return ChatTokenizer.load(tiny_base_folder)


def test_earlier_answers_are_turns_of_the_assistant(tokenizer: ChatTokenizer) -> None:
    dialogue = Dialogue(tokenizer=tokenizer, context_length=512, system="Be kind.")
    dialogue.add("Who?", " Ada\n")
    turns = [
        Message("system", "Be kind."),
        Message("user", "Who?"),
        Message("assistant", " Ada\n"),
        Message("user", "Why?"),
    ]
    assert dialogue.encode("Why?") == tokenizer.encode_prompt(turns)
    assert dialogue.room([1, 2]) == 510
    dialogue.reset()
    assert dialogue.encode("Why?") == tokenizer.encode_prompt([turns[0], turns[3]])


def test_a_conversation_that_is_too_long_is_refused_with_how_much(tokenizer: ChatTokenizer) -> None:
    question = "Who leads the team? " * 4
    alone = len(Dialogue(tokenizer=tokenizer, context_length=512).encode(question))
    dialogue = Dialogue(tokenizer=tokenizer, context_length=alone + 1)
    assert dialogue.room(dialogue.encode(question)) == 1
    with pytest.raises(ContextFull, match=r"1 more than .*context length") as refused:
        Dialogue(tokenizer=tokenizer, context_length=alone).encode(question)
    assert "/reset" not in (refused.value.hint or "")
    dialogue.add("Who?", "Ada")
    with pytest.raises(ContextFull, match="the conversation with this question") as refused:
        dialogue.encode(question)
    assert "nothing was left out" in (refused.value.hint or "")
    assert "/reset" in (refused.value.hint or "")
    dialogue.reset()
    assert len(dialogue.encode(question)) == alone
