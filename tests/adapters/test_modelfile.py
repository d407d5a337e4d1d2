from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from modelyard.adapters.llama_cpp import Turn, build_modelfile, find_turn_template
from modelyard.chatdata.conversation import Message
from modelyard.chatdata.template import ChatTemplate
from modelyard.core.errors import InvalidInput

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WITH_DEFAULT_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}"
    + CHATML
)
ZEPHYR = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
NUMBERED = (
    "{% for m in messages %}{{ loop.index }} {{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
SHOUTING = CHATML.replace("{{ m['content'] }}", "{{ m['content'] | upper }}")
NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}" + CHATML
)


def renderer(template: str) -> Callable[[Sequence[Turn]], str]:
    chat = ChatTemplate(template, name="test", special_tokens={})

    def render(turns: Sequence[Turn]) -> str:
        return chat.render([Message(*turn) for turn in turns], add_generation_prompt=True)

    return render


def test_chatml_becomes_the_template_that_ollamas_own_pages_show() -> None:
    found = find_turn_template(renderer(CHATML))
    assert found is not None
    assert found.opening == ""
    assert found.around["user"] == ("<|im_start|>user\n", "<|im_end|>\n")
    assert found.answer == "<|im_start|>assistant\n"
    assert found.go() == (
        '{{ range .Messages }}{{ if eq .Role "system" }}<|im_start|>system\n'
        '{{ .Content }}<|im_end|>\n{{ end }}{{ if eq .Role "user" }}<|im_start|>user\n'
        '{{ .Content }}<|im_end|>\n{{ end }}{{ if eq .Role "assistant" }}<|im_start|>assistant\n'
        "{{ .Content }}<|im_end|>\n{{ end }}{{ end }}<|im_start|>assistant\n"
    )


def test_a_system_message_that_a_template_brings_along_is_kept() -> None:
    found = find_turn_template(renderer(WITH_DEFAULT_SYSTEM))
    assert found is not None
    assert found.opening == "<|im_start|>system\nBe kind.<|im_end|>\n"
    assert found.go().startswith(
        '{{ if ne (index .Messages 0).Role "system" }}<|im_start|>system\nBe kind.<|im_end|>\n'
        "{{ end }}{{ range .Messages }}"
    )


def test_other_marks_of_turns_are_found_too() -> None:
    found = find_turn_template(renderer(ZEPHYR))
    assert found is not None
    assert found.render([("user", "x"), ("assistant", "y"), ("user", "z")]) == (
        "<|user|>\nx</s>\n<|assistant|>\ny</s>\n<|user|>\nz</s>\n<|assistant|>\n"
    )


@pytest.mark.parametrize("template", [NUMBERED, SHOUTING, NO_SYSTEM])
def test_a_template_that_does_more_than_wrap_turns_has_no_form_in_go(template: str) -> None:
    assert find_turn_template(renderer(template)) is None


def test_a_mistake_in_the_renderer_is_not_swallowed() -> None:
    def broken(turns: Sequence[Turn]) -> str:
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        find_turn_template(broken)


def test_a_modelfile_says_base_adapter_template_and_stops() -> None:
    text = build_modelfile(
        base="/models/tiny",
        adapter="./adapter.gguf",
        template=find_turn_template(renderer(CHATML)),
        stops=["<|im_end|>"],
    )
    lines = text.splitlines()
    assert lines[2:4] == ["FROM /models/tiny", "ADAPTER ./adapter.gguf"]
    assert 'TEMPLATE """{{ range .Messages }}' in text
    assert lines[-1] == 'PARAMETER stop "<|im_end|>"'


def test_without_a_template_the_modelfile_says_so() -> None:
    text = build_modelfile(base="llama3", adapter="./a.gguf", template=None, stops=())
    assert "TEMPLATE " not in text.replace("# No TEMPLATE", "")
    assert "# No TEMPLATE" in text


def test_text_that_would_end_the_modelfiles_strings_is_refused(tmp_path: Path) -> None:
    template = find_turn_template(renderer(CHATML.replace("<|im_end|>", '"""')))
    with pytest.raises(InvalidInput, match="cannot be written in a Modelfile"):
        build_modelfile(base="x", adapter="./a", template=template, stops=())
    with pytest.raises(InvalidInput, match="cannot be written in a Modelfile"):
        build_modelfile(base="x\nRUN evil", adapter="./a", template=None, stops=())
    with pytest.raises(InvalidInput, match="cannot be written in a Modelfile"):
        build_modelfile(base="x", adapter="./a", template=None, stops=('"',))
