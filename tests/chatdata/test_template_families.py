"""Every family of chat templates gives the right mask, or a refusal with the true reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from template_families import FAMILIES, ONE, SYSTEM, TWO, Family, write_base, write_tokenizer

from modelyard.chatdata.conversation import Conversation, Message, message_dicts
from modelyard.chatdata.template import ChatTokenizer
from modelyard.chatdata.tokenizing import tokenize_conversations

ASKED = (Message("user", "What is it?"), Message("assistant", "Blue."))
AGAIN = (Message("user", "And\nthen?"), Message("assistant", "Red."))
ROWS = {ONE: ASKED, TWO: (*ASKED, *AGAIN), SYSTEM: (Message("system", "Be short."), *ASKED)}


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("families")
    write_tokenizer(folder)
    return folder


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_a_family_is_trained_right_or_refused_with_the_reason(
    tokenizer_folder: Path, tmp_path: Path, family: Family, row: str
) -> None:
    from transformers import PreTrainedTokenizerFast

    folder = write_base(tokenizer_folder, tmp_path / "base", family)
    tokenizer = ChatTokenizer.load(folder)
    messages = ROWS[row]
    done = tokenize_conversations(
        [Conversation(messages, "train.jsonl:1", {})], tokenizer, max_length=512
    )
    wrong = [problem.message for problem in (*done.problems, *done.unproven)]
    if row in family.refused:
        assert family.refused[row] in " ".join(wrong)
        return
    assert wrong == []
    (tokens,) = done.rows
    trained = tokenizer.decode(tokens.input_ids[tokens.trained], skip_special_tokens=False)
    second = family.second or family.first.replace("Blue", "Red")
    assert trained == (family.first + second if row == TWO else family.first)
    assert int(tokens.input_ids[-1]) in tokenizer.stop_ids

    theirs = PreTrainedTokenizerFast.from_pretrained(folder)
    ids = theirs.apply_chat_template(message_dicts(messages), return_dict=False)
    if len(ids) < len(tokens.input_ids):  # its last answer ends where a turn follows
        following = message_dicts([*messages, Message("user", "a")])
        ids = theirs.apply_chat_template(following, return_dict=False)
    assert tokens.input_ids.tolist() == ids[: len(tokens.input_ids)]
