"""What the settings of a language model say of themselves."""

from __future__ import annotations

import pytest

from modelyard.configs.kinds.language_models import LanguageModel
from modelyard.settings.build import build_settings


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


@pytest.mark.parametrize(
    ("provider", "endpoint"),
    [
        ("ollama", "http://localhost:11434/v1"),
        ("vLLM", "http://localhost:8000/v1"),
        ("azure", "https://RESOURCE.openai.azure.com/openai/v1"),
        ("bedrock", "https://bedrock-runtime.REGION.amazonaws.com/openai/v1"),
    ],
)
def test_another_provider_is_told_how_it_is_written(provider: str, endpoint: str) -> None:
    _, problems = build_settings(LanguageModel, {"provider": provider}, lambda _: None)
    [wrong] = [problem for problem in problems if problem.path == ("provider",)]
    assert wrong.hint == f"write `provider: openai_compatible` with `endpoint: {endpoint}`"
