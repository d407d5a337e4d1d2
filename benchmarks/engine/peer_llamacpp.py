"""llama.cpp through xllamacpp, with or without a LoRA: a process of benchmarks.engine.

PYTHON -m benchmarks.engine.peer_llamacpp THREADS GGUF [LORA-GGUF]
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import xllamacpp

from benchmarks.engine.systems import Handler, Reply, serve, timed


def load(threads: int, gguf: str, lora: str | None) -> Mapping[str, Handler]:
    """A server in this process, for one request at a time."""
    settings = xllamacpp.CommonParams()
    settings.model.path = gguf
    settings.n_ctx = 2048
    settings.n_parallel = 1
    settings.cpuparams.n_threads = threads
    settings.cpuparams_batch.n_threads = threads
    if lora:
        settings.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(lora, 1.0)]
    server = xllamacpp.Server(settings)

    def answer(
        prompts: Sequence[Sequence[int]], adapters: Sequence[int | None], new_tokens: int
    ) -> Reply:
        (prompt,) = prompts

        def generate() -> int:
            reply = server.handle_completions(
                {
                    "prompt": prompt,
                    "n_predict": new_tokens,
                    "ignore_eos": True,
                    "temperature": 0,
                    "cache_prompt": False,
                }
            )
            return int(reply["usage"]["completion_tokens"])

        return timed(generate)

    return {"answer": answer}


if __name__ == "__main__":
    serve(lambda: load(int(sys.argv[1]), sys.argv[2], *(sys.argv[3:] or [None])))
