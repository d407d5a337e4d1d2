"""Chat templates in the shape of the well-known families, with what each must give.

They are written for these tests. `stops` stand in generation_config.json, as each family has them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

CONTROL = (
    *("<s>", "</s>", "<bos>", "<eos>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    *("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<start_of_turn>", "<end_of_turn>"),
    *("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>", "<|end|>", "<|end_of_turn|>"),
    *("<|START|>", "<|CHATBOT|>", "<|USER|>", "<|SYSTEM|>", "<|END|>", "<|START_RESPONSE|>"),
    *("<|END_RESPONSE|>", "<|start|>", "<|channel|>", "<|message|>", "<|return|>", "[|endofturn|]"),
    *("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>", "<end_of_utterance>"),
)
ONE, TWO, SYSTEM = "one", "two", "system"
"""What a row holds: one answer, two answers, or a system turn and one answer."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """One template; what is not in `refused` must be trained as `first` and `second` say."""

    template: str
    stops: tuple[str, ...]
    first: str = "Blue.<|im_end|>"
    second: str | None = None
    refused: dict[str, str] = field(default_factory=dict)


def chatml(assistant: str, *, prompt: str = "<|im_start|>assistant\n") -> str:
    """ChatML whose assistant turns are rendered as `assistant`."""
    return (
        "{% for m in messages %}{% if m.role == 'assistant' %}" + assistant + "{% else %}"
        "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}" + prompt + "{% endif %}"
    )


PLAIN = "<|im_start|>assistant\n{{ m.content }}<|im_end|>{{ '\n' }}"
SPLIT = "{% set answer = m.content.split('</think>')[-1].lstrip() %}"
NO_STOP = "learn answers without an end"
BEFORE, AFTER = "the text before the answer changes", "the answer changes when turns follow"


def everywhere(reason: str) -> dict[str, str]:
    return dict.fromkeys((ONE, TWO, SYSTEM), reason)


def by_role(*, system: str, user: str, assistant: str, prompt: str, start: str = "") -> str:
    """A template with a line for each role."""
    return (
        start + "{% for m in messages %}{% if m.role == 'system' %}" + system + "{% elif m.role "
        "== 'user' %}" + user + "{% else %}" + assistant + "{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}" + prompt + "{% endif %}"
    )


def with_system_in_user(inside: str) -> str:
    """Templates that put the system turn's text before that of the first user turn."""
    return (
        "{% set system = messages[0].content + '\n\n' if messages[0].role == 'system' else '' %}"
        "{% for m in messages if m.role != 'system' %}"
        "{% set content = (system if loop.first else '') + m.content %}" + inside + "{% endfor %}"
    )


