"""No organisation ever gets an answer of another one's adapter, keys, values or cache."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

import psutil
import pytest
from toy_decoder import toy_tokenizer

from killed import SOAK
from marker_models import MARKERS, PLAIN, marker_model, markers, write_marker_adapter
from modelyard.adapters.lora import AdapterMismatch
from modelyard.inference.decoder import Decoder
from modelyard.inference.generation import Generation, Request
from modelyard.inference.interfaces import LoadedAdapter
from modelyard.inference.sampling import Sampling
from modelyard.inference.scheduler import Limits, Scheduler
from modelyard.inference.structure import recognise
from tiny_models import logits_of

ORGANISATIONS, VERSIONS, THREADS = 50, 3, 4
REQUESTS, IN_FLIGHT = 500 * SOAK, 256
SYSTEM = [7, 9, 4, 11] * 17
"""How every prompt begins: what organisations have in common, and must not share."""
TOKENIZER = toy_tokenizer(PLAIN + ORGANISATIONS * VERSIONS * MARKERS)


@pytest.fixture(scope="module")
def model() -> Any:
    return marker_model(ORGANISATIONS * VERSIONS)


@pytest.fixture(scope="module")
def folders(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter for each version of each organisation: `0/`, `1/` ..."""
    where = tmp_path_factory.mktemp("markers")
    for number in range(ORGANISATIONS * VERSIONS):
        write_marker_adapter(where / str(number), model, number)
    write_marker_adapter(where / "damaged", model, 0, damaged=True)
    return where


@dataclass
class Organisation:
    """One that asks, and now and then promotes another of its versions."""

    name: str
    first: int
    """The number of its first version's adapter."""
    folders: Path
    is_robbed: bool
    """Whether the files of its adapters are replaced by another's after they were loaded."""
    active: int = 0
    adapter: LoadedAdapter | None = None
    lock: Lock = field(default_factory=Lock)

    def promote(self, scheduler: Scheduler, decoder: Decoder, version: int) -> None:
        with self.lock:
            folder = self.folders / self.name / str(version)
            if self.is_robbed or not folder.exists():
                shutil.copytree(
                    self.folders / str(self.first + version), folder, dirs_exist_ok=True
                )
            loaded = decoder.bank.load(folder)
            if self.adapter and self.adapter != loaded:
                scheduler.retire(self.adapter)
            self.active, self.adapter = version, loaded
            if self.is_robbed:
                foreign = self.folders / str((self.first + VERSIONS) % 100)
                shutil.copytree(foreign, folder, dirs_exist_ok=True)


@dataclass
class Asked:
    generation: Generation
    number: int | None
    """Of the adapter that has to answer; None for the base."""
    organisation: Organisation

    @property
    def foreign_tokens(self) -> int:
        own = range(PLAIN) if self.number is None else markers(self.number)
        return sum(token not in own for token in self.generation.tokens)


