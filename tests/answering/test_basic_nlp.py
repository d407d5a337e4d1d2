"""The answer that no model gives."""

from __future__ import annotations

import random
from dataclasses import replace

from answer_samples import BUILTIN, make_chunk
from modelyard.answering.basic_nlp import NO_MODEL, basic_answer
from modelyard.configs.kinds.language_models import BasicAnswer

CHUNKS = (
    make_chunk(1, "An adapter has versions. The link moves in one rename. Logs are kept."),
    make_chunk(
        2, "- `models adapters rollback` goes back to the version before.\n- It asks first."
    ),
)


def test_it_quotes_the_sentences_that_share_most_with_the_question_with_their_places() -> None:
    text = basic_answer(BUILTIN, "How do I roll back to the version before?", CHUNKS)
    assert text.split("\n\n") == [
        "Nobody can be reached.",
        "> `models adapters rollback` goes back to the version before.\n> [2] docs/page2.md:2",
        "> An adapter has versions.\n> [1] docs/page1.md:1",
        NO_MODEL,
    ]


def test_it_says_that_no_model_answers_even_when_it_has_nothing_to_quote() -> None:
    for chunks, settings in (
        ((), BUILTIN),
        ((make_chunk(1, "---\n\n***"),), BUILTIN),
        (CHUNKS, replace(BUILTIN, basic=BasicAnswer(quoted_sentences=0))),
    ):
        text = basic_answer(settings, "Why?", chunks)
        assert ">" not in text
        assert "No language model wrote this" in text


def test_a_question_without_terms_gets_the_beginning_of_the_best_chunk() -> None:
    text = basic_answer(BUILTIN, "???", CHUNKS)
    assert "> An adapter has versions.\n> [1] docs/page1.md:1" in text


def test_code_is_quoted_line_by_line_and_prose_by_sentences() -> None:
    text = (
        "## Roll back\n\nTo roll back, name the adapter that\nanswers wrongly. Then see.\n\n"
        "```sh\nmodels adapters rollback sales\nmodels adapters list\n```\n"
        "| adapter   | active |\n| sales     | @1     |\n"
    )
    quoted = basic_answer(
        replace(BUILTIN, basic=BasicAnswer(quoted_sentences=20)),
        "roll back",
        (make_chunk(1, text),),
    )
    lines = [line[2:] for line in quoted.split("\n") if line.startswith("> ")]
    assert [line for line in lines if not line.startswith("[1]")] == [
        "To roll back, name the adapter that answers wrongly.",
        "Then see.",
        "models adapters rollback sales",
        "models adapters list",
        "adapter | active |",
        "sales | @1 |",
    ]


def test_it_keeps_to_the_lengths_of_its_config() -> None:
    many = [make_chunk(number, f"Sentence {number} of many. " * 30) for number in range(1, 40)]
    settings = replace(
        BUILTIN, max_output_tokens=80, context_tokens=500, basic=BasicAnswer(quoted_sentences=20)
    )
    text = basic_answer(settings, "sentence", many, count=len)
    assert len(text) <= 80 + len("\n\n") * 2 + len(NO_MODEL)
    assert "docs/page30" not in basic_answer(
        replace(settings, max_output_tokens=4000), "sentence 30", many, count=len
    )


def test_no_text_makes_it_fail() -> None:
    draw = random.Random(3)
    signs = ["\x00", "\ud800", "\u202e", "é", "漢", ".", "!", "\n", " ", "A", "b", ">", "-", "`"]
    for _ in range(500):
        text, question = ("".join(draw.choices(signs, k=draw.randrange(60))) for _ in range(2))
        assert NO_MODEL[:20] in basic_answer(BUILTIN, question, (make_chunk(1, text),))
