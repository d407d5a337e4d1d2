"""Why a call gave no answer: from what an API said, to the class that decides what is done next.

docs/answers.md has the table. The wordings below are those of OpenAI, Anthropic, Azure, vLLM,
llama.cpp, Ollama, LiteLLM, Mistral, DeepSeek, SGLang and TGI, where their codes do not say it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from modelyard.core.json_reading import InvalidJson, parse_json
from modelyard.pacing import is_temporary, read_asked_wait_s
from modelyard.pacing.answers import Header
from modelyard.providers.call import CallFailure, FailureKind, Usage

NOTHING_BILLED = Usage(input_tokens=0, output_tokens=0)

_SHOWN_CHARACTERS = 200
_CODE = re.compile(r"[A-Za-z_]{3,48}")
"""A code that may be shown beside a refused key: a word, and no part of a key."""

_NO_QUOTA = re.compile(
    r"insufficient_quota|exceeded your current quota|billing_(hard_limit|not_active|error)"
    r"|credit balance is too low|insufficient (balance|credits?)|payment required",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(
    r"context_length_exceeded|exceed_context_size|context[ _-]?window|contextwindowexceeded"
    r"|(maximum|available|exceeds?|beyond) (the |this |its )?(model'?s? )?(maximum )?context"
    r"|context (length|size) (has been )?exceeded|exceeds? (the )?(max(imum)? )?context limit"
    r"|context length of only|longer than the model'?s? (maximum )?context|maximum model length"
    r"|(prompt|input) is too long|input length exceeds"
    r"|too large for model with \d+ maximum|max_tokens must be at least 1, got -"
    r"|max_new_tokens` must be <=|(token count|number of tokens).{0,40}exceeds"
    r"|reduce the length of the (messages|prompt)",
    re.IGNORECASE,
)
_TOO_LARGE_FOR_A_MINUTE = re.compile(r"request too large", re.IGNORECASE)
_FILTERED = re.compile(r"content_filter|content_policy_violation|ResponsibleAIPolicy")

_STATUS_OF = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "api_error": 500,
    "server_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""HTTP statuses of errors that come in the middle of an answer that began with 200."""
_UNNAMED_STATUS = 500

_AT_FAULT = frozenset({400, 413, 422})
"""Statuses of a request that every other model would refuse too, unless it is too long for one."""
_NO_ACCESS = frozenset({401, 403, 404, 405, 407, 410, 421, 451})
_GATEWAY = frozenset({408, 502, 504})
"""Statuses of which nobody knows whether the call was done, and so billed, behind a gateway."""


@dataclass(frozen=True, slots=True)
class Said:
    """What an API said of an error, in whatever form."""

    message: str
    """In words."""
    codes: tuple[str, ...] = ()
    """Its code and type."""
    parameter: str | None = None
    """The parameter that it is about, where it is named."""

    @property
    def everything(self) -> str:
        """Codes and message as one text."""
        return " ".join((*self.codes, self.message))

    @property
    def is_filtered(self) -> bool:
        """Whether a content filter refused the request."""
        return _FILTERED.search(self.everything) is not None


def read_said(body: object) -> Said:
    """What the body of an error says: bytes, or a value of JSON.

    `{"error": {...}}` (OpenAI, Anthropic, llama.cpp), `{"error": "..."}` (Ollama), the object by
    itself (vLLM), `{"detail": ...}` (FastAPI), `{"message": ...}` (gateways), or a text.
    """
    if isinstance(body, bytes):
        text = body.decode("utf-8", "replace")
        try:
            body = parse_json(text)
        except InvalidJson:
            body = text
    if isinstance(body, Mapping):
        return _read_object(body)
    return Said(message=body if isinstance(body, str) else "")


def _read_object(body: Mapping[str, Any]) -> Said:
    for key in ("error", "detail"):
        inner = body.get(key)
        if isinstance(inner, Mapping):
            return _read_object(inner)
        if isinstance(inner, list) and inner and isinstance(inner[0], Mapping):
            return _read_object(inner[0])
        if isinstance(inner, str) and inner:
            return Said(message=inner)
    place = body.get("loc")
    parameter = place[-1] if isinstance(place, list) and place else body.get("param")
    codes = [body.get("code"), body.get("type")]
    inner = body.get("innererror")
    if isinstance(inner, Mapping):
        codes.append(inner.get("code"))
    message = next(
        (text for key in ("message", "msg") if isinstance(text := body.get(key), str)), ""
    )
    return Said(
        message=message,
        codes=tuple(str(code) for code in codes if isinstance(code, (str, int)) and code),
        parameter=parameter if isinstance(parameter, str) else None,
    )