FAMILIES = {
    "chatml": Family(template=chatml(PLAIN), stops=("<|im_end|>",)),
    "chatml, stop not declared": Family(
        template=chatml(PLAIN),
        stops=("<|endoftext|>",),
        refused=everywhere("ends an answer with <|im_end|>, and the base stops at <|endoftext|>"),
    ),
    "chatml, no generation prompt": Family(
        template=chatml(PLAIN, prompt=""),
        stops=("<|im_end|>",),
        refused=everywhere("has no generation prompt, so the model would learn 'assistant'"),
    ),
    "chatml, end only before a turn (Qwen1.5)": Family(
        template=chatml(
            "<|im_start|>assistant\n{{ m.content }}{% if not loop.last %}<|im_end|>{{ '\n' }}"
            "{% endif %}"
        ),
        stops=("<|im_end|>",),
    ),
    "qwen3": Family(
        template=chatml(
            SPLIT + "<|im_start|>assistant\n{% if loop.last %}<think>\n\n</think>\n\n{% endif %}"
            "{{ answer }}<|im_end|>{{ '\n' }}"
        ),
        stops=("<|im_end|>", "<|endoftext|>"),
        first="<think>\n\n</think>\n\nBlue.<|im_end|>",
        refused={TWO: AFTER},
    ),
    "prompt opens the reasoning (DeepSeek-R1)": Family(
        template=chatml(PLAIN, prompt="<|im_start|>assistant\n<think>\n"),
        stops=("<|im_end|>",),
        refused=everywhere(BEFORE),
    ),
    "llama-2": Family(
        template=with_system_in_user(
            "{% if m.role == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
            "{% else %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}"
        ),
        stops=("</s>",),
        first=" Blue. </s>",
        second=" Red. </s>",
    ),
    "llama-3": Family(
        template="{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}"
        "<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>{% endfor %}{% if "
        "add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
        stops=("<|end_of_text|>", "<|eot_id|>"),
        first="Blue.<|eot_id|>",
    ),
    "mistral, system refused": Family(
        template="{{ bos_token }}{% for m in messages %}{% if (m.role == 'user') != "
        "(loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
        "{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %}{{ m.content }}"
        "{{ eos_token }}{% endif %}{% endfor %}",
        stops=("</s>",),
        first="Blue.</s>",
        refused={SYSTEM: "roles must alternate"},
    ),
    "mistral, system before the last user turn": Family(
        template="{{ bos_token }}{% for m in messages if m.role != 'system' %}{% if m.role == "
        "'user' %}[INST] {% if loop.last and messages[0].role == 'system' %}"
        "{{ messages[0].content }}\n\n{% endif %}{{ m.content }} [/INST]{% else %}"
        "{{ ' ' + m.content }}{{ eos_token }}{% endif %}{% endfor %}",
        stops=("</s>",),
        first=" Blue.</s>",
        refused={SYSTEM: BEFORE},
    ),
    "gemma": Family(
        template="{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System "
        "role not supported') }}{% endif %}{% for m in messages %}<start_of_turn>{{ 'model' if "
        "m.role == 'assistant' else m.role }}\n{{ m.content | trim }}<end_of_turn>{{ '\n' }}"
        "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
        stops=("<eos>", "<end_of_turn>"),
        first="Blue.<end_of_turn>",
        refused={SYSTEM: "System role not supported"},
    ),
    "gemma-3": Family(
        template="{{ bos_token }}"
        + with_system_in_user(
            "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ content | trim "
            "}}<end_of_turn>{{ '\n' }}"
        )
        + "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
        stops=("<eos>", "<end_of_turn>"),
        first="Blue.<end_of_turn>",
    ),
    "phi-3, which ends a conversation with eos": Family(
        template="{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>{{ '\n' }}"
        "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}"
        "{% endif %}",
        stops=("<|endoftext|>", "<|end|>"),
        first="Blue.<|end|>",
    ),
    "phi-3 of old, without system turns": Family(
        template="{% for m in messages if m.role != 'system' %}<|{{ m.role }}|>\n{{ m.content }}"
        "<|end|>{{ '\n' }}{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
        stops=("<|endoftext|>", "<|end|>"),
        first="Blue.<|end|>",
        refused={SYSTEM: "leaves out the text of system turns: message 1 of train.jsonl:1"},
    ),
    "zephyr": Family(
        template="{% for m in messages %}<|{{ m.role }}|>\n{{ m.content + eos_token }}{{ '\n' }}"
        "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
        stops=("</s>",),
        first="Blue.</s>",
    ),
    "deepseek": Family(
        template=by_role(
            start="{{ bos_token }}",
            system="{{ m.content }}\n\n",
            user="User: {{ m.content }}\n\n",
            assistant=SPLIT + "Assistant: {{ answer }}{{ eos_token }}",
            prompt="Assistant:",
        ),
        stops=("</s>",),
        first=" Blue.</s>",
    ),
    "command-r": Family(
        template="{{ bos_token }}{% for m in messages %}<|START|><|{{ 'CHATBOT' if m.role == "
        "'assistant' else m.role.upper() }}|>{{ m.content }}<|END|>{% endfor %}{% if "
        "add_generation_prompt %}<|START|><|CHATBOT|>{% endif %}",
        stops=("<|END|>",),
        first="Blue.<|END|>",
    ),
    "command-a, which always prompts": Family(
        template=by_role(
            system="<|START|><|SYSTEM|>{{ m.content }}<|END|>",
            user="<|START|><|USER|>{{ m.content }}<|END|><|START|><|CHATBOT|>",
            assistant="<|START_RESPONSE|>{{ m.content }}<|END_RESPONSE|><|END|>",
            prompt="",
        ),
        stops=("<|END|>",),
        first="<|START_RESPONSE|>Blue.<|END_RESPONSE|><|END|>",
    ),
    "falcon": Family(
        template="{% for m in messages %}{{ m.role.title() }}: {{ m.content.replace('\n\n', '\n') "
        "}}{{ '\n\n' }}{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}",
        stops=("<|endoftext|>",),
        refused=everywhere("ends an answer with no token, and the base stops at <|endoftext|>"),
    ),
    "vicuna": Family(
        template=by_role(
            system="{{ m.content }}{{ '\n\n' }}",
            user="USER: {{ m.content }}{{ '\n' }}",
            assistant="ASSISTANT: {{ m.content }}{{ eos_token }}{{ '\n' }}",
            prompt="ASSISTANT:",
        ),
        stops=("</s>",),
        first=" Blue.</s>",
    ),
    "alpaca": Family(
        template=by_role(
            system="{{ m.content }}{{ '\n\n' }}",
            user="### Instruction:\n{{ m.content }}{{ '\n\n' }}",
            assistant="### Response:\n{{ m.content }}{{ '\n\n' }}",
            prompt="### Response:\n",
        ),
        stops=("</s>",),
        refused=everywhere(NO_STOP),
    ),
    "only the next role's marker": Family(
        template="{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{{ '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
        stops=("<|endoftext|>",),
        refused=everywhere(
            "nothing but the <|user|> of the next turn, and the base stops at <|endo"
        ),
    ),
    "the next role's marker is a stop (GLM-4)": Family(
        template="{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
        stops=("<|endoftext|>", "<|user|>", "<|observation|>"),
        first="Blue.<|user|>",
    ),
    "gpt-oss, whose last answer ends otherwise": Family(
        template="{% for m in messages %}<|start|>{{ m.role }}{% if m.role == 'assistant' %}"
        "<|channel|>final{% endif %}<|message|>{{ m.content }}{% if m.role == 'assistant' and "
        "loop.last %}<|return|>{% else %}<|end|>{% endif %}{% endfor %}{% if "
        "add_generation_prompt %}<|start|>assistant{% endif %}",
        stops=("<|return|>", "<|endoftext|>"),
        first="<|channel|>final<|message|>Blue.<|return|>",
        refused={TWO: AFTER},
    ),
    "granite": Family(
        template="{% for m in messages %}<|start_of_role|>{{ m.role }}<|end_of_role|>"
        "{{ m.content }}<|end_of_text|>{{ '\n' }}{% endfor %}{% if add_generation_prompt %}"
        "<|start_of_role|>assistant<|end_of_role|>{% endif %}",
        stops=("<|end_of_text|>",),
        first="Blue.<|end_of_text|>",
    ),
    "openchat": Family(
        template="{{ bos_token }}{% for m in messages %}GPT4 Correct {{ m.role.title() }}: "
        "{{ m.content }}<|end_of_turn|>{% endfor %}{% if add_generation_prompt %}GPT4 Correct "
        "Assistant:{% endif %}",
        stops=("</s>", "<|end_of_turn|>"),
        first=" Blue.<|end_of_turn|>",
    ),
    "exaone": Family(
        template="{% for m in messages %}[|{{ m.role }}|]{{ m.content }}{% if m.role != 'user' %}"
        "[|endofturn|]{% endif %}{{ '\n' }}{% endfor %}{% if add_generation_prompt %}"
        "[|assistant|]{% endif %}",
        stops=("[|endofturn|]",),
        first="Blue.[|endofturn|]",
    ),
    "metharme, which ends only a conversation": Family(
        template="{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% else %}{{ eos_token }}{% endif %}",
        stops=("</s>",),
        first="Blue.</s>",
        refused={TWO: AFTER},
    ),
    "parts only (SmolVLM)": Family(
        template="{% for m in messages %}<|im_start|>{{ m.role }}: {% for part in m.content %}"
        "{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}<end_of_utterance>"
        "{{ '\n' }}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant: {% endif %}",
        stops=("<end_of_utterance>",),
        refused=everywhere("leaves out the text of user turns"),
    ),
    "parts only, and fails on text (LLaVA)": Family(
        template="{% for m in messages %}{{ m.role.upper() + ': ' + m.content[0].text + eos_token "
        "}}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}",
        stops=("</s>",),
        refused=everywhere("has no attribute 'text'"),
    ),
    "texts as JSON": Family(
        template="{% for m in messages %}<|{{ m.role }}|>{{ m.content | tojson }}{{ eos_token }}"
        "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}",
        stops=("</s>",),
        first='"Blue."</s>',
        refused={TWO: "does not render the text of user turns as it is written: message 3"},
    ),
    "empty answers": Family(
        template=chatml("<|im_start|>assistant\n<|im_end|>{{ '\n' }}"),
        stops=("<|im_end|>",),
        refused=everywhere("leaves out the text of assistant turns"),
    ),
}


def write_tokenizer(folder: Path) -> None:
    """A byte-level tokenizer that knows the control tokens of all families."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=350,
        special_tokens=list(CONTROL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["What is it? Blue. Red. assistant user system"], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))


def write_base(tokenizer_folder: Path, folder: Path, family: Family) -> Path:
    """The files of a base of this family, without weights."""
    folder.mkdir()
    (folder / "tokenizer.json").symlink_to(tokenizer_folder / "tokenizer.json")
    names = {"bos_token": "<s>", "eos_token": family.stops[0], "pad_token": "<|endoftext|>"}
    config = {**names, "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "chat_template.jinja").write_text(family.template)
    ids = Tokenizer.from_file(str(folder / "tokenizer.json")).token_to_id
    stops = {"eos_token_id": [ids(stop) for stop in family.stops]}
    (folder / "generation_config.json").write_text(json.dumps(stops))
    return folder
