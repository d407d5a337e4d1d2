"""A model that gives one answer to everything, made of the tiny base."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from modelyard.chatdata.template import ChatTokenizer
from modelyard.inference.decoder import Decoder
from modelyard.inference.engine import Engine, LoadedModel
from modelyard.inference.structure import recognise


def answering(folder: Path, answer: str) -> LoadedModel:
    """The tiny base with weights that give this answer to everything, and then end it.

    Each token's likeliest successor is the next one of the answer, so no token may be in it twice.
    """
    tokenizer = ChatTokenizer.load(folder)
    chain = [*tokenizer.encode("\n"), *tokenizer.encode(answer), min(tokenizer.eos_ids)]
    assert len(set(chain)) == len(chain)
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    for layer in model.model.layers:
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
        torch.nn.init.zeros_(layer.mlp.down_proj.weight)
    embedding = model.model.embed_tokens.weight.detach()
    successors = torch.zeros_like(embedding)
    for token, successor in pairwise(chain):
        successors[successor] = embedding[token]
    model.lm_head.weight = torch.nn.Parameter(successors, requires_grad=False)
    return Engine(Decoder(recognise(model.eval())), tokenizer).base
