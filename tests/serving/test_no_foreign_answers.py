"""Whatever an organisation asks over HTTP, nobody else's adapter answers it.

Caches, promotions, rollbacks and evictions are on; some clients leave, and some ask for models of
others.
"""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection

import pytest
from marked_service import ask, text_of, user

from marked_project import BASE, Marked, question, said
from marker_models import PLAIN
from modelyard.access.audit_reading import export_audit, verify_audit
from modelyard.adapters.promote import promote_version
from modelyard.adapters.rollback import roll_back
from modelyard.adapters.versions import list_versions
from modelyard.inference.engine_limits import EngineLimits
from served import Running, serving

SOAK_REQUESTS, REQUESTS, THREADS = 5000, 80, 32


@dataclass
class Seen:
    """What came of all requests."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    answers: dict[str, tuple[int | None, bool]] = field(default_factory=dict)
    """By its id: whose adapter gave an answer, and whether it was the second version."""
    lock: threading.Lock = field(default_factory=threading.Lock)


@pytest.fixture
def crowded(marked: Marked) -> Iterator[Running]:
    """A service with room for fewer adapters than there are."""
    limits = EngineLimits(max_batch=16, slots=4, adapter_bytes=200_000, waiting_each=64)
    with serving(marked.project, engine=limits) as running:
        yield running


@pytest.mark.parametrize(
    "requests", [REQUESTS, pytest.param(SOAK_REQUESTS, marks=pytest.mark.soak)]
)
def test_no_answer_of_another_organisation(marked: Marked, crowded: Running, requests: int) -> None:
    keys = [crowded.key(f"org{number}") for number in range(marked.organisations)]
    seen, stop, left = Seen(), threading.Event(), threading.Semaphore(requests)
    with ThreadPoolExecutor(THREADS + 1) as threads:
        promoting = threads.submit(promote_on, marked, stop)
        asking = [
            threads.submit(ask_on, marked, crowded, keys, seed, seen, left)
            for seed in range(THREADS)
        ]
        try:
            for each in asking:
                each.result()
        finally:
            stop.set()
        promotions = promoting.result()
        (figures,) = crowded.service.answerer.figures().bases
    print(
        f"{dict(seen.counts)}; {promotions} promotions and rollbacks, {figures.loads} loads, "
        f"{figures.evictions} evictions; {len(seen.wrong)} wrong"
    )
    assert seen.wrong == []
    assert seen.counts.total() == requests
    kinds = ("first", "second", "base", "not found", "left")
    assert min(seen.counts[kind] for kind in kinds) > 0
    assert promotions > 0 and figures.evictions > 0
    check_audit(marked, seen)


def ask_on(
    marked: Marked,
    running: Running,
    keys: list[str],
    seed: int,
    seen: Seen,
    left: threading.Semaphore,
) -> None:
    """Ask for this and that organisation until all requests were made."""
    chosen = random.Random(seed)
    connection = connect(running)
    while left.acquire(blocking=False):
        number = chosen.randrange(marked.organisations)
        other = (number + chosen.randrange(1, marked.organisations)) % marked.organisations
        model = chosen.choice(
            [f"org{number}", f"help{number}"] * 4 + [BASE, "plain", f"org{other}"]
        )
        is_base, is_foreign = model in (BASE, "plain"), model == f"org{other}"
        # Few questions, so that caches are used; with markers of anybody in them.
        text = question(*[7, 9, 4, 11] * 9, 3 + chosen.randrange(4), PLAIN + chosen.randrange(160))
        body = {
            "model": model,
            "messages": user(text),
            "max_tokens": 6,
            "stream": chosen.random() < 0.5,
            "stop": [","] if chosen.random() < 0.3 else None,
        }
        if chosen.random() < 0.03:
            leave(running, keys[number], body)
            with seen.lock:
                seen.counts["left"] += 1
            continue
        status, answer = ask(connection, keys[number], **body)
        with seen.lock:
            if is_foreign:
                seen.counts["not found"] += 1
                if status != 404 or answer["error"]["code"] != "model_not_found":
                    seen.wrong.append(f"{model} for org{number}: {answer}")
                continue
            if status != 200 or "error" in answer:
                seen.wrong.append(f"{model}: {status} {answer}")
                continue
            words = set(said(text_of(answer)))
            whose = None if is_base else number
            is_second = bool(words) and words <= set(marked.own(whose, second=True))
            if not words or not (is_second or words <= set(marked.own(whose))):
                seen.wrong.append(f"{model}: {sorted(words)}")
            is_second = is_second and not is_base
            seen.counts["base" if is_base else "second" if is_second else "first"] += 1
            seen.answers[answer["id"].removeprefix("chatcmpl-")] = whose, is_second
    connection.close()


def leave(running: Running, key: str, body: dict[str, object]) -> None:
    """Ask, and go away before there is an answer."""
    with closing(connect(running)) as connection:
        headers = {"Authorization": f"Bearer {key}"}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)


def connect(running: Running) -> HTTPConnection:
    return HTTPConnection(running.url.removeprefix("http://"), timeout=120)


def promote_on(marked: Marked, stop: threading.Event) -> int:
    """Promote and roll back until it is over; how often."""
    chosen, promoted, times = random.Random(0), set[str](), 0
    while not stop.wait(0.02):
        version = chosen.choice(marked.seconds)
        if version.adapter in promoted:
            roll_back(marked.project, version.adapter)
        else:
            promote_version(marked.project, version)
        promoted ^= {version.adapter}
        times += 1
    return times


def check_audit(marked: Marked, seen: Seen) -> None:
    """Every answer has its row, with the organisation and the adapter that its markers are of."""
    rows = {row["answer_id"]: row for row in export_audit(marked.project) if "number" in row}
    digests = {
        (number, version.number == 2): version.manifest.digest
        for number in range(marked.organisations)
        for version in list_versions(marked.project, f"org{number}")
    }
    for answer_id, (whose, is_second) in seen.answers.items():
        row = rows[answer_id]
        if whose is None:
            assert row["adapter_digest"] is None
        else:
            assert row["organisation"] == f"org{whose}"
            assert row["adapter_digest"] == digests[whose, is_second]
    assert verify_audit(marked.project).count >= len(seen.answers)
