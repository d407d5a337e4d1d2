"""What is measured of the service itself: counters for Prometheus, and the last answers.

Samples (`monitoring`) say how good and how dear answers are; this says how the process fares.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from modelyard.answering.answer import Answerer
from modelyard.serving.auditing import AuditDraft
from modelyard.serving.turns import Turns

_KEPT = 200
"""Answers that are remembered of an organisation."""
_MOST_ORGANISATIONS = 1000
"""Organisations whose answers are remembered; the one that asked longest ago is forgotten."""
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
"""Upper bounds of the buckets of times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentAnswer:
    """One of the last answers of an organisation."""

    at_s: float
    """When it ended, in seconds since 1970."""
    model: str | None
    """The model that was named."""
    latency_s: float
    """How long it took."""
    output_tokens: int | None
    """Its tokens."""


class Observer:
    """Counts what the service does; threads may share it."""

    def __init__(self, answerer: Answerer, turns: Turns) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_Engines(answerer, turns))
        self._requests = Counter(
            "modelyard_requests",
            "Requests by what became of them.",
            ("organisation", "route", "status"),
            registry=self.registry,
        )
        self._tokens = Counter(
            "modelyard_tokens",
            "Tokens of answers.",
            ("organisation", "adapter", "direction"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "modelyard_answer_seconds",
            "Time from a request to the end of its answer.",
            ("organisation", "adapter"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._lock = threading.Lock()
        self._recent: OrderedDict[str | None, deque[RecentAnswer]] = OrderedDict()

    def record(self, draft: AuditDraft, status: int) -> None:
        """Count a request that is over."""
        organisation = draft.caller.organisation if draft.caller else None
        whose = organisation or ""
        self._requests.labels(whose, draft.route, str(status)).inc()
        answer = draft.answer
        if answer is None:
            return
        adapter = answer.adapter_digest or ""
        latency_s = draft.passed_s
        self._seconds.labels(whose, adapter).observe(latency_s)
        if answer.usage is not None:
            self._tokens.labels(whose, adapter, "input").inc(answer.usage.input_tokens)
            self._tokens.labels(whose, adapter, "output").inc(answer.usage.output_tokens)
        recent = RecentAnswer(
            at_s=time.time(),
            model=draft.model,
            latency_s=latency_s,
            output_tokens=answer.usage.output_tokens if answer.usage else None,
        )
        with self._lock:
            kept = self._recent.setdefault(organisation, deque(maxlen=_KEPT))
            kept.append(recent)
            self._recent.move_to_end(organisation)
            while len(self._recent) > _MOST_ORGANISATIONS:
                self._recent.popitem(last=False)

    def recent(self, organisation: str | None) -> list[RecentAnswer]:
        """The last answers of an organisation, oldest first; None: of all."""
        with self._lock:
            if organisation is not None:
                return list(self._recent.get(organisation, ()))
            every = [answer for kept in self._recent.values() for answer in kept]
        return sorted(every, key=lambda answer: answer.at_s)[-_KEPT:]

    def exposition(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)


class _Engines(Collector):
    """What the local engines do and hold, read when somebody asks."""

    def __init__(self, answerer: Answerer, turns: Turns) -> None:
        self._answerer = answerer
        self._turns = turns

    def collect(self) -> Iterator[Metric]:
        """The figures of each base in memory."""
        yield GaugeMetricFamily(
            "modelyard_waiting", "Requests that wait for a turn.", value=self._turns.waiting
        )
        bases = self._answerer.figures().bases
        for name, (field, words) in _FIGURES.items():
            family = GaugeMetricFamily(f"modelyard_{name}", words, labels=("base",))
            for base in bases:
                family.add_metric([base.name], getattr(base, field))
            yield family
        held = GaugeMetricFamily(
            "modelyard_adapter_bytes",
            "Memory of each adapter that is loaded.",
            labels=("organisation", "adapter"),
        )
        for base in bases:
            for adapter in base.adapters:
                labels: list[Any] = [adapter.organisation or "", adapter.digest or adapter.name]
                held.add_metric(labels, adapter.size_bytes)
        yield held


_FIGURES = {
    "engine_running": ("running", "Answers that are computed."),
    "engine_waiting": ("waiting", "Requests that wait for a row of the engine."),
    "adapter_loads": ("loads", "Adapters that were read since the base was loaded."),
    "adapter_evictions": ("evictions", "Adapters that were dropped for others."),
    "kv_bytes": ("kv_bytes", "Memory for keys and values."),
    "prefix_cache_bytes": ("prefix_cache_bytes", "Memory for shared beginnings of prompts."),
}
"""By the name of the metric: the field of `BaseInMemory`, and what it is."""
