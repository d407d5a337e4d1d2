"""What the settings of a language model say of themselves."""

from __future__ import annotations

import pytest

from modelyard.configs.kinds.language_models import LanguageModel


@pytest.mark.parametrize(
    ("provider", "endpoint", "stays_local", "needs_network"),
    [
        ("local", None, False, False),
        ("builtin", None, False, False),
        ("openai", None, False, True),
        ("openai_compatible", "http://127.0.0.1:8000/v1", False, True),
        ("openai_compatible", "http://127.0.0.1:8000/v1", True, False),
        ("openai_compatible", "http://LOCALHOST/v1", True, False),
        ("openai_compatible", "http://[::1]", True, False),
        ("openai_compatible", "http://127.0.0.1.example.com/v1", True, True),
        ("openai_compatible", "http://localhost.example.com/v1", True, True),
        ("openai_compatible", "http://10.0.0.1:8000/v1", True, True),
        ("openai_compatible", "http://0.0.0.0:8000/v1", True, True),
        ("openai_compatible", None, True, True),
    ],
)
def test_an_endpoint_is_local_only_when_it_is_loopback_and_declared_so(
    provider: str, endpoint: str | None, stays_local: bool, needs_network: bool
) -> None:
    model = LanguageModel(
        description="It",
        provider=provider,  # type: ignore[arg-type]
        model="m",
        endpoint=endpoint,
        stays_local=stays_local,
        context_tokens=100,
        max_output_tokens=10,
    )
    assert model.needs_network is needs_network
