"""A base whose answers are markers, and the adapters of many organisations, each with its own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from marker_models import PLAIN, marker_model, markers, write_marker_adapter
from modelyard.adapters.import_ import import_adapter, plan_import
from modelyard.adapters.promote import promote_version
from modelyard.adapters.versions import AdapterVersion
from modelyard.core.layout import Project
from modelyard.core.progress import Silent
from modelyard.weights.pull import require_base

BASE = "marked"
"""The base, which answers with plain numbers."""
_TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"


@dataclass(frozen=True)
class Marked:
    """What answers what. The adapter of the organisation `org7` is called so too."""

    project: Project
    organisations: int
    """So many have an adapter each."""
    seconds: list[AdapterVersion]
    """Second versions, of the first of them, with markers of their own; not promoted."""

    def own(self, number: int | None, *, second: bool = False) -> range:
        """What the adapter of an organisation may answer; None: what the base may."""
        if number is None:
            return range(PLAIN)
        return markers(number + self.organisations * second)


def write_marked(
    project: Project, folder: Path, *, organisations: int, promoted: int, room: int = 512
) -> Marked:
    """Give a project the base, in `folder`, and the adapters; the first `promoted` have two
    versions.

    room: the tokens of its context.
    """
    model = marker_model(organisations + promoted)
    model.config.max_position_embeddings = room
    _write_base(folder / BASE, model)
    card = project.base_card(BASE)
    card.parent.mkdir(parents=True)
    card.write_text(
        f"---\nname: {BASE}\nsummary: Answers with numbers.\nparameters: 99000\n"
        f"licence: Apache-2.0\ncontext_length: {room}\n"
        f"sources:\n  - kind: path\n    path: {folder / BASE}\n---\n\n# {BASE}\n"
    )
    base = require_base(project, BASE, progress=Silent())
    seconds = []
    for number in range(organisations + promoted):
        written = write_marker_adapter(folder / str(number), model, number)
        name = f"org{number % organisations}"
        version = import_adapter(project, name, plan_import(written, base), org=name)
        if number < organisations:
            promote_version(project, version)
        else:
            seconds.append(version)
    return Marked(project, organisations, seconds)


def said(text: str) -> list[int]:
    """The numbers of an answer."""
    return [int(word) for word in text.split(",") if word]


def question(*tokens: int) -> str:
    """A text of these tokens."""
    return "".join(f"{token}," for token in tokens)


def _write_base(folder: Path, model: Any) -> None:
    """The model with a tokenizer in which token 7 is the text `7,` and token 0 ends an answer."""
    size = model.config.vocab_size
    texts = {"<end>": 0} | {f"{number},": number for number in range(1, size)}
    tokenizer = Tokenizer(models.WordLevel(texts, unk_token="1,"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\d+,|\D"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(["<end>"])
    model.generation_config.eos_token_id = model.config.eos_token_id = 0
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"eos_token": "<end>", "chat_template": _TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
