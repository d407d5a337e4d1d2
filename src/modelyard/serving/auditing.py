"""One row of the audit log for each request with a key, written before the end of its answer."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from modelyard.access.caller import Audit, AuditEntry, Caller
from modelyard.answering.request import Answer
from modelyard.core.clock import utc_now


@dataclass(slots=True)
class AuditDraft:
    """What is known of a request so far."""

    route: str
    """`POST /v1/chat/completions`."""
    caller: Caller | None = None
    """Who sends it; None while no key was checked: then nothing is recorded."""
    model: str | None = None
    """The model, once it is known that the caller has it."""
    prompt: str | None = None
    """What was asked, where it is recorded."""
    answer: Answer | None = None
    """What was answered."""
    at: str = field(default_factory=utc_now)
    started_s: float = field(default_factory=time.perf_counter)

    @property
    def passed_s(self) -> float:
        """Seconds since it came."""
        return time.perf_counter() - self.started_s

    async def write(self, audit: Audit, status: int) -> None:
        """Record the request; return when a crash cannot lose the record."""
        if self.caller is None:
            return
        usage = self.answer.usage if self.answer else None
        entry = AuditEntry(
            at=self.at,
            organisation=self.caller.organisation,
            key_id=self.caller.key_id,
            user=self.caller.user,
            route=self.route,
            model=self.model,
            adapter_digest=self.answer.adapter_digest if self.answer else None,
            status=status,
            input_tokens=usage.input_tokens if usage else None,
            output_tokens=usage.output_tokens if usage else None,
            latency_s=self.passed_s,
            answer_id=self.answer.id if self.answer else None,
            prompt=self.prompt,
        )
        await asyncio.to_thread(audit.append, entry)
