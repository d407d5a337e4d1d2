"""Parameters that a model or a server does not take: what the API says decides, and only once."""

from __future__ import annotations

from typing import Any

import pytest

from modelyard.providers.call import Call, CallFailure, Reply
from modelyard.providers.open import open_provider
from provider_calls import Caller, ask
from provider_server import chat, message, whole

SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}}


def unsupported(message: str, parameter: str | None, code: str | None = None) -> Any:
    kind = "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": parameter, "code": code}}


REFUSALS: dict[str, tuple[str, dict[str, Any], Any, str, tuple[str, ...]]] = {
    # name: provider, generation, error, the parameter that is left out, what the answer says of it
    "temperature of a reasoning model": (
        "openai",
        {"temperature": 0.2},
        unsupported(
            "Unsupported value: 'temperature' does not support 0.2 with this model. Only the "
            "default (1) value is supported.",
            "temperature",
            "unsupported_value",
        ),
        "temperature",
        ("temperature",),
    ),
    "stop of a reasoning model": (
        "openai",
        {"stop": ("END",)},
        unsupported(
            "Unsupported parameter: 'stop' is not supported with this model.",
            "stop",
            "unsupported_parameter",
        ),
        "stop",
        ("stop",),
    ),
    "through LiteLLM, without a parameter": (
        "openai_compatible",
        {"top_p": 0.5},
        unsupported(
            "litellm.UnsupportedParamsError: o1 does not support parameters: ['top_p']", None, "400"
        ),
        "top_p",
        ("top_p",),
    ),
    "usage in the stream": (
        "openai_compatible",
        {},
        unsupported("Unrecognized request argument supplied: stream_options", None),
        "stream_options",
        (),
    ),
    "usage in the stream, of FastAPI": (
        "openai_compatible",
        {},
        {
            "detail": [
                {
                    "type": "extra_forbidden",
                    "loc": ["body", "stream_options"],
                    "msg": "Extra inputs are not permitted",
                }
            ]
        },
        "stream_options",
        (),
    ),
    "seed": (
        "openai_compatible",
        {"seed": 7},
        unsupported("property 'seed' is unsupported", None),
        "seed",
        ("seed",),
    ),
    "schema": (
        "openai",
        {},
        unsupported(
            "Invalid parameter: 'response_format' of type 'json_schema' is not supported with "
            "this model.",
            None,
        ),
        "response_format",
        (),
    ),
    "schema, by its kind": (
        "openai_compatible",
        {},
        unsupported("This model does not support response format `json_schema`.", None),
        "response_format",
        (),
    ),
    "schema that is unavailable": (
        "openai_compatible",
        {},
        unsupported("This response_format type is unavailable now", None),
        "response_format",
        (),
    ),
    "schema that is not strict enough": (
        "openai",
        {},
        unsupported(
            "Invalid schema for response_format 'answer': 'additionalProperties' is required.",
            "response_format",
        ),
        "response_format",
        (),
    ),
    "temperature of Anthropic": (
        "anthropic",
        {"temperature": 0.2},
        {"error": {"message": "`temperature` is deprecated for this model."}},
        "temperature",
        ("temperature",),
    ),
    "temperature beside top_p": (
        "anthropic",
        {"temperature": 0.2, "top_p": 0.5},
        {
            "error": {
                "message": "`temperature` and `top_p` cannot both be specified for this model."
            }
        },
        "top_p",
        ("top_p",),
    ),
    "schema of Anthropic": (
        "anthropic",
        {},
        {"error": {"message": "output_config.format: this model does not support output format."}},
        "output_config",
        (),
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_call_is_made_without_what_is_refused_and_the_next_one_at_once(
    caller: Caller, name: str
) -> None:
    provider, generation, error, left_out, said = REFUSALS[name]
    good = message("Ann.") if provider == "anthropic" else chat("Ann.")
    caller.server.answer(whole("400 Bad Request", error), good)
    asked = ask(**generation)
    call = Call(messages=asked.messages, generation=asked.generation, json_schema=SCHEMA)
    model = open_provider(caller.settings(provider), caller.project)
    for _ in range(2):
        result = model.send(call, timeout_s=20, on_text=None)
        assert isinstance(result, Reply), result
        assert (result.text, result.not_taken) == ("Ann.", said)
    first, second, third = (one.body for one in caller.server.asked)
    assert left_out in first
    assert second == third == {key: first[key] for key in first if key != left_out}


@pytest.mark.parametrize(
    ("provider", "refused", "taken"),
    [
        ("openai", "max_completion_tokens", "max_tokens"),
        ("openai_compatible", "max_tokens", "max_completion_tokens"),
    ],
)
def test_the_longest_answer_goes_by_its_other_name_and_never_by_none(
    caller: Caller, provider: str, refused: str, taken: str
) -> None:
    no = unsupported(
        f"Unsupported parameter: '{refused}' is not supported with this model. Use '{taken}' "
        "instead.",
        refused,
        "unsupported_parameter",
    )
    caller.server.answer(whole("400 Bad Request", no), chat("Ann."))
    assert isinstance(caller.send(caller.settings(provider)), Reply)
    first, second = (one.body for one in caller.server.asked)
    assert first[refused] == second[taken] == 100
    assert taken not in first and refused not in second
    caller.server.answer(
        whole("400 Bad Request", no),
        whole("400 Bad Request", unsupported(f"'{taken}' is not supported", taken)),
    )
    result = caller.send(caller.settings(provider))
    assert isinstance(result, CallFailure) and result.kind == "invalid"
    assert caller.count() == 4


def test_a_model_that_does_not_stream_answers_at_once(caller: Caller) -> None:
    no = unsupported(
        "Your organization must be verified to stream this model.", "stream", "unsupported_value"
    )
    said = {"role": "assistant", "content": "Ann."}
    answer = {
        "choices": [{"index": 0, "message": said, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2},
    }
    caller.server.answer(whole("400 Bad Request", no), whole("200 OK", answer))
    result = caller.send(caller.settings())
    assert isinstance(result, Reply) and result.text == "Ann." and caller.shown == ["Ann."]
    assert not {"stream", "stream_options"} & set(caller.server.asked[1].body)


def test_several_are_refused_one_after_the_other(caller: Caller) -> None:
    refusals = [
        whole("400 Bad Request", unsupported(f"'{name}' is not supported", name))
        for name in ("temperature", "max_completion_tokens", "seed")
    ]
    caller.server.answer(*refusals, chat("Ann."))
    result = caller.send(caller.settings(), ask(temperature=0.2, seed=7))
    assert isinstance(result, Reply) and result.not_taken == ("seed", "temperature")
    assert caller.count() == 4


@pytest.mark.parametrize(
    "error",
    [
        unsupported("Invalid 'temperature': 3 is above the maximum of 2.", "temperature"),
        unsupported("the request is not supported; stop and think", None),
        unsupported("'messages' is not supported", "messages"),
        unsupported("'tools' is not supported", "tools"),
    ],
)
def test_what_is_no_refusal_of_a_parameter_is_a_wrong_request(caller: Caller, error: Any) -> None:
    caller.server.answer(whole("400 Bad Request", error))
    result = caller.send(caller.settings(), ask(temperature=0.2, stop=("END",)))
    assert isinstance(result, CallFailure) and result.kind == "invalid"
    assert caller.count() == 1


def test_a_server_that_refuses_for_ever_is_given_up(caller: Caller) -> None:
    caller.server.answer(whole("400 Bad Request", unsupported("unsupported 'temperature'", None)))
    result = caller.send(caller.settings(), ask(temperature=0.2))
    assert isinstance(result, CallFailure) and result.kind == "invalid"
    assert caller.count() == 2
