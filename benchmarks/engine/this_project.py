"""This project's engine: a process of benchmarks.engine.

    python -m benchmarks.engine.this_project BASE SETTING [ADAPTER...]

SETTING: bf16 or fp32, or 4bit or 8bit on a GPU.
"""

from __future__ import annotations

import gc
import random
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import psutil
import torch

from benchmarks.engine.systems import Handler, Reply, serve, timed, weight_options
from modelyard.chatdata.template import ChatTokenizer
from modelyard.inference.engine import Engine
from modelyard.inference.generation import Generation, Request
from modelyard.inference.interfaces import LoadedAdapter
from modelyard.inference.machine import device_name, probe_machine
from modelyard.inference.sampling import Sampling
from modelyard.inference.scheduler import Limits, Scheduler
from modelyard.weights.local import FileFacts, LocalBase

_STEPS_BEFORE = 20
"""Steps of running answers that are measured before a long prompt joins them."""
_LONGEST_RUNNING = 500
_IN_FLIGHT = 32
_GIVEN_UP_A_STEP = 0.02
_PROMOTED_A_STEP = 0.05
_LONGEST_PROMPT = 6
"""How many questions the longest prompt under load is made of."""
_PREFIX_BYTES_UNDER_LOAD = 32 << 20


def fail(note: str) -> None:
    """End the benchmark: it would not measure the engine."""
    raise SystemExit(f"the engine says: {note}")


class TokenTimes:
    """Seconds between two tokens of the same answer, noted after each step."""

    def __init__(self, running: Sequence[Generation]) -> None:
        self._running = running
        self._counts = [len(generation.tokens) for generation in running]
        self._since = [time.perf_counter()] * len(running)
        self.gaps_s: list[float] = []

    def note(self) -> None:
        """Take note of the tokens that the step gave."""
        now = time.perf_counter()
        for place, generation in enumerate(self._running):
            if len(generation.tokens) > self._counts[place]:
                self.gaps_s.append(now - self._since[place])
                self._counts[place], self._since[place] = len(generation.tokens), now


