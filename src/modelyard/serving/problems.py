"""What a client is told when it gets no answer. No message holds a path, and none a stack trace."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from modelyard.answering.request import (
    AnswerCancelled,
    AnswerFailed,
    BrokenModel,
    ContextTooLong,
    EngineBusy,
    InputTooLong,
    ModelNotServed,
    NothingFound,
    NotTaken,
    OverLimit,
)
from modelyard.core.errors import InvalidInput, ModelyardError

Style = Literal["openai", "anthropic", "local"]
"""Whose API a route speaks; local: the commands of this machine, which are told everything."""

_LONGEST_REASON = 500
"""Characters of why a model refuses a request, which may quote all of a schema."""
_FIELD = re.compile(r"(tools|messages)(\[\d+\])?|tool_choice|max_output_tokens|the JSON Schema")
"""What an error calls a part of the request; any other place is one of the service."""
SCHEMA = "the JSON Schema"
"""What an error calls the schema of the answer, which each API has in another field."""
LONGEST_ANSWER = "max_output_tokens"
"""What an error calls the most tokens of the answer; so does one of the APIs."""
CLIENT_GONE = 499
"""The status of a request whose client did not wait for its answer, as nginx writes it."""
_TYPES = {
    400: ("invalid_request_error", "invalid_request_error"),
    401: ("invalid_request_error", "authentication_error"),
    403: ("invalid_request_error", "permission_error"),
    404: ("invalid_request_error", "not_found_error"),
    405: ("invalid_request_error", "invalid_request_error"),
    408: ("invalid_request_error", "invalid_request_error"),
    413: ("invalid_request_error", "request_too_large"),
    429: ("rate_limit_error", "rate_limit_error"),
    500: ("server_error", "api_error"),
    503: ("server_error", "overloaded_error"),
}
"""What each API calls an error of a status: OpenAI's, Anthropic's."""


@dataclass(kw_only=True, eq=False)
class Problem(Exception):  # not frozen: Python sets its traceback as it passes through
    """Why a request gets no answer, as its client is told."""

    status: int
    """The HTTP status."""
    message: str
    """What is wrong and what to do, in words for the client."""
    code: str | None = None
    """What programs go by, as OpenAI's API names it: `model_not_found`."""
    param: str | None = None
    """The field of the body that is at fault."""
    retry_after_s: float | None = None
    """Seconds after which the same request may succeed."""
    cause: Exception | None = field(default=None, repr=False)
    """What went wrong, for the log and for commands of this machine."""

    def with_field(self, part: str, field: str | None) -> Problem:
        """The same, where a part of the request is at fault: with the field that it came in."""
        if self.param != part or field is None:
            return self
        return replace(self, param=field, message=self.message.replace(part, field, 1))

    def body(self, style: Style) -> dict[str, Any]:
        """The JSON body, as the clients of an API read it."""
        if style == "local":
            return {"error": _whole(self.cause or self)}
        ours, theirs = _TYPES.get(self.status, _TYPES[500])
        if style == "anthropic":
            return {"type": "error", "error": {"type": theirs, "message": self.message}}
        error = {"message": self.message, "type": ours, "param": self.param, "code": self.code}
        return {"error": error}

    @property
    def headers(self) -> dict[str, str]:
        """What is said in the header besides."""
        if self.status == 401:
            return {"WWW-Authenticate": "Bearer"}
        if self.status == 408:
            return {"Connection": "close"}
        if self.retry_after_s is None:
            return {}
        return {"Retry-After": str(max(1, math.ceil(self.retry_after_s)))}


def style_of(path: str) -> Style:
    """Whose words errors at an address are in, where no route has said it."""
    return "anthropic" if path.startswith("/v1/messages") else "openai"


def stopping(retry_after_s: float) -> Problem:
    """What a client is told while the service ends; another may answer after so many seconds."""
    return Problem(
        status=503,
        message="this service is being stopped",
        code="stopping",
        retry_after_s=retry_after_s,
    )


def no_such_model(name: str) -> Problem:
    """The same words for a model that does not exist and for one of somebody else."""
    return Problem(
        status=404,
        message=f"there is no model {name!r} for this key; GET /v1/models lists those that it has",
        code="model_not_found",
        param="model",
    )


