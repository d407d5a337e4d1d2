"""Whoever asks by name gets answers of the adapters of that name only, through the whole way.

Caches, promotions, rollbacks and evictions are on, and some who ask go away.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from answer_samples import make_effective
from killed import SOAK
from marked_project import question, said, write_marked
from marker_models import PLAIN, markers
from modelyard.adapters.promote import promote_version
from modelyard.adapters.rollback import roll_back
from modelyard.adapters.versions import AdapterVersion
from modelyard.answering.answer import Answerer
from modelyard.answering.request import AnswerCancelled, Request
from modelyard.chatdata.conversation import Message
from modelyard.configs.kinds.language_models import LanguageModel
from modelyard.configs.kinds.parts import Generation
from modelyard.configs.kinds.performance_profiles import AnswerCache
from modelyard.core.layout import Project
from modelyard.deployments.effective_settings import Effective, EffectiveModel
from modelyard.inference.engine_limits import EngineLimits

ORGANISATIONS, PROMOTED = (50, 12) if SOAK > 1 else (20, 5)
"""So many have an adapter each, and the first of them two versions."""
REQUESTS, THREADS = 500 * SOAK, 48


def local(adapter: str | None, cache: bool) -> Effective:
    settings = LanguageModel(
        description="Here",
        provider="local",
        model="marked",
        adapter=adapter,
        context_tokens=512,
        max_output_tokens=16,
        timeout_s=600.0,  # on a machine that is busy
        generation=Generation(temperature=0.0, max_output_tokens=6),
    )
    model = EffectiveModel(name=f"adapter:{adapter}", settings=settings)
    kept = replace(AnswerCache(), enabled=cache)
    return make_effective(model=model, fallback=(), instructions="", cache=kept)


@dataclass
class Seen:
    """What came of all requests."""

    counts: Counter[str] = field(default_factory=Counter)
    foreign: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def ask(answerer: Answerer, seed: int, seen: Seen, left: threading.Semaphore) -> None:
    """Ask for this and that organisation until all requests were made."""
    chosen = random.Random(seed)
    while left.acquire(blocking=False):
        number = chosen.randrange(ORGANISATIONS)
        adapter = None if chosen.random() < 0.1 else f"org{number}"
        # Few questions, so that caches are used; with markers of anybody in them.
        tokens = [7, 9, 4, 11] * 9 + [3 + chosen.randrange(4), PLAIN + 8 * chosen.randrange(20)]
        cancelled = threading.Event()
        if chosen.random() < 0.03:
            cancelled.set()
        request = Request(
            messages=(Message("user", question(*tokens)),),
            organisation=f"org{number}",
            cancelled=cancelled,
            # An answer that ends by itself is kept, one that is cut is not.
            generation=Generation(stop=(",",)) if chosen.random() < 0.7 else None,
        )
        try:
            answer = answerer.answer(local(adapter, chosen.random() < 0.5), request)
        except AnswerCancelled:
            with seen.lock:
                seen.counts["cancelled"] += 1
            continue
        own = range(PLAIN)
        if adapter is not None:
            second = answer.ref.endswith("@2")
            own = markers(number + ORGANISATIONS * second)
        words = said(answer.text)
        with seen.lock:
            seen.counts["cached" if answer.from_cache else answer.ref.partition("@")[2]] += 1
            if not words or not set(words) <= set(own):
                seen.foreign.append(f"{adapter} as {answer.ref}: {words}")


def promote_on(project: Project, seconds: list[AdapterVersion], stop: threading.Event) -> None:
    chosen, promoted = random.Random(0), set[str]()
    while not stop.wait(0.02):
        version = chosen.choice(seconds)
        if version.adapter in promoted:
            roll_back(project, version.adapter)
        else:
            promote_version(project, version)
        promoted ^= {version.adapter}


def test_no_answer_of_another_organisation_however_they_ask(
    project: Project, tmp_path: Path
) -> None:
    seconds = write_marked(
        project, tmp_path, organisations=ORGANISATIONS, promoted=PROMOTED
    ).seconds
    limits = EngineLimits(max_batch=16, slots=6, adapter_bytes=400_000, waiting_each=64)
    seen, stop = Seen(), threading.Event()
    left = threading.Semaphore(REQUESTS)
    with Answerer(project, engine=limits) as answerer, ThreadPoolExecutor(THREADS + 1) as threads:
        promoting = threads.submit(promote_on, project, seconds, stop)
        asking = [threads.submit(ask, answerer, seed, seen, left) for seed in range(THREADS)]
        try:
            for each in asking:
                each.result()
        finally:
            stop.set()
        promoting.result()
        (figures,) = answerer.figures().bases

    print(f"{dict(seen.counts)}; {figures.loads} loads, {figures.evictions} evictions")
    assert seen.foreign == []
    assert seen.counts.total() == REQUESTS
    assert min(seen.counts[kind] for kind in ("1", "2", "", "cached", "cancelled")) > 0
    assert figures.evictions > ORGANISATIONS
    assert (figures.running, figures.waiting) == (0, 0)
    assert len(figures.adapters) <= ORGANISATIONS + PROMOTED
    assert sum(each.size_bytes for each in figures.adapters if each.slot is None) <= 400_000
