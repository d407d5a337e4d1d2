"""From what APIs answer to the class that decides what is done next, by the real clients.

The texts are those of the services; where one is long, its beginning.
"""

from __future__ import annotations

from typing import Any

import pytest

from modelyard.providers.call import CallFailure, Reply
from provider_calls import KEY, Caller
from provider_server import END, Step, chunk, event, head, named_event, whole

TODAY = "Date: Mon, 30 Nov 2026 12:00:00 GMT"


def openai_error(message: str, code: Any = None, kind: str = "invalid_request_error") -> Any:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def anthropic_error(kind: str, message: str) -> Any:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req-1"}


TOO_LONG: dict[str, tuple[str, Any]] = {
    "OpenAI": (
        "400 Bad Request",
        openai_error(
            "This model's maximum context length is 4097 tokens. However, your messages resulted "
            "in 6988 tokens. Please reduce the length of the messages.",
            "context_length_exceeded",
        ),
    ),
    "Anthropic": (
        "400 Bad Request",
        anthropic_error(
            "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"
        ),
    ),
    "Anthropic, with the answer": (
        "400 Bad Request",
        anthropic_error(
            "invalid_request_error",
            "input length and `max_tokens` exceed context limit: 190000 + 64000 > 200000",
        ),
    ),
    "vLLM": (
        "400 Bad Request",
        {
            "object": "error",
            "message": "This model's maximum context length is 6048 tokens. However, you requested "
            "6616 tokens (568 in the messages, 6048 in the completion).",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
    ),
    "vLLM, nothing left": (
        "400 Bad Request",
        {"object": "error", "message": "max_tokens must be at least 1, got -186.", "code": 400},
    ),
    "vLLM, decoder": (
        "400 Bad Request",
        openai_error(
            "The decoder prompt (length 5000) is longer than the maximum model length of 4096."
        ),
    ),
    "llama.cpp": (
        "400 Bad Request",
        {
            "error": {
                "code": 400,
                "message": "request (4390 tokens) exceeds the available context size (4096 "
                "tokens), try increasing it",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 4390,
                "n_ctx": 4096,
            }
        },
    ),
    "llama.cpp with 500": (
        "500 Internal Server Error",
        {
            "error": {
                "code": 500,
                "message": "Context size has been exceeded.",
                "type": "server_error",
            }
        },
    ),
    "llama-cpp-python": (
        "400 Bad Request",
        openai_error(
            "Requested tokens (2285) exceed context window of 2048", "context_length_exceeded"
        ),
    ),
    "Ollama": ("400 Bad Request", {"error": "the input length exceeds the context length"}),
    "LM Studio": (
        "400 Bad Request",
        {
            "error": "the model is loaded with context length of only 32768 tokens, "
            "which is not enough"
        },
    ),
    "LiteLLM": (
        "400 Bad Request",
        openai_error("litellm.ContextWindowExceededError: litellm.BadRequestError: ...", "400"),
    ),
    "Mistral": (
        "400 Bad Request",
        {
            "object": "error",
            "message": "Prompt contains 40000 tokens and 0 draft tokens, too large "
            "for model with 32768 maximum context length",
            "type": "invalid_request_error",
        },
    ),
    "SGLang": (
        "400 Bad Request",
        {
            "object": "error",
            "message": "The input (40000 tokens) is longer than the model's context length "
            "(32768 tokens).",
            "code": 400,
        },
    ),
    "TGI": (
        "422 Unprocessable Entity",
        {
            "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. "
            "Given: 3000 `inputs` tokens",
            "error_type": "validation",
        },
    ),
    "Gemini": (
        "400 Bad Request",
        {
            "error": {
                "code": 400,
                "message": "The input token count (1200000) exceeds the maximum "
                "number of tokens allowed (1048576).",
                "status": "INVALID_ARGUMENT",
            }
        },
    ),
}

CLASSES: dict[str, tuple[list[Step], str, bool]] = {
    # name: what the server answers, the class, and whether the same call may succeed later
    "400": (whole("400 Bad Request", openai_error("you must provide messages")), "invalid", False),
    "400 of Anthropic": (
        whole(
            "400 Bad Request", anthropic_error("invalid_request_error", "messages: at least one")
        ),
        "invalid",
        False,
    ),
    "413": (
        whole(
            "413 Too Large",
            anthropic_error("request_too_large", "Request exceeds the maximum size"),
        ),
        "invalid",
        False,
    ),
    "422 of FastAPI": (
        whole(
            "422 Unprocessable Entity",
            {"detail": [{"loc": ["body", "messages"], "msg": "field required", "type": "missing"}]},
        ),
        "invalid",
        False,
    ),
    "out of range": (
        whole(
            "400 Bad Request",
            openai_error("temperature: must be at most 1", "decimal_above_max_value"),
        ),
        "invalid",
        False,
    ),
    "401": (
        whole(
            "401 Unauthorized", openai_error(f"Incorrect API key: {KEY[:12]}", "invalid_api_key")
        ),
        "no_access",
        False,
    ),
    "403": (
        whole("403 Forbidden", openai_error("no", "unsupported_country_region_territory")),
        "no_access",
        False,
    ),
    "404 of OpenAI": (
        whole("404 Not Found", openai_error("The model `x` does not exist", "model_not_found")),
        "no_access",
        False,
    ),
    "404 of Ollama": (
        whole("404 Not Found", {"error": "model 'x' not found, try pulling it first"}),
        "no_access",
        False,
    ),
    "404 and a page": (
        whole("404 Not Found", "<html>no</html>", "Content-Type: text/html"),
        "no_access",
        False,
    ),
    "405": (whole("405 Method Not Allowed", ""), "no_access", False),
    "429 without quota": (
        whole(
            "429 Too Many Requests",
            openai_error(
                "You exceeded your current quota", "insufficient_quota", "insufficient_quota"
            ),
            "Retry-After: 1",
        ),
        "no_quota",
        False,
    ),
    "400 without credit": (
        whole(
            "400 Bad Request",
            anthropic_error(
                "invalid_request_error",
                "Your credit balance is too low to access the Anthropic API.",
            ),
        ),
        "no_quota",
        False,
    ),
    "402": (
        whole("402 Payment Required", {"error": {"message": "Insufficient Balance"}}),
        "no_quota",
        False,
    ),
    "429": (
        whole(
            "429 Too Many Requests",
            openai_error("Rate limit reached", "rate_limit_exceeded", "requests"),
        ),
        "busy",
        True,
    ),
    "429 for one large request": (
        whole(
            "429 Too Many Requests",
            openai_error(
                "Request too large for gpt-4 on tokens per min (TPM): Limit 10000, Requested 12000",
                "rate_limit_exceeded",
                "tokens",
            ),
        ),
        "busy",
        False,
    ),
    "429 that says no": (
        whole("429 Too Many Requests", "", "x-should-retry: false"),
        "busy",
        False,
    ),
    "418": (whole("418 I'm a teapot", ""), "broken", False),
    "431": (whole("431 Request Header Fields Too Large", ""), "broken", False),
    "408": (whole("408 Request Timeout", ""), "busy", True),
    "409": (whole("409 Conflict", ""), "busy", True),
    "425": (whole("425 Too Early", ""), "busy", True),
    "500": (
        whole("500 Internal Server Error", openai_error("The server had an error")),
        "busy",
        True,
    ),
    "501": (whole("501 Not Implemented", ""), "busy", False),
    "502": (whole("502 Bad Gateway", "<html>", "Content-Type: text/html"), "busy", True),
    "503": (
        whole("503 Service Unavailable", openai_error("That model is overloaded")),
        "busy",
        True,
    ),
    "504": (whole("504 Gateway Timeout", ""), "busy", True),
    "529": (
        whole("529 Overloaded", anthropic_error("overloaded_error", "Overloaded")),
        "busy",
        True,
    ),
    "error that is a list": (
        whole("400 Bad Request", b'[{"error": {"code": 400}}]'),
        "invalid",
        False,
    ),
    "error that is null": (whole("400 Bad Request", {"error": None}), "invalid", False),
    "error that is no JSON": (whole("400 Bad Request", b'{"error": '), "invalid", False),
    "error that is no UTF-8": (whole("400 Bad Request", b"\xff\xfe\x00"), "invalid", False),
    "error with control characters": (
        whole("400 Bad Request", openai_error("a\x1b[2J\u202eb\nc")),
        "invalid",
        False,
    ),
}

WAITS: dict[str, tuple[tuple[str, ...], float | None]] = {
    "seconds": (("Retry-After: 7",), 7),
    "a fraction": (("Retry-After: 0.5",), 0.5),
    "milliseconds": (("retry-after-ms: 250", "Retry-After: 1"), 0.25),
    "a date": ((TODAY, "Retry-After: Mon, 30 Nov 2026 12:00:30 GMT"), 30),
    "a past date": ((TODAY, "Retry-After: Mon, 30 Nov 2026 11:00:00 GMT"), 0),
    "words": (("Retry-After: soon",), None),
    "a negative number": (("Retry-After: -5",), None),
    "two": (("Retry-After: 1", "Retry-After: 2"), None),
    "none": ((), None),
}

IN_THE_ANSWER = {
    # name: an event of Chat Completions, and its class
    "code of llama.cpp": ({"error": {"code": 400, "message": "bad", "type": "x"}}, "invalid"),
    "context of llama.cpp": (
        {"error": {"code": 500, "message": "the request exceeds the available context size"}},
        "too_long",
    ),
    "quota": (openai_error("quota", "insufficient_quota"), "no_quota"),
    "rate": (openai_error("slow down", "rate_limit_exceeded"), "busy"),
    "a text": ({"error": "model runner has unexpectedly stopped"}, "busy"),
    "a key": (openai_error(f"bad key {KEY}", None, "authentication_error"), "no_access"),
}


def fail(caller: Caller, provider: str) -> CallFailure:
    result = caller.send(caller.settings(provider))
    assert isinstance(result, CallFailure), result
    assert KEY[:10] not in repr(result)
    return result


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("name", CLASSES)
def test_an_answer_has_the_same_class_for_both_clients(
    caller: Caller, provider: str, name: str
) -> None:
    script, kind, is_temporary = CLASSES[name]
    caller.server.answer(script)
    failure = fail(caller, provider)
    assert (failure.kind, failure.is_temporary) == (kind, is_temporary)
    assert caller.count() == 1
    assert failure.reason.isprintable() and len(failure.reason) <= 300
    gateway = failure.status in (408, 502, 504)
    assert failure.usage is None if gateway else failure.usage and not failure.usage.input_tokens


@pytest.mark.parametrize("service", TOO_LONG)
def test_a_context_that_is_too_short_is_told_from_a_wrong_request(
    caller: Caller, service: str
) -> None:
    status, body = TOO_LONG[service]
    caller.server.answer(whole(status, body))
    provider = "anthropic" if service.startswith("Anthropic") else "openai_compatible"
    failure = fail(caller, provider)
    assert (failure.kind, failure.is_temporary) == ("too_long", False), failure
    assert caller.count() == 1


@pytest.mark.parametrize("name", WAITS)
def test_how_long_a_service_asks_to_wait(caller: Caller, name: str) -> None:
    headers, expected = WAITS[name]
    caller.server.answer(whole("429 Too Many Requests", "", *headers))
    failure = fail(caller, "openai")
    assert failure.asked_wait_s == expected and failure.is_temporary


@pytest.mark.parametrize("name", IN_THE_ANSWER)
def test_an_error_in_an_answer_has_the_class_of_its_code(caller: Caller, name: str) -> None:
    said, kind = IN_THE_ANSWER[name]
    caller.server.answer([head(), chunk(event(said)), END])
    assert fail(caller, "openai_compatible").kind == kind
    caller.server.answer(whole("200 OK", said))
    assert fail(caller, "openai_compatible").kind == kind


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("overloaded_error", "busy"),
        ("rate_limit_error", "busy"),
        ("api_error", "busy"),
        ("timeout_error", "busy"),
        ("a_new_error", "busy"),
        ("invalid_request_error", "invalid"),
        ("authentication_error", "no_access"),
        ("permission_error", "no_access"),
        ("billing_error", "no_quota"),
    ],
)
def test_an_error_event_of_anthropic_has_the_class_of_its_type(
    caller: Caller, kind: str, expected: str
) -> None:
    error = named_event("error", error={"type": kind, "message": "it"})
    caller.server.answer([head(), chunk(named_event("ping")), chunk(error), END])
    assert fail(caller, "anthropic").kind == expected