@dataclass
class Seen:
    """What came of all requests; the answers themselves are kept of one in five."""

    finished: Counter[str] = field(default_factory=Counter)
    foreign: int = 0
    cached: int = 0
    wrong_errors: list[Asked] = field(default_factory=list)
    kept: list[tuple[int | None, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    """The adapter's number, the prompt and the answer."""
    lock: Lock = field(default_factory=Lock)

    def add(self, asked: Asked) -> None:
        generation = asked.generation
        with self.lock:
            self.finished[str(generation.finish)] += 1
            self.foreign += asked.foreign_tokens
            self.cached += generation.cached_tokens
            if generation.finish == "error" and not asked.organisation.is_robbed:
                self.wrong_errors.append(asked)
            if self.finished.total() % 5 == 0:
                self.kept.append((asked.number, generation.request.prompt, generation.tokens))


def some_request(chosen: random.Random, organisation: Organisation, bare: bool) -> Request:
    own = [chosen.randrange(3, PLAIN) for _ in range(chosen.randint(1, 40))]
    if chosen.random() < 0.3:  # markers of anybody are in a prompt too
        own += chosen.choices(range(PLAIN, PLAIN + 800), k=5)
    return Request(
        prompt=(*SYSTEM, *own),
        sampling=Sampling(max_new_tokens=chosen.randint(1, 16)),
        tokenizer=TOKENIZER,
        adapter=None if bare else organisation.adapter,
        organisation=organisation.name,
        use_prefix_cache=chosen.random() < 0.8,
    )


def ask(scheduler: Scheduler, organisations: list[Organisation], seed: int, seen: Seen) -> None:
    """A share of all requests, with a share of those in flight; some are cancelled or dropped."""
    chosen = random.Random(seed)
    running: list[Asked] = []
    for _ in range(REQUESTS // THREADS):
        organisation = chosen.choice(organisations)
        bare = chosen.random() < 0.1
        with organisation.lock:
            number = None if bare else organisation.first + organisation.active
            generation = scheduler.submit(some_request(chosen, organisation, bare))
        if chosen.random() < 0.02:
            continue  # nobody holds it
        running.append(Asked(generation, number, organisation))
        if chosen.random() < 0.05:
            chosen.choice(running).generation.cancel()
        while len(running) >= IN_FLIGHT // THREADS:
            running = _still_running(running, seen)
    while running:
        running = _still_running(running, seen)


def _still_running(asked: list[Asked], seen: Seen) -> list[Asked]:
    time.sleep(0.002)
    for each in asked:
        if each.generation.finish:
            seen.add(each)
    return [each for each in asked if each.generation.finish is None]


def test_organisations_get_the_answers_of_their_own_adapters_only(
    model: Any, folders: Path
) -> None:
    decoder = Decoder(recognise(model), kv_bytes=5 << 20, slots=12, host_bytes=1 << 20)
    scheduler = Scheduler(
        decoder, Limits(rows=64, waiting=2 * IN_FLIGHT, wait_s=0.05, prefix_cache_bytes=1 << 20)
    )
    organisations = [
        Organisation(f"org{n}", n * VERSIONS, folders, is_robbed=n % 10 == 3)
        for n in range(ORGANISATIONS)
    ]
    for organisation in organisations:
        organisation.promote(scheduler, decoder, 0)
    seen, stop = Seen(), Event()

    def promote_on() -> None:
        chosen = random.Random(0)
        while not stop.wait(0.02):
            organisation = chosen.choice(organisations)
            organisation.promote(scheduler, decoder, chosen.randrange(VERSIONS))
            with pytest.raises(AdapterMismatch, match="has no"):
                decoder.bank.load(folders / "damaged")

    promoting = Thread(target=promote_on)
    asking = [
        Thread(target=ask, args=(scheduler, organisations, seed, seen)) for seed in range(THREADS)
    ]
    for thread in (promoting, *asking):
        thread.start()
    memory = [_resident_mb()]
    steps = 0
    while any(thread.is_alive() for thread in asking):
        scheduler.step()
        steps += 1
        if steps % 100 == 0:
            memory.append(_resident_mb())
    stop.set()
    promoting.join()
    while scheduler.step():
        pass

    print(f"{steps} steps: {dict(seen.finished)}; {seen.cached} tokens of prompts from the cache")
    print(f"resident, every 100 steps: {memory} MB")
    assert seen.foreign == 0
    assert not seen.wrong_errors
    assert seen.finished["length"] > 0.8 * seen.finished.total() > 0.7 * REQUESTS
    assert seen.cached > 10 * REQUESTS
    assert (scheduler.running, scheduler.waiting) == (0, 0)
    assert not decoder.kv._places
    assert not any(slot.uses for slot in decoder.bank._slots)
    assert decoder.bank._host_size() <= 1 << 20
    # A row or an adapter is 64 KB here, and there are some 3,300 requests after the first third.
    assert SOAK == 1 or memory[-1] - memory[len(memory) // 3] < 40
    _require_likeliest(model, folders, seen)


def _resident_mb() -> int:
    return int(psutil.Process().memory_info().rss // 1_000_000)


def _require_likeliest(model: Any, folders: Path, seen: Seen) -> None:
    """Every token is the likeliest one after its own prompt and answer, computed alone."""
    decoder = Decoder(recognise(model), slots=1)
    for number, answers in groupby(sorted(seen.kept, key=str), key=lambda each: each[0]):
        slot = None
        if number is not None:
            slot = decoder.bank.acquire(decoder.bank.load(folders / str(number)))
        for _, prompt, answer in answers:
            if answer:
                logits = logits_of(decoder, [*prompt, *answer[:-1]], slot=slot)[len(prompt) - 1 :]
                chosen = logits[range(len(answer)), list(answer)]
                assert (logits.amax(-1) - chosen).max() < 1e-3
        if slot is not None:
            decoder.bank.release(slot)