def _whole(error: Exception) -> dict[str, Any]:
    """An error with all that a command shows of it."""
    if isinstance(error, Problem):
        exit_code = InvalidInput.exit_code if error.status == 400 else ModelyardError.exit_code
        return {"kind": "", "message": error.message, "exit_code": exit_code}
    if not isinstance(error, ModelyardError):
        return {"kind": "", "message": "the service made a mistake", "exit_code": 1}
    found: dict[str, Any] = {
        "kind": type(error).__name__,
        "message": error.message,
        "where": error.where,
        "hint": error.hint,
        "exit_code": error.exit_code,
    }
    if isinstance(error, AnswerFailed):
        found["answer_id"] = error.answer_id
        found["attempts"] = [asdict(attempt) for attempt in error.attempts]
        found["left_out"] = [asdict(left_out) for left_out in error.left_out]
    return found


def _too_long(error: ContextTooLong) -> str:
    over = error.tokens - error.room
    about = "" if error.is_exact else "about "
    if over < 0 and not error.is_exact:
        return f"the prompt has about {error.tokens:,} tokens, and the model takes fewer"
    return (
        f"the prompt has {about}{error.tokens:,} tokens, and the context of the model "
        f"{error.room:,}: " + (f"{over:,} too many" if over > 0 else "no answer has room in it")
    )


def _over_limit(error: OverLimit) -> str:
    if not error.is_budget:
        return "a limit of this service is reached"
    if error.has_no_price:
        return "what an answer costs is not known here, and a budget is set"
    if error.wait_s is None:
        return "one answer could cost more than the budget: send less, or ask for a shorter one"
    return "a budget is used up"


def _all_wrong(error: InvalidInput) -> str:
    """What is wrong with a request; where in the service's own files is nobody's business."""
    return "; ".join(each.message for each in error.problems) or error.message


def explain_failure(error: Exception) -> Problem:
    """What a client is told of an error of the library; the log of the service has all of it."""
    if isinstance(error, Problem):
        return error
    return replace(_explained(error), cause=error)


def _explained(error: Exception) -> Problem:
    if isinstance(error, OverLimit):
        code = "insufficient_quota" if error.is_budget else "rate_limit_exceeded"
        return Problem(
            status=429, message=_over_limit(error), code=code, retry_after_s=error.wait_s
        )
    if isinstance(error, AnswerCancelled):
        return Problem(status=CLIENT_GONE, message="the client went away")
    if isinstance(error, ContextTooLong):
        return Problem(status=400, message=_too_long(error), code="context_length_exceeded")
    if isinstance(error, InputTooLong):
        return Problem(status=400, message=error.message, code="context_length_exceeded")
    if isinstance(error, NotTaken):
        message = error.message.partition("\n")[0][:_LONGEST_REASON]
        return Problem(status=400, message=message, code="invalid_value", param=error.field)
    if isinstance(error, EngineBusy):
        return Problem(status=429, message=error.message, code="queue_full", retry_after_s=1)
    if isinstance(error, ModelNotServed):
        message = f"{error.name} is not loaded in the engine that computes it"
        return Problem(status=503, message=message, code="model_not_served", retry_after_s=5)
    if isinstance(error, BrokenModel):
        return Problem(status=503, message=error.message, code="model_broken")
    if isinstance(error, NothingFound):
        return Problem(status=404, message="nothing was found to answer from", code="nothing_found")
    if isinstance(error, InvalidInput):
        field = error.where if _FIELD.fullmatch(error.where or "") else None
        message = f"{field}: {_all_wrong(error)}" if field else _all_wrong(error)
        return Problem(status=400, message=message, code="invalid_value", param=field)
    if isinstance(error, AnswerFailed):
        return Problem(
            status=503,
            message=f"no model answered (answer {error.answer_id})",
            code="no_answer",
            retry_after_s=5,
        )
    if isinstance(error, ModelyardError):
        return Problem(status=503, message="the model cannot answer now", code="unavailable")
    return Problem(status=500, message="the service made a mistake", code="internal_error")