class Running:
    """A scheduler over a decoder, and the adapters that were named at the start."""

    def __init__(self, base: Path, setting: str, adapters: Sequence[str]) -> None:
        files = {path.name: FileFacts(0, 0, "") for path in base.iterdir()}
        self.engine = Engine.load(
            LocalBase("bench", base, "", 0, "", files),
            machine=probe_machine(),
            use_grid=True,
            note=fail,
            **weight_options(setting),
        )
        self.decoder = self.engine.decoder
        # As a service has it: running answers wait little for prompts that join them.
        self.scheduler = Scheduler(self.decoder)
        # Under load memory is watched once the cache is full, and a small one is full soon.
        self.loaded_scheduler = Scheduler(
            self.decoder, Limits(prefix_cache_bytes=_PREFIX_BYTES_UNDER_LOAD)
        )
        # No token ends an answer, so that all systems give equally many.
        self.tokenizer = replace(ChatTokenizer.load(base), eos_ids=frozenset())
        self.by_folder = {folder: self.decoder.bank.load(Path(folder)) for folder in adapters}
        self.loaded = list(self.by_folder.values())
        self.active = self.loaded[: len(self.loaded) // 2]
        """Under load: the version that answers for each organisation; it has another one."""

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """What the benchmark may ask."""
        return {
            "answer": self.answer,
            "join": self.join,
            "first_token": self.first_token,
            "adapters": lambda: {"bytes": [adapter.size_bytes for adapter in self.loaded]},
            "memory": self.memory,
            "load": self.load,
        }

    def submit(
        self, prompt: Sequence[int], adapter: LoadedAdapter | None, new_tokens: int
    ) -> Generation:
        """The likeliest `new_tokens` tokens; no earlier prompt's beginning is used."""
        return self.scheduler.submit(self.request(prompt, adapter, new_tokens))

    def request(
        self,
        prompt: Sequence[int],
        adapter: LoadedAdapter | None,
        new_tokens: int,
        *,
        organisation: str = "",
        temperature: float = 0.0,
    ) -> Request:
        """An answer of that many tokens; an organisation's beginnings are kept for its next one."""
        return Request(
            prompt=tuple(prompt),
            sampling=Sampling(max_new_tokens=new_tokens, temperature=temperature),
            tokenizer=self.tokenizer,
            adapter=adapter,
            organisation=organisation,
            use_prefix_cache=bool(organisation),
        )

    def answer(
        self, prompts: Sequence[Sequence[int]], adapters: Sequence[int | None], new_tokens: int
    ) -> Reply:
        def generate() -> int:
            given = [
                self.submit(prompt, None if number is None else self.loaded[number], new_tokens)
                for prompt, number in zip(prompts, adapters, strict=True)
            ]
            self._finish()
            return sum(len(generation.tokens) for generation in given)

        return timed(generate)

    def join(self, prompts: Sequence[Sequence[int]], joining: Sequence[int]) -> Reply:
        """Times of the running answers' tokens before and while another prompt joins them."""
        running = [self.submit(prompt, None, _LONGEST_RUNNING) for prompt in prompts]
        while not all(generation.tokens for generation in running):
            self.scheduler.step()
        times = TokenTimes(running)
        while len(times.gaps_s) < _STEPS_BEFORE * len(running):
            self._step(times)
        step_s = statistics.median(times.gaps_s)
        times.gaps_s.clear()

        began = time.perf_counter()
        joined = self.submit(joining, None, 2)
        while not joined.tokens:
            self._step(times)
        first_s = time.perf_counter() - began
        while not joined.finish:  # in that step the others' wait ends too
            self._step(times)
        for generation in running:
            generation.cancel()
        self._finish()
        return {"gap_s": max(times.gaps_s), "step_s": step_s, "first_s": first_s}

    def _step(self, times: TokenTimes) -> None:
        self.scheduler.step()
        times.note()

    def _finish(self) -> None:
        while self.scheduler.step():
            pass

    def first_token(self, prompt: Sequence[int], adapter: str | None = None) -> Reply:
        """Seconds from the adapter's name to the answer's first token, nothing else running."""
        began = time.perf_counter()
        if adapter is not None and adapter not in self.by_folder:
            self.by_folder[adapter] = self.decoder.bank.load(Path(adapter))
        loaded = None if adapter is None else self.by_folder[adapter]
        generation = self.submit(prompt, loaded, 1)
        while not generation.tokens:
            self.scheduler.step()
        seconds = time.perf_counter() - began
        self._finish()
        return {"seconds": seconds}

    def load(self, prompts: Sequence[Sequence[int]], seconds: float, seed: int) -> Reply:
        """Mixed load: any adapter or none, many lengths, sampled and greedy, some given up.

        All the while versions of adapters are promoted and rolled back.
        """
        chance = random.Random(seed)
        ends = time.monotonic() + seconds
        flying: list[Generation] = []
        answers = promotions = 0
        while flying or time.monotonic() < ends:
            while len(flying) < _IN_FLIGHT and time.monotonic() < ends:
                flying.append(self.loaded_scheduler.submit(self._any_request(chance, prompts)))
            self.loaded_scheduler.step()
            if chance.random() < _GIVEN_UP_A_STEP:
                chance.choice(flying).cancel()
            if chance.random() < _PROMOTED_A_STEP:
                self._promote(chance.randrange(len(self.active)))
                promotions += 1
            answers += sum(bool(generation.finish) for generation in flying)
            flying = [generation for generation in flying if not generation.finish]
        return {"answers": answers, "promotions": promotions}

    def _any_request(self, chance: random.Random, prompts: Sequence[Sequence[int]]) -> Request:
        number = chance.randrange(-1, len(self.active))
        questions = chance.choices(prompts, k=chance.randint(1, _LONGEST_PROMPT))
        return self.request(
            [token for question in questions for token in question],
            self.active[number] if number >= 0 else None,
            chance.randrange(1, 100),
            organisation=f"organisation {number}",
            temperature=chance.choice((0.0, 1.0)),
        )

    def _promote(self, organisation: int) -> None:
        """Let its other version answer from now on: a promotion, or the rollback of one."""
        former = self.active[organisation]
        every = list(self.by_folder)
        versions = Path(every[organisation]), Path(every[organisation + len(self.active)])
        self.active[organisation] = self.decoder.bank.load(
            versions[1] if former.folder == versions[0] else versions[0]
        )
        self.loaded_scheduler.retire(former)

    def memory(self) -> Reply:
        """Bytes of the GPU that are in use, or of the machine where there is none."""
        if device_name() == "cuda":
            return {"bytes": torch.cuda.memory_allocated()}
        gc.collect()
        return {"bytes": psutil.Process().memory_info().rss}


if __name__ == "__main__":
    serve(lambda: Running(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]).handlers)
