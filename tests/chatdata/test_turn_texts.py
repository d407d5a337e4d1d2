"""Each turn's text is found in its own span, and what a template did to it is named."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from modelyard.chatdata.conversation import Message
from modelyard.chatdata.template import ChatTemplate
from modelyard.chatdata.turn_texts import Change, TurnTexts

THINKING = "<think>\nIt is sky.\n</think>\n\nBlue."


def template(text: str) -> ChatTemplate:
    return ChatTemplate(text, name="test", special_tokens={})


def each(content: str) -> str:
    return "{% for m in messages %}<{{ m.role }}>" + content + "</s>{% endfor %}"


def located(text: str, *contents: str) -> list[tuple[str, Change]]:
    """The text found for each turn, user and assistant in turn, and what was done to it."""
    messages = [
        Message(("user", "assistant")[index % 2], content) for index, content in enumerate(contents)
    ]
    rendered = template(text).render(messages)
    found = TurnTexts(template(text).render).locate(messages, rendered)
    return [(rendered[slice(*one.span)], one.change) for one in found]


def test_a_text_is_found_in_its_own_span_and_not_in_the_markers() -> None:
    text = "{% for m in messages %}[user|a]{{ m.content }}{% endfor %}"
    messages = [Message("user", "user"), Message("assistant", "a")]
    rendered = template(text).render(messages)
    found = TurnTexts(template(text).render).locate(messages, rendered)
    assert [one.span for one in found] == [(8, 12), (20, 21)]
    assert rendered == "[user|a]user[user|a]a"


def test_a_text_that_only_the_markers_hold_is_left_out() -> None:
    assert located("{% for m in messages %}<{{ m.role }}>{% endfor %}", "user", "a") == [
        ("", Change.LEFT_OUT),
        ("", Change.LEFT_OUT),
    ]


@pytest.mark.parametrize(
    ("inside", "content", "found", "change"),
    [
        ("{{ m.content }}", "  a\n", "  a\n", Change.NONE),
        ("{{ m.content | trim }}", "  a b\n", "a b", Change.WHITESPACE),
        ("{{ m.content.replace('\n\n', '\n') }}", "a\n\nb", "a\nb", Change.WHITESPACE),
        ("{{ m.content | tojson }}", "plain", "plain", Change.NONE),
        ("{{ m.content | upper }}", "a", "A", Change.REWRITTEN),
        ("{{ m.content[:3] }}", "a long text", "a l", Change.REWRITTEN),
        ("{% if 'a' in m.content %}{{ m.content }}{% endif %}", "b", "", Change.LEFT_OUT),
        ("{% if 'a' in m.content %}!{% endif %}{{ m.content }}", "a", "a", Change.NONE),
        ("{{ m.content ~ m.content }}", "a", "a", Change.NONE),
    ],
)
def test_what_a_template_does_to_a_text_is_named(
    inside: str, content: str, found: str, change: Change
) -> None:
    assert located(each(inside), content) == [(found, change)]


@pytest.mark.parametrize(
    ("inside", "change"),
    [
        ("{{ m.content }}", Change.NONE),
        ("{{ m.content.split('</think>')[-1] | trim }}", Change.REASONING),
        (
            "<think>\n{{ m.content.split('</think>')[0].split('<think>')[-1] | trim }}\n"
            "</think>\n\n{{ m.content.split('</think>')[-1] | trim }}",
            Change.NONE,
        ),
        (
            "<think>{{ m.content.split('</think>')[0].split('<think>')[-1] | trim }}</think>"
            "{{ m.content.split('</think>')[-1] | trim }}",
            Change.WHITESPACE,
        ),
    ],
)
def test_reasoning_before_an_answer_may_be_left_out(inside: str, change: Change) -> None:
    text = each("{% if m.role == 'user' %}{{ m.content }}{% else %}" + inside + "{% endif %}")
    (_, answer) = located(text, "What?", THINKING)
    assert answer[1] is change
    assert answer[0].endswith("Blue.")
    assert ("sky" in answer[0]) == (change is not Change.REASONING)


def test_reasoning_without_an_answer_is_not_left_out_as_if_it_were_trained() -> None:
    text = each("{{ m.content.split('</think>')[-1] | trim }}")
    assert located(text, "What?", "<think>\nsky\n</think>")[1] == ("", Change.LEFT_OUT)


def test_one_rendering_of_marks_serves_all_rows_of_the_same_roles() -> None:
    rendered: list[Sequence[Message]] = []

    def counting(messages: Sequence[Message]) -> str:
        rendered.append(messages)
        return template(each("{{ m.content }}")).render(messages)

    texts = TurnTexts(counting)
    for number in range(50):
        messages = [Message("user", f"q{number}"), Message("assistant", f"a{number}")]
        texts.locate(messages, f"<user>q{number}</s><assistant>a{number}</s>")
    assert len(rendered) == 1
