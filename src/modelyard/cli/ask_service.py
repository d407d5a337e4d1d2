"""`models ask` through a running service: the same answer, and the same errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from modelyard.answering.request import (
    Answer,
    AnswerFailed,
    Attempt,
    LeftOut,
    NothingFound,
    OverLimit,
    Request,
)
from modelyard.cli.service_client import AnswerLines, RunningService
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.deployments.effective_settings import Effective
from modelyard.providers.call import OnText

_ANSWER = TypeAdapter(Answer)
_ATTEMPTS = TypeAdapter(tuple[Attempt, ...])
_LEFT_OUT = TypeAdapter(tuple[LeftOut, ...])


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAnswerer:
    """Answers through a service, as `answering.Answerer` answers in this process."""

    service: RunningService
    """The service."""
    domain: str | None
    """What the command was asked for: a domain,"""
    model: str | None
    """a model,"""
    profile: str | None
    """and a performance profile."""

    def answer(
        self, effective: Effective, request: Request, *, on_text: OnText | None = None
    ) -> Answer:
        """The service's answer, by its own reading of the same configs.

        Raises what `Answerer.answer` raises, and ModelyardError when the service goes away.
        """
        body: dict[str, Any] = {
            "messages": [{"role": turn.role, "content": turn.content} for turn in request.messages],
            "domain": self.domain,
            "model": self.model,
            "profile": self.profile,
            "system": request.system,
            "files": [{"name": file.name, "text": file.text} for file in request.files],
            "language": request.language,
            "json_schema": None if request.json_schema is None else dict(request.json_schema),
            "user": request.user,
            "use_fallback": request.use_fallback,
            "use_cache": request.use_cache,
        }
        with self.service.post("/v1/ask", body, organisation=request.organisation) as lines:
            answer = AnswerLines(lines)
            for piece in answer:
                if on_text is not None:
                    on_text(piece)
        if "error" in answer.last:
            raise told_error(answer.last["error"])
        return _ANSWER.validate_python(answer.last["answer"])


def told_error(told: dict[str, Any]) -> ModelyardError:
    """The error that the service had, from what it says of it."""
    message, hint = told["message"], told.get("hint")
    if "answer_id" in told:
        return AnswerFailed(
            message,
            answer_id=told["answer_id"],
            hint=hint,
            attempts=_ATTEMPTS.validate_python(told["attempts"]),
            left_out=_LEFT_OUT.validate_python(told["left_out"]),
        )
    kind = told["kind"]
    if kind == "NothingFound":
        return NothingFound(message, hint=hint or "")
    if told["exit_code"] == OverLimit.exit_code:
        return OverLimit(message, where=told.get("where"), hint=hint)
    error = InvalidInput if told["exit_code"] == InvalidInput.exit_code else ModelyardError
    return error(message, where=told.get("where"), hint=hint)
