"""The trained tokens are proven: the answers with their end-of-turn tokens, and nothing else."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from test_chat_template import CHATML, GEMMA, GENERATION, LLAMA2, base_with

from modelyard.chatdata.conversation import Conversation, Message
from modelyard.chatdata.report import build_masked_texts
from modelyard.chatdata.template import ChatTokenizer
from modelyard.chatdata.tokenizing import TokenRow, tokenize_conversations

FORGETS_EARLIER_ANSWERS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role != 'assistant' or loop.last %}{{ m.content }}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
THINKS_WHEN_ASKED = CHATML.replace(
    "{{ '<|im_start|>assistant\n' }}", "<|im_start|>assistant\n<think>"
)


def talk(*contents: str, source: str = "train.jsonl:1", system: str | None = None) -> Conversation:
    messages = [
        Message(("user", "assistant")[index % 2], content) for index, content in enumerate(contents)
    ]
    if system is not None:
        messages.insert(0, Message("system", system))
    return Conversation(tuple(messages), source, {})


@pytest.fixture
def tokenizer(tiny_base_folder: Path, tmp_path: Path) -> ChatTokenizer:
    return ChatTokenizer.load(base_with(tiny_base_folder, tmp_path / "chatml", CHATML))


def trained_text(row: TokenRow, tokenizer: ChatTokenizer) -> str:
    return tokenizer.decode(row.input_ids[row.trained], skip_special_tokens=False)


def test_a_row_is_the_rendering_up_to_its_last_trained_token(tokenizer: ChatTokenizer) -> None:
    conversation = talk("What is it?", "It is blue.")
    done = tokenize_conversations([conversation], tokenizer, max_length=512)
    (row,) = done.rows
    assert row.input_ids.dtype == np.int32 and row.trained.dtype == np.bool_
    whole = tokenizer.encode(tokenizer.render(conversation.messages))
    assert row.input_ids.tolist() == whole[: len(row.input_ids)]
    assert row.trained[-1]
    assert trained_text(row, tokenizer) == "It is blue.<|im_end|>"
    assert row.source == "train.jsonl:1"
    assert (done.cut, done.straddling, done.problems) == ((), (), ())


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (CHATML, "One.<|im_end|>Two 日本 😀.<|im_end|>"),
        (GEMMA, "One.<|im_end|>Two 日本 😀.<|im_end|>"),
        (GENERATION, "One.<|im_end|>Two 日本 😀.<|im_end|>"),
        (LLAMA2, " One. <|im_end|> Two 日本 😀. <|im_end|>"),
    ],
)
def test_every_answer_of_a_conversation_is_trained(
    tiny_base_folder: Path, tmp_path: Path, template: str, expected: str
) -> None:
    tokenizer = ChatTokenizer.load(base_with(tiny_base_folder, tmp_path / "base", template))
    done = tokenize_conversations(
        [talk("1?", "One.", "2?", "Two 日本 😀.")], tokenizer, max_length=512
    )
    assert done.problems == ()
    assert trained_text(done.rows[0], tokenizer) == expected


def test_what_is_asked_of_the_model_is_what_it_was_trained_on(tokenizer: ChatTokenizer) -> None:
    conversation = talk("What is it?", "It is blue.", system="Be short.")
    (row,) = tokenize_conversations([conversation], tokenizer, max_length=512).rows
    prompt = tokenizer.encode_prompt(conversation.prompt)
    assert row.input_ids[: len(prompt)].tolist() == prompt
    assert not row.trained[: len(prompt)].any() and row.trained[len(prompt) :].all()


def test_a_default_system_prompt_is_no_obstacle(tokenizer: ChatTokenizer) -> None:
    assert "You are helpful." in tokenizer.render(talk("a", "b").messages)
    done = tokenize_conversations([talk("a", "b", "c", "d")], tokenizer, max_length=512)
    assert trained_text(done.rows[0], tokenizer) == "b<|im_end|>d<|im_end|>"


def test_a_partly_cut_answer_is_reported_and_trains_no_end_of_turn(
    tokenizer: ChatTokenizer,
) -> None:
    conversation = talk("What is it?", "It is blue and green.")
    (full,) = tokenize_conversations([conversation], tokenizer, max_length=512).rows
    length = len(full.input_ids)
    done = tokenize_conversations([conversation], tokenizer, max_length=length - 3)
    (row,) = done.rows
    assert done.cut == ("train.jsonl:1",) and done.problems == ()
    assert len(row.input_ids) == length - 3
    assert "It is blue".startswith(trained_text(row, tokenizer)[:10])
    assert not set(row.input_ids[row.trained].tolist()) & tokenizer.eos_ids
    assert tokenize_conversations([conversation], tokenizer, max_length=length).cut == ()


def test_an_answer_that_is_cut_off_entirely_is_refused(tokenizer: ChatTokenizer) -> None:
    conversation = talk("What is it? " * 50, "It is blue.", source="train.jsonl:7")
    done = tokenize_conversations([conversation, talk("a", "b")], tokenizer, max_length=100)
    (problem,) = done.problems
    assert len(done.rows) == 1
    assert problem.where == "train.jsonl:7"
    assert "max_length is 100: its last answer" in problem.message
    needed = tokenize_conversations([conversation], tokenizer, max_length=10_000).rows[0]
    assert (
        problem.hint == f"raise max_length to {len(needed.input_ids)}, or shorten or split the row"
    )
    longer = talk("What is it?", "It is blue. " * 200)
    done = tokenize_conversations([conversation, longer], tokenizer, max_length=100)
    (whole,) = tokenize_conversations([longer], tokenizer, max_length=10_000).rows
    assert f"({len(whole.input_ids)} keeps every row whole)" in str(done.problems[0].hint)


def test_no_length_is_advised_that_the_base_does_not_take(tokenizer: ChatTokenizer) -> None:
    conversation = talk("What is it? " * 50, "It is blue.")
    done = tokenize_conversations([conversation], tokenizer, max_length=100, most_tokens=120)
    assert done.lost == (conversation.source,) and done.longest > 120
    assert done.problems[0].hint == (
        "split or remove the row: max_length can be 120 at most with this base"
    )


def test_a_long_conversation_that_loses_its_last_answer_is_refused(
    tokenizer: ChatTokenizer,
) -> None:
    conversation = talk("a", "b", "What is it? " * 50, "It is blue.")
    assert len(tokenize_conversations([conversation], tokenizer, max_length=100).problems) == 1


@pytest.mark.parametrize(
    ("template", "what"),
    [
        (
            FORGETS_EARLIER_ANSWERS,
            "the answer changes when turns follow (message 2 of train.jsonl:2",
        ),
        (THINKS_WHEN_ASKED, "the text before the answer changes (message 2 of train.jsonl:1"),
    ],
)
def test_a_template_that_is_not_prefix_stable_is_one_problem(
    tiny_base_folder: Path, tmp_path: Path, template: str, what: str
) -> None:
    tokenizer = ChatTokenizer.load(base_with(tiny_base_folder, tmp_path / "odd", template))
    rows = [talk("a", "b", source="train.jsonl:1")]
    rows += [talk("a", "b", "c", "d", source=f"train.jsonl:{line}") for line in (2, 3)]
    (problem,) = tokenize_conversations(rows, tokenizer, max_length=512).problems
    assert problem.where == "odd/chat_template.jinja"
    assert "not prefix-stable" in problem.message and what in problem.message


def test_a_row_that_the_template_refuses_is_named(tiny_base_folder: Path, tmp_path: Path) -> None:
    tokenizer = ChatTokenizer.load(base_with(tiny_base_folder, tmp_path / "gemma", GEMMA))
    rows = [talk("a", "b"), talk("a", "b", system="Be short.", source="train.jsonl:2")]
    done = tokenize_conversations(rows, tokenizer, max_length=512)
    assert len(done.rows) == 1
    assert str(done.problems[0]) == (
        "train.jsonl:2: the chat template refuses this conversation: System role not supported"
    )


def test_a_token_across_the_start_of_an_answer_is_reported_and_not_trained(
    tiny_base_folder: Path, tmp_path: Path
) -> None:
    glued = "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }} th{% else %}"
    glued += "{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
    tokenizer = ChatTokenizer.load(base_with(tiny_base_folder, tmp_path / "glued", glued))
    assert len(tokenizer.encode(" the")) == 1
    done = tokenize_conversations([talk("say", "e sky.")], tokenizer, max_length=512)
    assert done.straddling == ("train.jsonl:1",)
    assert trained_text(done.rows[0], tokenizer) == " sky.<|im_end|>"


def test_answers_without_an_end_can_be_evaluated_and_must_not_be_trained_on(
    tiny_base_folder: Path, tmp_path: Path
) -> None:
    plain = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    plain += "{% if add_generation_prompt %}assistant:{% endif %}"
    folder = base_with(tiny_base_folder, tmp_path / "plain", plain.replace("\n", "{{ '\\n' }}"))
    tokenizer = ChatTokenizer.load(folder)
    rows = [talk("q", "It is.", "q", "Yes.", source=f"train.jsonl:{line}") for line in (1, 2, 3)]
    done = tokenize_conversations(rows, tokenizer, max_length=512)
    assert done.problems == ()
    assert trained_text(done.rows[0], tokenizer) == " It is.\n Yes.\n"
    (problem,) = done.unproven
    assert problem.where == "plain/chat_template.jinja"
    assert problem.message == (
        "the chat template ends an answer with no token, and the base stops at <|im_end|> "
        "(plain/config.json), so the model would learn answers without an end: "
        "message 2 of train.jsonl:1, in 3 of 3 rows"
    )
    assert problem.hint == "let the template end each answer with <|im_end|>"


def test_a_stop_that_is_not_tokenised_as_one_is_no_end(
    tiny_base_folder: Path, tmp_path: Path
) -> None:
    folder = base_with(tiny_base_folder, tmp_path / "base", CHATML.replace("<|im_end|>", "zz"))
    config = json.loads((folder / "tokenizer.json").read_text())
    stop = config["model"]["vocab"]["z"]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": stop}))
    tokenizer = ChatTokenizer.load(folder)
    config["added_tokens"].append({**config["added_tokens"][0], "content": "zz", "id": 999})
    ended = tokenize_conversations([talk("q", "It is.")], tokenizer, max_length=512)
    assert ended.unproven == ()
    (folder / "tokenizer.json").write_text(json.dumps(config))
    tokenizer = ChatTokenizer.load(folder)
    done = tokenize_conversations([talk("q", "It is.")], tokenizer, max_length=512)
    (problem,) = done.unproven
    assert "does not become the token at which the base stops" in problem.message


def test_an_end_of_turn_that_takes_in_the_newline_after_it_is_trained(
    tiny_base_folder: Path, tmp_path: Path
) -> None:
    folder = base_with(tiny_base_folder, tmp_path / "base", CHATML)
    config = json.loads((folder / "tokenizer.json").read_text())
    for token in config["added_tokens"]:
        token["rstrip"] = True  # as Phi-3 has them
    (folder / "tokenizer.json").write_text(json.dumps(config))
    tokenizer = ChatTokenizer.load(folder)
    done = tokenize_conversations([talk("q", "One.", "q", "Two.")], tokenizer, max_length=512)
    assert (done.unproven, done.straddling) == ((), ())
    assert trained_text(done.rows[0], tokenizer) == "One.<|im_end|>Two.<|im_end|>"


def test_whitespace_that_a_template_trims_and_reasoning_that_it_drops_are_reported(
    tiny_base_folder: Path, tmp_path: Path
) -> None:
    drops = CHATML.replace(
        "message['content']", "(message['content'].split('</think>')[-1] | trim)"
    )
    tokenizer = ChatTokenizer.load(base_with(tiny_base_folder, tmp_path / "drops", drops))
    rows = [
        talk("q", "It is.", source="train.jsonl:1"),
        talk("q", "  It is.", source="train.jsonl:2"),
        talk("q", "<think>why</think>It is.", source="train.jsonl:3"),
    ]
    done = tokenize_conversations(rows, tokenizer, max_length=512)
    assert (done.respaced, done.without_reasoning) == (("train.jsonl:2",), ("train.jsonl:3",))
    assert (done.problems, done.unproven) == ((), ())
    assert {trained_text(row, tokenizer) for row in done.rows} == {"It is.<|im_end|>"}


def test_masked_texts_show_what_is_trained(tokenizer: ChatTokenizer) -> None:
    rows = [talk("1 日?", f"One {line} 😀.", source=f"train.jsonl:{line}") for line in range(1, 10)]
    done = tokenize_conversations(rows, tokenizer, max_length=512)
    samples = build_masked_texts(done.rows, tokenizer, 3)
    assert [sample.source for sample in samples] == [
        "train.jsonl:1",
        "train.jsonl:4",
        "train.jsonl:7",
    ]
    assert samples[0].pieces[-1] == ("One 1 😀.<|im_end|>", True)
    shown = "".join(text for text, _ in samples[0].pieces)
    assert tokenizer.render(rows[0].messages).startswith(shown)
    assert len(build_masked_texts(done.rows, tokenizer, 99)) == 9
    assert build_masked_texts((), tokenizer, 3) == []


def test_a_sentencepiece_style_tokenizer_keeps_its_spaces_in_samples(
    tiny_base_folder: Path, tmp_path: Path
) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    folder = base_with(tiny_base_folder, tmp_path / "metaspace", LLAMA2)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=list("abcdefghijklmnopqrstuvwxyz.[]/INSTW?▁"),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["what is it. it is blue."], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    loaded = ChatTokenizer.load(folder)
    done = tokenize_conversations([talk("What is it?", "it is blue.")], loaded, max_length=512)
    (sample,) = build_masked_texts(done.rows, loaded, 1)
    assert [(text.strip(), is_trained) for text, is_trained in sample.pieces] == [
        ("<|im_start|> [INST] What is it? [/INST]", False),
        ("it is blue. <|im_end|>", True),
    ]


def test_ten_thousand_rows_take_seconds(tokenizer: ChatTokenizer) -> None:
    rows = [talk(f"What is {n}?", f"It is {n}.") for n in range(10_000)]
    started = time.process_time()
    done = tokenize_conversations(rows, tokenizer, max_length=512)
    assert len(done.rows) == 10_000
    assert time.process_time() - started < 10
