"""A project for the service: bases that answer, adapters of two organisations, a search index."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from answering_base import answering_weights
from modelyard.adapters.import_ import import_adapter, plan_import
from modelyard.adapters.promote import promote_version
from modelyard.adapters.versions import AdapterVersion
from modelyard.core.layout import Project
from modelyard.core.progress import Silent
from modelyard.encoders import Encoders
from modelyard.retrieval.indexes import load_indexes
from modelyard.retrieval.update import update_index
from modelyard.weights.pull import require_base
from tiny_encoders import write_encoder

ANSWER = "abcdefgh"
"""What the base `talking` says to everything; `endless` says it again and again."""
CONTEXT, LONG_CONTEXT = 512, 16_384
"""Tokens that `talking` and `endless` have room for."""
TOOLS_TEMPLATE = (
    "{% if tools %}<|im_start|>system\n{% for t in tools %}{{ t | tojson }}{% endfor %}\n"
    "Calls: <tool_call></tool_call><|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function.name }}</tool_call>{% endfor %}"
    "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_CONFIGS = {
    "language_models/house.yaml": """
description: The house's own model
provider: local
model: talking
context_tokens: 512
max_output_tokens: 64
""",
    "language_models/basic_nlp.yaml": """
description: What is left when nothing else answers
provider: builtin
model: basic
context_tokens: 4k
max_output_tokens: 1k
""",
    "specialized_models/staff.yaml": """
description: Questions of the staff of Acme
model: house
instructions: Be brief.
profile: plain
""",
    "performance_profiles/plain.yaml": """
description: As the models have it
""",
    "integration.yaml": """
model_integration:
  primary_models: {language: house}
  fallback_strategy: {order: [basic_nlp]}
  service:
    everyone: {bases: [talking, endless]}
    organisations:
      acme: {domains: [staff], search_domains: [texts/docs]}
      zeta: {search_domains: [zetas/docs]}
""",
}
_SEARCH = """
description: What was written
encoder: {{source: path, model: {folder}, dimensions: 32, max_tokens: 48}}
domains:
  docs: {{description: Documents, sources: ["{sources}/*.md"], chunker: markdown, chunk_tokens: 48}}
"""


def write_served(root: Path, tiny_base_folder: Path) -> Project:
    """The project in a new folder `root`, with all that it needs beside it."""
    project = Project(root)
    for name, endless in (("talking", False), ("endless", True)):
        _write_base(project, tiny_base_folder, name, endless=endless)
    encoder = write_encoder(root.parent / "encoder")
    for name, text in _CONFIGS.items():
        _write(project.configs / name, text)
    for group, sources in (("texts", "docs"), ("zetas", "theirs")):
        config = _SEARCH.format(folder=encoder, sources=sources)
        _write(project.configs / f"embedding_models/{group}.yaml", config)
    _write(root / "docs/adapter.md", "# Adapters\n\nHow to roll back an adapter version.\n")
    _write(root / "theirs/memory.md", "# Zeta\n\nOut of memory, the error of zeta.\n")
    encoders = Encoders(project=project, progress=Silent())
    for index in load_indexes(project).values():
        update_index(project, index, encoders, progress=Silent())
    for number, organisation in enumerate(("acme", "zeta")):
        version = add_version(project, f"{organisation}-talk", organisation, seed=number)
        promote_version(project, version)
    return project


def add_version(project: Project, adapter: str, organisation: str, *, seed: int) -> AdapterVersion:
    """A version of an adapter that answers something of its own; it is not promoted."""
    folder = _write_lora(project.root.parent / f"lora-{adapter}-{seed}", seed)
    base = require_base(project, "talking", progress=Silent())
    return import_adapter(project, adapter, plan_import(folder, base), org=organisation)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _write_base(project: Project, tiny_base_folder: Path, name: str, *, endless: bool) -> None:
    folder = project.root.parent / name
    shutil.copytree(tiny_base_folder, folder)
    (folder / "chat_template.jinja").write_text(TOOLS_TEMPLATE)
    model = answering_weights(folder, ANSWER, endless=endless)
    context = LONG_CONTEXT if endless else CONTEXT
    model.config.tie_word_embeddings = False
    model.config.max_position_embeddings = context
    model.to(torch.bfloat16).save_pretrained(folder)
    _write(
        project.base_card(name),
        f"---\nname: {name}\nsummary: Says one thing.\nparameters: 99000\nlicence: Apache-2.0\n"
        f"context_length: {context}\nsources:\n  - kind: path\n    path: {folder}\n---\n",
    )
    require_base(project, name, progress=Silent())


def _write_lora(folder: Path, seed: int) -> Path:
    """Random weights for one module, large enough to change every answer."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer in range(2):
        module = f"base_model.model.model.layers.{layer}.mlp.down_proj"
        tensors[f"{module}.lora_A.weight"] = torch.randn(4, 128, generator=generator)
        tensors[f"{module}.lora_B.weight"] = torch.randn(64, 4, generator=generator) * 4
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": 4,
        "lora_alpha": 4,
        "target_modules": ["down_proj"],
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder
