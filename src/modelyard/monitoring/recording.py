"""Measuring an answer while it is given, and recording it however it ends."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from typing import Protocol

from modelyard.core.clock import utc_now_ms
from modelyard.records.sample import Outcome, Sample, new_answer_id
from modelyard.records.spool import Recorder


class Answer(Protocol):
    """An answer in pieces of text, as `inference.Engine.stream` gives it."""

    def __iter__(self) -> Generator[str, None, None]: ...

    @property
    def output_tokens(self) -> int:
        """Tokens that were given so far."""


def record_answer(
    answer: Answer,
    recorder: Recorder,
    *,
    model: str,
    adapter_digest: str | None,
    prompt_tokens: int,
    load_s: float,
    domain: str | None = None,
    environment: str | None = None,
    config_revision: int | None = None,
) -> Generator[str, None, None]:
    """The pieces of an answer of a model that runs here; its sample is recorded when it ends.

    It is `interrupted` when this generator is closed before, and `failed` when the answer raises.
    """
    outcome: Outcome = "interrupted"
    first_token_s = None
    started = time.perf_counter()
    try:
        with closing(iter(answer)) as pieces:
            for piece in pieces:
                if first_token_s is None:
                    first_token_s = time.perf_counter() - started
                yield piece
        outcome = "answered"
    except Exception:
        outcome = "failed"
        raise
    finally:
        recorder.record(
            Sample(
                answer_id=new_answer_id(),
                answered_at_ms=utc_now_ms(),
                domain=domain,
                model=model,
                adapter_digest=adapter_digest,
                environment=environment,
                config_revision=config_revision,
                prompt_tokens=prompt_tokens,
                output_tokens=answer.output_tokens,
                token_source="counted",
                load_s=load_s,
                first_token_s=first_token_s,
                latency_s=time.perf_counter() - started,
                cost_usd=0.0,
                outcome=outcome,
            )
        )
