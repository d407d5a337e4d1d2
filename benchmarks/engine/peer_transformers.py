"""transformers' `generate`, bare or with PEFT adapters: a process of benchmarks.engine.

    python -m benchmarks.engine.peer_transformers BASE SETTING [ADAPTER...]

SETTING: bf16 or fp32, or 4bit or 8bit on a GPU.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from peft import PeftModel
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationConfig

from benchmarks.engine.systems import Handler, Reply, serve, timed, weight_options
from modelyard.inference.machine import device_name
from modelyard.inference.weights import load_weights


def load(base: Path, setting: str, adapters: Sequence[str]) -> Mapping[str, Handler]:
    """Handlers over the base, or over a PeftModel that holds all adapters."""
    device = device_name()
    model = load_weights(base, device=device, **weight_options(setting))
    # generate() takes what its own settings leave open from here, and would end answers early.
    model.generation_config.eos_token_id = None
    for number, folder in enumerate(adapters):
        # In the base's precision, as this project loads them: fp32 would cost casts.
        if number == 0:
            model = PeftModel.from_pretrained(
                model, folder, adapter_name="0", autocast_adapter_dtype=False
            )
        else:
            model.load_adapter(folder, adapter_name=str(number), autocast_adapter_dtype=False)
    model.eval()

    def answer(
        prompts: Sequence[Sequence[int]], adapters: Sequence[int | None], new_tokens: int
    ) -> Reply:
        mixed = {}
        if isinstance(model, PeftModel):
            if len(set(adapters)) == 1:
                model.set_adapter(str(adapters[0]))
            else:
                mixed = {"adapter_names": [str(number) for number in adapters]}
        settings = GenerationConfig(do_sample=False, max_new_tokens=new_tokens, pad_token_id=0)

        def generate() -> int:
            rows = [torch.tensor(prompt) for prompt in prompts]
            ids = pad_sequence(rows, batch_first=True, padding_side="left")
            mask = pad_sequence(
                [torch.ones_like(row) for row in rows], batch_first=True, padding_side="left"
            )
            made = model.generate(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                generation_config=settings,
                **mixed,
            )
            return int(made[:, ids.shape[1] :].numel())

        with torch.inference_mode():
            return timed(generate)

    return {"answer": answer}


if __name__ == "__main__":
    serve(lambda: load(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
