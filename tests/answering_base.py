"""A model that gives one answer to everything, made of the tiny base."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.chatdata.template import ChatTokenizer
from modelyard.core.layout import Project

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

    from modelyard.inference.engine import LoadedModel


def answering(folder: Path, answer: str) -> LoadedModel:
    """The tiny base with `answering_weights`, in memory."""
    from modelyard.inference.decoder import Decoder
    from modelyard.inference.engine import Engine
    from modelyard.inference.structure import recognise

    weights = answering_weights(folder, answer)
    return Engine(Decoder(recognise(weights.eval())), ChatTokenizer.load(folder)).base


def answering_weights(folder: Path, answer: str, *, endless: bool = False) -> LlamaForCausalLM:
    """The tiny base with weights that give this answer to everything, and then end it.

    An endless one begins again instead. Each token's likeliest successor is the next one of the
    answer, so no token may be in it twice.
    """
    import torch
    from transformers import LlamaForCausalLM

    tokenizer = ChatTokenizer.load(folder)
    told = tokenizer.encode(answer)
    chain = [*tokenizer.encode("\n"), *told, min(tokenizer.eos_ids)]
    assert len(set(chain)) == len(chain)
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    for layer in model.model.layers:
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
        torch.nn.init.zeros_(layer.mlp.down_proj.weight)
    embedding = model.model.embed_tokens.weight.detach()
    successors = torch.zeros_like(embedding)
    for token, successor in pairwise(chain):
        successors[successor] = embedding[token]
    if endless:
        successors[told[0]] += embedding[told[-1]]
        successors[chain[-1]] = 0
    model.lm_head.weight = torch.nn.Parameter(successors, requires_grad=False)
    return model


def write_answering(project: Project, folder: Path, answer: str, *, endless: bool) -> None:
    """Give the project a base `talking` of such weights, beside `tiny`, whose folder this is."""
    import torch

    model = answering_weights(folder, answer, endless=endless)
    model.config.tie_word_embeddings = False
    place = project.root.parent / "talking"
    shutil.copytree(folder, place)
    model.to(torch.bfloat16).save_pretrained(place)
    card = project.root / "models/base/tiny/MODEL_INFO.md"
    own = project.root / "models/base/talking/MODEL_INFO.md"
    own.parent.mkdir()
    own.write_text(
        card.read_text().replace("name: tiny", "name: talking").replace(str(folder), str(place))
    )
