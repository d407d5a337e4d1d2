"""Whether an API knows its model, without a bill."""

from __future__ import annotations

from typing import Any

import pytest

from modelyard.providers.call import CallFailure
from modelyard.providers.listing import find_model
from modelyard.providers.open import open_provider
from provider_calls import KEY, Caller
from provider_server import Step, whole


def listed(*names: str) -> list[Step]:
    return whole("200 OK", {"object": "list", "data": [{"id": name} for name in names]})


NO = {"error": {"message": "no", "code": "model_not_found"}}


@pytest.mark.parametrize(
    ("provider", "path", "answer", "expected"),
    [
        ("openai", "/v1/models/org%2Fsome", whole("200 OK", {"id": "org/some"}), True),
        ("openai", "/v1/models/org%2Fsome", whole("404 Not Found", NO), False),
        ("anthropic", "/v1/models/org%2Fsome", whole("200 OK", {"id": "x"}), True),
        ("anthropic", "/v1/models/org%2Fsome", whole("404 Not Found", NO), False),
        ("openai_compatible", "/v1/models", listed("other", "org/some"), True),
        ("openai_compatible", "/v1/models", listed("other"), False),
        ("openai_compatible", "/v1/models", whole("404 Not Found", ""), None),
        ("openai_compatible", "/v1/models", whole("405 Method Not Allowed", ""), None),
        ("openai_compatible", "/v1/models", whole("200 OK", {"models": []}), None),
        ("openai", "/v1/models/org%2Fsome", whole("401 Unauthorized", NO), "no_access"),
        ("openai_compatible", "/v1/models", whole("503 Busy", ""), "busy"),
        ("openai_compatible", "/v1/models", whole("200 OK", "Ann.", "Content-Type: a/b"), "broken"),
        ("openai_compatible", "/v1/models", whole("200 OK", b"{oops"), "broken"),
        ("openai_compatible", "/v1/models", [10.0], "timeout"),
    ],
)
def test_a_model_is_looked_for(
    caller: Caller, provider: str, path: str, answer: list[Step], expected: Any
) -> None:
    caller.server.routes[path] = answer
    model = open_provider(caller.settings(provider, model="org/some"), caller.project)
    found = find_model(model, timeout_s=0.5 if answer == [10.0] else 20)
    if isinstance(expected, str):
        assert isinstance(found, CallFailure) and found.kind == expected, found
        assert KEY not in repr(found)
    else:
        assert found is expected
    assert caller.server.asked[-1].headers["authorization"] == f"Bearer {KEY}"
