"""Without torch or transformers, the same text and the same ids as transformers gives."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from modelyard.chatdata.conversation import Message, message_dicts
from modelyard.chatdata.template import ChatTemplate, ChatTokenizer, TemplateRefused
from modelyard.core.errors import InvalidInput

CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA2 = """\
{% if messages[0]['role'] == 'system' %}
    {% set loop_messages = messages[1:] %}
    {% set system_message = messages[0]['content'] %}
{% else %}
    {% set loop_messages = messages %}
    {% set system_message = false %}
{% endif %}
{% for message in loop_messages %}
    {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
    {% endif %}
    {% if loop.index0 == 0 and system_message != false %}
        {% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}
    {% else %}
        {% set content = message['content'] %}
    {% endif %}
    {% if message['role'] == 'user' %}
        {{- bos_token + '[INST] ' + content.strip() + ' [/INST]' }}
    {% elif message['role'] == 'assistant' %}
        {{- ' ' + content.strip() + ' ' + eos_token }}
    {% endif %}
{% endfor %}
"""
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}"
    "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)
GENERATION = """\
{%- for message in messages %}
    {%- if message.role == "assistant" %}
        {{- "<|im_start|>assistant\\n" }}
        {%- generation %}
        {%- set said = message.content %}
        {{- said + "<|im_end|>" }}
        {%- endgeneration %}
        {{- "\\n" }}
    {%- else %}
        {{- "<|im_start|>" + message.role + "\\n" + message.content + "<|im_end|>\\n" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- "<|im_start|>assistant\\n" }}
{%- endif %}
"""
TOOLS = """\
{%- set ns = namespace(turns=0) %}
{%- if tools is defined and tools is not none %}{{ tools | tojson }}{% endif %}
{%- if documents is not defined %}{{ raise_exception('documents') }}{% endif %}
{%- for message in messages %}
    {%- if message.role == "system" %}{% continue %}{% endif %}
    {%- set ns.turns = ns.turns + 1 %}
    {{- ns.turns ~ ":" ~ (message | tojson) ~ (message.content | tojson(indent=2)) ~ eos_token }}
{%- endfor %}
"""
PUBLIC_STYLE = {
    "chatml": CHATML,
    "llama2": LLAMA2,
    "gemma": GEMMA,
    "generation": GENERATION,
    "tools": TOOLS,
}
ASKED = [Message("user", "What is <b>it</b>? 'é' 日本 😀"), Message("assistant", "It is\n\nblue.")]
CONVERSATIONS = {
    "one turn": ASKED,
    "two turns": [*ASKED, Message("user", "Really?"), Message("assistant", "Yes.")],
    "system": [Message("system", "Be short."), *ASKED],
    "prompt": ASKED[:1],
}


def base_with(tiny_base_folder: Path, folder: Path, template: str | None) -> Path:
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        shutil.copy(tiny_base_folder / name, folder / name)
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    return folder


def change_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("turns", CONVERSATIONS.values(), ids=CONVERSATIONS)
@pytest.mark.parametrize("template", PUBLIC_STYLE.values(), ids=PUBLIC_STYLE)
@pytest.mark.parametrize("asking", [False, True])
def test_rendering_and_ids_equal_those_of_transformers(
    tiny_base_folder: Path, tmp_path: Path, template: str, turns: list[Message], asking: bool
) -> None:
    from jinja2 import TemplateError
    from transformers import PreTrainedTokenizerFast

    folder = base_with(tiny_base_folder, tmp_path / "base", template)
    ours = ChatTokenizer.load(folder)
    theirs = PreTrainedTokenizerFast.from_pretrained(folder)
    how = {"add_generation_prompt": asking, "tokenize": False}
    try:
        expected = theirs.apply_chat_template(message_dicts(turns), **how)
    except TemplateError as refused:
        with pytest.raises(TemplateRefused, match=str(refused)):
            ours.render(turns, add_generation_prompt=asking)
        return
    rendered = ours.render(turns, add_generation_prompt=asking)
    assert rendered == expected
    ids = ours.encode_prompt(turns) if asking else ours.encode(rendered)
    how = {"add_generation_prompt": asking, "return_dict": False}
    assert ids == theirs.apply_chat_template(message_dicts(turns), **how)
    assert ours.decode(ids, skip_special_tokens=False) == theirs.decode(ids)
    assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)


def test_the_template_may_stand_in_the_tokenizer_config(
    tiny_base_folder: Path, tmp_path: Path
) -> None:
    folder = base_with(tiny_base_folder, tmp_path / "base", None)
    config = folder / "tokenizer_config.json"
    change_json(config, chat_template="A{{ messages[0].content }}")
    assert ChatTokenizer.load(folder).render(ASKED[:1]).startswith("AWhat")
    named = [{"name": "rag", "template": "B"}, {"name": "default", "template": "C"}]
    change_json(config, chat_template=named)
    assert ChatTokenizer.load(folder).render(ASKED) == "C"


def test_the_hash_is_of_the_template_text(tiny_base_folder: Path, tmp_path: Path) -> None:
    first = ChatTokenizer.load(base_with(tiny_base_folder, tmp_path / "one", CHATML))
    second = ChatTokenizer.load(base_with(tiny_base_folder, tmp_path / "two", CHATML + " "))
    assert first.template_hash != second.template_hash
    assert first.template_hash.startswith("sha256:") and len(first.template_hash) == 71


def test_every_token_that_ends_an_answer_is_known(tiny_base_folder: Path, tmp_path: Path) -> None:
    folder = base_with(tiny_base_folder, tmp_path / "base", CHATML)
    ids = json.loads((folder / "tokenizer.json").read_text())["added_tokens"]
    id_of = {token["content"]: token["id"] for token in ids}
    (folder / "generation_config.json").write_text('{"eos_token_id": [0]}')
    change_json(folder / "tokenizer_config.json", eos_token="<|endoftext|>")
    loaded = ChatTokenizer.load(folder)
    # The template ends a turn by another token than the one that is configured.
    assert loaded.eos_ids == {id_of["<|endoftext|>"], id_of["<|im_end|>"]}
    assert loaded.pad_id == id_of["<|im_end|>"]


def test_padding_and_truncation_of_the_tokenizer_file_are_not_used(
    tiny_base_folder: Path, tmp_path: Path
) -> None:
    from tokenizers import Tokenizer

    folder = base_with(tiny_base_folder, tmp_path / "base", CHATML)
    stored = Tokenizer.from_file(str(folder / "tokenizer.json"))
    stored.enable_truncation(4)
    stored.enable_padding(length=8)
    stored.save(str(folder / "tokenizer.json"))
    assert len(ChatTokenizer.load(folder).encode("日本語")) == 9


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("chat_template.jinja", "{% for %}", r"base/chat_template.jinja:1: .*not valid Jinja"),
        ("chat_template.jinja", None, "has no chat template"),
        ("tokenizer.json", "{}", "cannot read the tokenizer"),
        ("tokenizer.json", None, "cannot read the tokenizer"),
        ("tokenizer_config.json", None, "cannot be read"),
        ("tokenizer_config.json", "[]", "does not hold a JSON object"),
    ],
)
def test_a_damaged_base_folder_is_refused(
    tiny_base_folder: Path, tmp_path: Path, file: str, content: str | None, message: str
) -> None:
    folder = base_with(tiny_base_folder, tmp_path / "base", CHATML)
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_text(content)
    with pytest.raises(InvalidInput, match=message):
        ChatTokenizer.load(folder)


def test_templates_cannot_reach_into_python(tiny_base_folder: Path, tmp_path: Path) -> None:
    attack = "{{ messages.__class__.__mro__[1].__subclasses__() }}"
    with pytest.raises(TemplateRefused):
        ChatTokenizer.load(base_with(tiny_base_folder, tmp_path / "base", attack)).render(ASKED)


@pytest.mark.parametrize("text", ["{{ 'x' * 10**15 }}", "{{ 1 // 0 }}"])
def test_a_template_that_cannot_be_computed_is_an_error_of_its_file(text: str) -> None:
    with pytest.raises(InvalidInput, match="the chat template fails"):
        ChatTemplate(text, name="chat_template.jinja", special_tokens={}).render([])


@pytest.mark.parametrize(
    "text", ["{{ messages[7].content[0] }}", "{{ messages[0].content * 10**15 }}"]
)
def test_one_that_fails_on_a_conversation_says_so(text: str) -> None:
    template = ChatTemplate(text, name="chat_template.jinja", special_tokens={})
    with pytest.raises(TemplateRefused):
        template.render([Message("user", "Hi")])


def test_neither_torch_nor_transformers_is_loaded(tiny_base_folder: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from modelyard.chatdata import prepare, report\n"
        "from modelyard.chatdata.template import ChatTokenizer\n"
        f"ChatTokenizer.load(Path({str(tiny_base_folder)!r}))\n"
        "print({'torch', 'transformers', 'datasets', 'pyarrow'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