def refusal(status: int, header: Header, said: Said, *, has_key: bool) -> CallFailure:
    """Why an API refused a call, from its HTTP status and what it said."""
    kind = _kind_of(status, said)
    asked_wait_s = read_asked_wait_s(header) if kind == "busy" else None
    return CallFailure(
        kind=kind,
        reason=f"HTTP {status}: {_in_words(status, header, said, has_key=has_key)}",
        is_temporary=kind == "busy"
        and is_temporary(status, header)
        and not _TOO_LARGE_FOR_A_MINUTE.search(said.message),
        status=status,
        asked_wait_s=asked_wait_s,
        usage=None if status in _GATEWAY else NOTHING_BILLED,
    )


def with_advice(failure: CallFailure) -> CallFailure:
    """The failure of a model's call, with what to look at in the model's config."""
    match failure.status:
        case 401 | 403:
            what = "`api_key`"
        case 404 | 405:
            what = "`model` and `endpoint`"
        case 301 | 302 | 303 | 307 | 308:
            what = "`endpoint`"
        case _:
            return failure
    return replace(failure, reason=f"{failure.reason}; check {what}")


def error_in_answer(said: Said) -> CallFailure:
    """Why an answer that began with 200 holds an error."""
    numbers = (int(code) for code in said.codes if re.fullmatch(r"[45][0-9]{2}", code))
    named = (_STATUS_OF[code] for code in said.codes if code in _STATUS_OF)
    status = next(numbers, None) or next(named, _UNNAMED_STATUS)
    failure = refusal(status, lambda _: None, said, has_key=True)
    reason = f"an error in its answer: {failure.reason.partition(': ')[2]}"
    return replace(failure, reason=reason, usage=None)


def _kind_of(status: int, said: Said) -> FailureKind:
    if status == 402 or (400 <= status < 500 and _NO_QUOTA.search(said.everything)):
        return "no_quota"
    if status in (*_AT_FAULT, 500) and _TOO_LONG.search(said.everything):
        return "too_long"
    if status in _NO_ACCESS or 300 <= status < 400:
        return "no_access"
    if status >= 500 or status in (408, 409, 425, 429):
        return "busy"
    return "invalid" if status in _AT_FAULT else "broken"


def _in_words(status: int, header: Header, said: Said, *, has_key: bool) -> str:
    """What happened, in a line. What is said of a key is not repeated: it may quote some of it."""
    if 300 <= status < 400:
        return f"it redirects to {_origin(header('location'))}, and redirects are not followed"
    if status in (401, 403):
        codes = ", ".join(code for code in said.codes if _CODE.fullmatch(code))
        what = "it asks for a key" if not has_key else "it refuses the key"
        if status == 403 and has_key:
            what = "it refuses access with this key"
        return f"{what} ({codes})" if codes else what
    if _looks_like_a_page(said.message):
        return "a web page, and no answer of an API"
    return " ".join(said.message.split())[:_SHOWN_CHARACTERS] or "it says no more"


def _origin(url: str | None) -> str:
    """Scheme and host of a URL; what follows may hold a token."""
    found = re.match(r"https?://[A-Za-z0-9.:\[\]-]{1,200}", url or "")
    return found[0] if found else "another place of the same host"


def _looks_like_a_page(text: str) -> bool:
    return text.lstrip()[:200].lower().startswith(("<!doctype", "<html", "<?xml", "<head"))


def broken(what: str, *, usage: Usage | None = None) -> CallFailure:
    """An answer that is none. It was probably billed, so it is not asked for again."""
    return CallFailure(kind="broken", reason=f"its answer: {what}", is_temporary=False, usage=usage)


def unreachable(why: str, *, is_temporary: bool = True, sent: bool = True) -> CallFailure:
    """No connection, or one that broke off. What was not sent is not billed."""
    return CallFailure(
        kind="unreachable",
        reason=why,
        is_temporary=is_temporary,
        usage=None if sent else NOTHING_BILLED,
    )


def timed_out(why: str, *, sent: bool = True) -> CallFailure:
    """The time of the call was over before its answer."""
    return CallFailure(
        kind="timeout", reason=why, is_temporary=True, usage=None if sent else NOTHING_BILLED
    )


def no_access(why: str) -> CallFailure:
    """Nothing was sent, and nothing helps until a person does something."""
    return CallFailure(kind="no_access", reason=why, is_temporary=False, usage=NOTHING_BILLED)