@pytest.mark.parametrize("code", ["content_filter", "ResponsibleAIPolicyViolation"])
def test_a_prompt_that_a_filter_refuses_is_an_outcome(caller: Caller, code: str) -> None:
    said = openai_error("The prompt was filtered.", "content_filter")
    if code != "content_filter":
        said = {"error": {"message": "It was filtered.", "innererror": {"code": code}}}
    caller.server.answer(whole("400 Bad Request", said, "apim-request-id: req-7"))
    result = caller.send(caller.settings("openai_compatible"))
    assert isinstance(result, Reply)
    assert (result.finish, result.text, result.request_id) == ("refused", "", "req-7")


def test_a_missing_key_is_no_access_and_nothing_is_sent(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOME_KEY")
    failure = fail(caller, "openai")
    assert failure.kind == "no_access" and "env:SOME_KEY" in failure.reason
    assert caller.count() == 0


@pytest.mark.parametrize(
    ("key", "says"), [(None, "asks for a key"), ("env:SOME_KEY", "refuses the key")]
)
def test_401_says_whether_a_key_was_sent(caller: Caller, key: str | None, says: str) -> None:
    caller.server.answer(whole("401 Unauthorized", openai_error("who are you", "no_auth")))
    failure = caller.send(caller.settings("openai_compatible", api_key=key))
    assert isinstance(failure, CallFailure)
    assert (
        failure.reason == f"HTTP 401: it {says} (no_auth, invalid_request_error); check `api_key`"
    )


def test_nobody_listens(caller: Caller) -> None:
    with caller.server:
        pass
    failure = fail(caller, "openai")
    assert (failure.kind, failure.is_temporary) == ("unreachable", True)
    assert "refused" in failure.reason and failure.status is None
    assert failure.usage is not None and failure.usage.input_tokens == 0
