"""Which rows can be judged, and why the others cannot, is known before any weight is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.chatdata.conversation import Conversation, Message
from modelyard.chatdata.template import ChatTokenizer
from modelyard.chatdata.tokenizing import tokenize_conversations
from modelyard.core.errors import NoData
from modelyard.evaluation.rows import EvaluationRows, choose_rows

SHORT = ("What is it?", "Blue.")
LONG_QUESTION = ("What is the colour of the sky? " * 9, "Blue.")
LONG_ANSWER = ("What is it?", "It is blue and green. " * 9)


@pytest.fixture
def tokenizer(tiny_base_folder: Path) -> ChatTokenizer:
    return ChatTokenizer.load(tiny_base_folder)


def choose(
    tokenizer: ChatTokenizer,
    *talks: tuple[str, str],
    max_length: int,
    most_tokens: int | None = None,
) -> EvaluationRows:
    rows = [
        Conversation((Message("user", asked), Message("assistant", said)), f"eval.jsonl:{n}", {})
        for n, (asked, said) in enumerate(talks, start=1)
    ]
    tokenized = tokenize_conversations(
        rows, tokenizer, max_length=max_length, most_tokens=most_tokens
    )
    return choose_rows(rows, tokenized, max_length=max_length, most_tokens=most_tokens)


def length_of(tokenizer: ChatTokenizer, talk: tuple[str, str]) -> int:
    return len(choose(tokenizer, talk, max_length=10_000).tokens[0].input_ids)


def test_rows_that_fit_are_taken_without_a_word(tokenizer: ChatTokenizer) -> None:
    rows = choose(tokenizer, SHORT, LONG_QUESTION, max_length=512)
    assert len(rows.conversations) == len(rows.tokens) == 2
    assert rows.warnings == ()


def test_rows_that_lose_tokens_or_are_left_out_are_counted(tokenizer: ChatTokenizer) -> None:
    rows = choose(tokenizer, LONG_QUESTION, SHORT, LONG_ANSWER, max_length=60)
    assert [conversation.source for conversation in rows.conversations] == [
        "eval.jsonl:2",
        "eval.jsonl:3",
    ]
    assert [row.source for row in rows.tokens] == ["eval.jsonl:2", "eval.jsonl:3"]
    longest = max(length_of(tokenizer, LONG_QUESTION), length_of(tokenizer, LONG_ANSWER))
    whole = f"max_length 60 (the longest row has {longest} tokens)"
    assert rows.warnings == (
        f"1 of 3 evaluation rows evaluated without the end of the last answer, because of {whole}",
        f"1 of 3 evaluation rows left out, cut off before the last answer by {whole}",
    )


def test_when_all_rows_are_cut_off_the_length_that_keeps_them_is_named(
    tokenizer: ChatTokenizer,
) -> None:
    longest = length_of(tokenizer, LONG_QUESTION)
    with pytest.raises(NoData, match=r"all 2 evaluation rows are cut off .* max_length 8,") as none:
        choose(tokenizer, SHORT, LONG_QUESTION, max_length=8)
    assert none.value.hint == f"raise max_length to {longest}, which keeps every row whole"


def test_no_length_is_named_that_the_base_does_not_take(tokenizer: ChatTokenizer) -> None:
    with pytest.raises(NoData) as none:
        choose(tokenizer, LONG_QUESTION, max_length=8, most_tokens=50)
    assert "the base takes 50: raise max_length to that, and split" in str(none.value.hint)


def test_no_rows_at_all_is_another_message(tokenizer: ChatTokenizer) -> None:
    with pytest.raises(NoData, match="there are no evaluation rows"):
        choose(tokenizer, max_length=8)
