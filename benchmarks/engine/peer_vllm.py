"""vLLM, with adapters: a process of benchmarks.engine.

    PYTHON -m benchmarks.engine.peer_vllm BASE PRECISION [ADAPTER...]

Its offline class, not its HTTP server, so that only the engines are compared.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from benchmarks.engine.systems import Handler, Reply, serve, timed

PRECISIONS = {"bf16": "bfloat16", "fp32": "float32"}


def load(base: str, precision: str, adapters: Sequence[str]) -> Mapping[str, Handler]:
    """An engine in this process that holds all adapters at once."""
    os.environ |= {
        "VLLM_CPU_KVCACHE_SPACE": "2",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    }
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    lora = {"enable_lora": True, "max_loras": len(adapters), "max_lora_rank": 16}
    engine = LLM(
        base,
        dtype=PRECISIONS[precision],
        max_model_len=2048,
        enable_prefix_caching=False,
        disable_log_stats=True,
        **(lora if adapters else {}),
    )

    def answer(
        prompts: Sequence[Sequence[int]], adapters: Sequence[int | None], new_tokens: int
    ) -> Reply:
        settings = SamplingParams(temperature=0, max_tokens=new_tokens, ignore_eos=True)
        chosen = [
            None if number is None else LoRARequest(str(number), number + 1, folders[number])
            for number in adapters
        ]

        def generate() -> int:
            done = engine.generate(
                [{"prompt_token_ids": prompt} for prompt in prompts],
                settings,
                lora_request=chosen if any(chosen) else None,
                use_tqdm=False,
            )
            return sum(len(item.outputs[0].token_ids) for item in done)

        return timed(generate)

    folders = list(adapters)
    return {"answer": answer}


if __name__ == "__main__":
    serve(lambda: load(sys.argv[1], sys.argv[2], sys.argv[3:]))
