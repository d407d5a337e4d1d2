"""What `answer()` adds to a call of the bare client, with and without budget and rate limit."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from benchmarks.answers.asking import LONGEST_ANSWER, REQUEST, asked_project
from benchmarks.engine.table import Bar, Row
from modelyard.answering.answer import Answerer
from modelyard.configs.kinds.integration import Budgets, ServiceLimits

PLAIN = Bar(what="`answer()` less the bare client, median", prototype="", most=5, unit="ms")
LIMITED = Bar(what="the same with budgets and rate limits", prototype="", most=10, unit="ms")


def measure_overhead(*, rounds: int = 300, warm_up: int = 20) -> Sequence[Row]:
    """The three in turn, in one process, with a provider that answers at once."""
    import openai

    with asked_project(worst_usd=1e-5) as (project, effective, provider):
        client = openai.OpenAI(base_url=provider.url, api_key="none", max_retries=0)
        plain = replace(effective, budgets=Budgets())
        limited = replace(
            effective,
            budgets=Budgets(
                per_day_usd=1000, per_month_usd=10_000, per_organisation_per_day_usd=1000
            ),
            rate_limits=ServiceLimits(
                requests_per_minute=1_000_000,
                tokens_per_minute=1_000_000_000,
                requests_per_minute_per_organisation=1_000_000,
            ),
        )
        request = replace(REQUEST, organisation="acme")
        messages = [{"role": turn.role, "content": turn.content} for turn in REQUEST.messages]

        def call() -> None:
            pieces = client.chat.completions.create(
                model="bench",
                messages=messages,  # type: ignore[arg-type]
                max_tokens=LONGEST_ANSWER,
                stream=True,
                stream_options={"include_usage": True},
            )
            for _ in pieces:
                pass

        with Answerer(project) as answerer:
            ways: Sequence[Callable[[], object]] = (
                call,
                lambda: answerer.answer(plain, request),
                lambda: answerer.answer(limited, request),
            )
            times_ms: list[list[float]] = [[] for _ in ways]
            for number in range(warm_up + rounds):
                for way, taken in zip(ways, times_ms, strict=True):
                    began_s = time.perf_counter()
                    way()
                    if number >= warm_up:
                        taken.append((time.perf_counter() - began_s) * 1000)
    bare, *others = times_ms
    return [
        bar.measured(
            statistics.median(more - less for more, less in zip(taken, bare, strict=True)),
            f"median {statistics.median(taken):.2f} ms against {statistics.median(bare):.2f} ms",
        )
        for bar, taken in zip((PLAIN, LIMITED), others, strict=True)
    ]
