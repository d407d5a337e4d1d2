"""What llama.cpp and ollama load: a LoRA adapter as a GGUF file, and a Modelfile.

The GGUF file is written with the package `gguf`: names come from its table, the numbers are the
adapter's, in fp32. ollama's templates are Go's: one is made when turns of a conversation are
written one after the other, each between fixed texts, and it is tested on conversations that the
chat template renders.
Sources: llama.cpp's convert_lora_to_gguf.py and convert_hf_to_gguf.py say what its loader expects;
ollama's Modelfile reference (FROM, ADAPTER, TEMPLATE, PARAMETER stop).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.adapters.lora import Matrix, open_lora
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.installing import install_command
from modelyard.core.json_reading import read_json_object

_ARCHITECTURES = {"llama": "LLAMA", "mistral": "LLAMA", "qwen2": "QWEN2", "qwen3": "QWEN3"}
"""gguf's names of the models whose tensors map one to one."""
_PAIRED_ROTARY = {"llama", "mistral"}
"""llama.cpp rotates neighbouring rows of q and k where transformers rotates the two halves."""


def write_gguf_lora(adapter: Path, base: Path, target: Path, *, name: str) -> None:
    """Write the adapter in the folder `adapter` for the base in the folder `base`.

    Raises ModelyardError when the package gguf is missing, or does not know the model or a module.
    """
    try:
        import gguf
    except ImportError as error:
        raise ModelyardError(
            "the format gguf-lora needs the package gguf, which is not installed",
            hint=f"install it with `{install_command('gguf')}`",
        ) from error
    logging.getLogger("gguf").setLevel(logging.ERROR)
    config = read_json_object(base / "config.json")
    kind = config.get("model_type")
    if kind not in _ARCHITECTURES:
        raise ModelyardError(
            f"an adapter of a {kind} model cannot be written as GGUF here",
            hint=f"it can for {', '.join(_ARCHITECTURES)}; `--format merged` works for all, and "
            "llama.cpp's convert_hf_to_gguf.py converts that",
        )
    lora = open_lora(adapter)
    alpha = lora.config.alpha
    if lora.config.dora:
        raise ModelyardError(
            "is a DoRA, which GGUF cannot hold",
            where=str(adapter),
            hint="use `--format merged`, and convert that with llama.cpp's convert_hf_to_gguf.py",
        )
    architecture = getattr(gguf.MODEL_ARCH, _ARCHITECTURES[kind])
    names = gguf.get_tensor_name_map(architecture, config["num_hidden_layers"])
    writer = gguf.GGUFWriter(target, gguf.MODEL_ARCH_NAMES[architecture])
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_name(name)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    for name_in_base, module in lora.items():
        gguf_name = names.get_name(f"{name_in_base}.weight", try_suffixes=(".weight",))
        if gguf_name is None:
            raise ModelyardError(f"GGUF has no name for the module {name_in_base}")
        # Its loader multiplies by alpha/rank, whatever the config's patterns say.
        b = module.b * np.float32(module.scale / (alpha / module.a.shape[0]))
        if kind in _PAIRED_ROTARY:
            b = _pair_rows(b, name_in_base, config)
        writer.add_tensor(f"{gguf_name}.lora_a", np.ascontiguousarray(module.a))
        writer.add_tensor(f"{gguf_name}.lora_b", np.ascontiguousarray(b))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _pair_rows(b: Matrix, module: str, config: Mapping[str, Any]) -> Matrix:
    """Reorder the outputs of q and k as llama.cpp does: the halves of each head interleaved."""
    heads = config["num_attention_heads"]
    if module.endswith(".k_proj"):
        heads = config.get("num_key_value_heads") or heads
    elif not module.endswith(".q_proj"):
        return b
    halves = b.reshape(heads, 2, b.shape[0] // heads // 2, b.shape[1])
    return halves.swapaxes(1, 2).reshape(b.shape)


Turn = tuple[str, str]
"""A role (`system`, `user`, `assistant`) and what it says."""
Render = Callable[[Sequence[Turn]], str]
"""Renders a conversation with the chat template, up to where the answer begins."""

_MARKS = {"system": "⟦s⟧", "user": "⟦u⟧", "assistant": "⟦a⟧"}


@dataclass(frozen=True, slots=True)
class TurnTemplate:
    """The fixed texts around the turns of a conversation."""

    opening: str
    """The text before the first turn when there is no system message: often a default one."""
    around: Mapping[str, tuple[str, str]]
    """The texts before and after the content of each role."""
    answer: str
    """The text that begins the answer."""

    def render(self, turns: Sequence[Turn]) -> str:
        """The text that the Go template produces for a conversation."""
        opening = "" if turns and turns[0][0] == "system" else self.opening
        said = [f"{self.around[role][0]}{text}{self.around[role][1]}" for role, text in turns]
        return f"{opening}{''.join(said)}{self.answer}"

    def go(self) -> str:
        """The same as a Go template over ollama's .Messages."""
        no_system = '{{ if ne (index .Messages 0).Role "system" }}'
        opening = f"{no_system}{self.opening}{{{{ end }}}}" if self.opening else ""
        body = "".join(
            f'{{{{ if eq .Role "{role}" }}}}{before}{{{{ .Content }}}}{after}{{{{ end }}}}'
            for role, (before, after) in self.around.items()
        )
        return f"{opening}{{{{ range .Messages }}}}{body}{{{{ end }}}}{self.answer}"


def find_turn_template(render: Render) -> TurnTemplate | None:
    """The fixed texts of a chat template, or None when its turns are not between fixed texts.

    Accepted only when it renders 24 conversations, of one to five turns, exactly as `render` does.
    """
    try:
        found = _derive(render)
        return found if found and _renders_alike(found, render) else None
    except (InvalidInput, ValueError):  # it refuses a conversation, or changes the content
        return None


def _derive(render: Render) -> TurnTemplate | None:
    """Derive the texts between marked turns; where one ends and the next begins is a guess.

    The guess: all turns begin with the longest prefix of the system turn that also begins the
    answer, such as `<|im_start|>`. `_renders_alike` tests it.
    """
    system, user, assistant = _MARKS.values()
    alone, _ = render([("user", user)]).split(user)
    talk = render([("system", system), ("user", user), ("assistant", assistant), ("user", user)])
    before_system, rest = talk.split(system)
    middle, between, tail = rest.split(user)
    before_answer, after_answer = between.split(assistant)
    opener = before_system
    while opener not in tail:
        opener = opener[:-1]

    user_before = alone
    while not (middle.endswith(user_before) and after_answer.endswith(user_before)):
        user_before = user_before[1:]
    answer = ""
    if opener:
        user_before = user_before[max(0, user_before.rfind(opener)) :]
        answer = tail[tail.rfind(opener) :]
    user_after = tail.removesuffix(answer)
    if not before_answer.startswith(user_after):
        return None
    return TurnTemplate(
        alone.removesuffix(user_before),
        {
            "system": (before_system, middle.removesuffix(user_before)),
            "user": (user_before, user_after),
            "assistant": (
                before_answer.removeprefix(user_after),
                after_answer.removesuffix(user_before),
            ),
        },
        answer,
    )


def _renders_alike(found: TurnTemplate, render: Render) -> bool:
    said = ("a", "Two\nlines", "  spaces  ", "«quoted» {braces}")
    for system, count, start in product((False, True), (1, 3, 5), range(4)):
        turns: list[Turn] = [("system", said[start])] if system else []
        turns += [
            ("assistant" if index % 2 else "user", said[(start + index) % 4])
            for index in range(count)
        ]
        if found.render(turns) != render(turns):
            return False
    return True


def build_modelfile(
    *, base: str, adapter: str, template: TurnTemplate | None, stops: Sequence[str]
) -> str:
    """The text of a Modelfile. `adapter` is relative to it, `base` whatever FROM accepts.

    Raises InvalidInput for a text that needs escapes, which the format does not have.
    """
    template_text = template.go() if template else ""
    if '"""' in template_text or template_text.endswith('"'):
        raise InvalidInput("the chat template cannot be written in a Modelfile")
    for text in (base, adapter, *stops):
        if any(mark in text for mark in '"\n\r'):
            raise InvalidInput(f"{text!r} cannot be written in a Modelfile")
    lines = [
        "# FROM may also name a GGUF file of the same base, or the same base in ollama's library.",
        "# On any other base the adapter's answers are meaningless.",
        f"FROM {base}",
        f"ADAPTER {adapter}",
        f'TEMPLATE """{template_text}"""'
        if template
        else "# No TEMPLATE: this chat template cannot be written in Go; ollama takes the base's.",
        *(f'PARAMETER stop "{stop}"' for stop in stops),
    ]
    return "\n".join(lines) + "\n"
