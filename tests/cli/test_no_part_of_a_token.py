"""No command shows a part of a token, wherever it stands in a config or on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from io import BytesIO

import pytest
from test_validate_config_command import Models

from modelyard.core.layout import Project
from modelyard.retrieval.reading.logs import read_log
from modelyard.secrets.values import masked_repr, shorten_masked
from provider_tokens import TOKENS, made

_SHOWN_AT_MOST = 11
MODEL = """\
description: A model for tests
provider: local
model: smollm2-135m-instruct
context_tokens: 2k
max_output_tokens: 512
"""
PLACES: dict[str, Callable[[str], str]] = {
    "a value of the wrong type": lambda token: f"max_output_tokens: {token}\n",
    "one among others": lambda token: f"timeout: [first, {{second: {token}}}]\n",
    "a long value": lambda token: f"provider: [{'x' * 30}, {token}]\n",
    "a text": lambda token: f"description: {token}\n",
    "a list item": lambda token: f"tags: [{token}, [{token}]]\nfallback: [{token}]\n",
    "a key": lambda token: f"{token}: 1\ngeneration: {{{token}: 2}}\n",
    "a name": lambda token: f"name: {token}\n",
    "a name of another config": lambda token: f"model: {token}\nfallback: {token}\n",
    "an environment": lambda token: f"environments: {{{token}: {{timeout: 1 s}}}}\n",
    "an overlay": lambda token: f"environments: {{test: {{timeout: {token}}}}}\n",
    "a reference": lambda token: f"api_key: {token}\nendpoint: {token}\n",
}


def shown_parts(provider: str, token: str, text: str) -> Iterator[str]:
    """What a text shows of the random parts of a token."""
    place = 0
    for part in TOKENS[provider]:
        length = len(part) if isinstance(part, str) else part[1]
        if not isinstance(part, str):
            for start in range(place, place + length - _SHOWN_AT_MOST):
                if (shown := token[start : start + _SHOWN_AT_MOST + 1]) in text:
                    yield f"{provider}: {shown}"
        place += length


def config_with(added: str) -> str:
    keys = {line.partition(":")[0] for line in added.splitlines()}
    kept = [line for line in MODEL.splitlines() if line.partition(":")[0] not in keys]
    return "\n".join([*kept, added])


@pytest.mark.parametrize("where", PLACES)
def test_no_part_of_a_token_in_a_config_is_shown(
    project: Project, models: Models, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    tokens = {provider: made(provider, seed=7) for provider in TOKENS}
    folder = project.configs / "language_models"
    folder.mkdir()
    for number, token in enumerate(tokens.values()):
        text = config_with(PLACES[where](json.dumps(token)))
        (folder / f"model_{number}_config.yaml").write_text(text)
    other = "json" if list(PLACES).index(where) % 2 else "sarif"
    for form in ("text", other):
        models("validate-config", "--format", form)
        printed = capsys.readouterr()
        assert "model_0_config" in printed.out
        shown = [
            part
            for provider, token in tokens.items()
            for part in shown_parts(provider, token, printed.out + printed.err)
        ]
        assert shown == []


@pytest.mark.parametrize("provider", ["Airtable", "Databricks", "Postman", "SendGrid"])
def test_no_part_of_a_token_on_the_command_line_is_shown(
    project: Project, models: Models, capsys: pytest.CaptureFixture[str], provider: str
) -> None:
    token = made(provider)
    for words in (
        ["generate", "hi", "--model", token],
        ["generate", "hi", "--seed", token],
        ["generate", f"--{token}"],
        ["search", "hi", "--domain", token],
        ["deployments", "--env", token],
        ["validate-config", token],
        ["adapters", token],
        [token],
    ):
        assert models(*words) == 2, words
        printed = capsys.readouterr()
        assert "****" in printed.err
        assert list(shown_parts(provider, token, printed.out + printed.err)) == []


def test_digests_and_names_in_a_message_are_shown(
    project: Project, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = "3f786850e387550fdab836ed7e6dc881de23001b"
    models("generate", "hi", "--model", f"qwen@{digest}")
    assert digest in capsys.readouterr().err


@pytest.mark.parametrize("provider", TOKENS)
def test_a_token_is_masked_before_it_is_cut(provider: str) -> None:
    token = made(provider)
    for before in range(0, 60, 7):
        text = f"{'x' * before} {token}"
        shown = shorten_masked(text, 60) + masked_repr("key", [text, {token: token}], 60)
        assert list(shown_parts(provider, token, shown)) == []


def test_a_token_at_the_end_of_what_is_read_of_a_line_is_not_kept() -> None:
    for provider in ("Postman", "SendGrid"):
        token = made(provider)
        for before in range(3_930, 4_005, 5):
            line = f"started {'x ' * (before // 2)}{token} and more\n"
            found = read_log(
                BytesIO(line.encode()),
                limit=10_000,
                redact=True,
                count_tokens=lambda texts: [len(text) for text in texts],
                file_written=datetime(2026, 1, 1, tzinfo=UTC),
            )
            text = " ".join(chunk.text for chunk in found)
            assert text.startswith("started")
            assert list(shown_parts(provider, token, text)) == []
