"""No secret stands in a config, and none is shown; references to secrets are listed."""

from __future__ import annotations

import base64
import random
import string
from pathlib import Path

import pytest

from example_configs import REPOSITORY
from modelyard.configs.checking.check import check_configs
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.core.layout import Project
from modelyard.secrets.detection import find_secrets, mask_secrets

# Put together here, so that no scanner takes this file for a leak.
SECRETS = {
    "OpenAI": "sk-" + "proj-Ab3dEf6hIj9lMn2pQr5t",
    "Anthropic": "sk-" + "ant-api03-Zy8wVu5tSr2qPo9nMl6k",
    "GitHub": "ghp_" + "abcdefghij0123456789ABCDEFGHIJ012345",
    "GitHub, fine-grained": "github_pat_" + "11ABCDEFG0abcdefghijkl_" + "m" * 40,
    "AWS": "AKIA" + "ABCDEFGHIJKLMNOP",
    "Google": "AIza" + "SyA1234567890abcdefghijklmnopqrstuv",
    "Slack": "xoxb-" + "123456789012-abcdefABCDEF",
    "Hugging Face": "hf_" + "abcdefghijklmnopqrstuvwxyzABCDEFGH",
    "Stripe": "sk_live_" + "abcdefghijklmnopqrstuvwx",
    "signed token": "eyJ" + "hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTYifQ.dozjgNryP4J3jVmNHl0w5N",
    "random": "q7Zt3XvB9mKp2LwR8sNd",
    "hexadecimal": "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
}


@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize(
    "line", ["description: {}", "# once it was {}", "? {}", "  - '{}'", "{}: here", "a: [x, {}, y]"]
)
def test_a_secret_is_found_and_masked_wherever_it_stands(kind: str, line: str) -> None:
    text = line.format(SECRETS[kind])
    assert len(find_secrets(text)) >= 1
    masked = mask_secrets(text)
    assert "****" in masked
    assert not any(SECRETS[kind][start : start + 8] in masked for start in range(4, 12))


@pytest.mark.parametrize(
    "line",
    [
        "password: swordfish",
        "password: 'correct horse battery staple'",
        'client_secret: "s3cr3t!"',
        "{api_key: abcdefgh, x: 1}",
        "github_token = swordfish",
        "access-key: abcdefgh   # of the robot",
        "# password: hunter2",
        "endpoint: https://robot:Tr0ub4dor@llm.example.com/v1",
        "header: Bearer abcdefghij1234567890",
    ],
)
def test_what_a_key_of_secrets_is_given_is_a_secret(line: str) -> None:
    assert len(find_secrets(line)) == 1
    assert "****" in mask_secrets(line)


@pytest.mark.parametrize(
    "line",
    [
        "api_key: env:OPENAI_API_KEY",
        "api_key: file:/run/secrets/openai",
        "api_key: ${OPENAI_API_KEY}",
        "api_key:",
        "password: null",
        "max_token: 4k",
        "tokens_per_minute: 300k",
        "model: Qwen/Qwen2.5-3B-Instruct-GPTQ-Int4",
        "model: own/name@3f786850e387550fdab836ed7e6dc881de23001b",
        "fingerprint: sha256:425face4543e4a73ea2d71800da0f93a610594449dcd568a5161f176a59e988e",
        "sources: ['src/**/*.py', 'models/versions/*/*/TRAINING_INFO.md']",
        "endpoint: https://api.example.com/v1/deployments/text-embedding-3-small",
        "description: The token: which one ends an answer",
        "instructions: Never show a password or a secret; say `password: ****` instead.",
        "model: task-oriented-dialogue-model-v2",
        "kind: ApplicationSignatureVersion2Handler",
        "token: {type: string}",
        "number: 12345678901234567890123456789012",
    ],
)
def test_what_is_no_secret_stays(line: str) -> None:
    assert find_secrets(line) == []
    assert mask_secrets(line) == line


def test_no_text_of_this_repository_is_taken_for_a_secret() -> None:
    texts = [*REPOSITORY.glob("configs/**/*.yaml"), *REPOSITORY.glob("docs/*.md")]
    texts += [*REPOSITORY.glob("models/base/*/*.md"), *REPOSITORY.glob("datasets/**/*.yaml")]
    assert len(texts) > 30
    for path in texts:
        text = path.read_text()
        assert [text[secret.start : secret.end][:4] for secret in find_secrets(text)] == [], path


def test_nearly_all_random_keys_are_found() -> None:
    draw = random.Random(0)
    letters = string.ascii_letters + string.digits
    for make, least in (
        (lambda: "".join(draw.choices(letters, k=32)), 0.95),
        (lambda: base64.b64encode(draw.randbytes(48)).decode(), 0.9),
        (lambda: draw.randbytes(16).hex(), 0.99),
    ):
        found = sum(bool(find_secrets(f"note: {make()}")) for _ in range(1000))
        assert found >= 1000 * least


def test_a_secret_cut_short_by_a_message_is_masked_too() -> None:
    assert mask_secrets("not 'eyJhbGciOiJIUz...'") == "not '****'"
    assert "MIIE" not in mask_secrets("not '-----BEGIN RSA PRIVATE KEY-----\\nMIIEpAIBAAK...'")


def test_masking_is_fast_on_hostile_text() -> None:
    for text in (
        "token:" * 50_000,
        "sk-" * 100_000,
        "eyJ" * 100_000,
        "://a:" * 60_000,
        "a" * 10**6,
    ):
        mask_secrets(text)  # the limit of the whole test is what fails it


def test_references_are_listed_with_whether_they_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "configs" / "language_models"
    models.mkdir(parents=True)
    (tmp_path / "models").mkdir()
    (tmp_path / "there").write_text("SECRET")
    base = (REPOSITORY / "configs" / "language_models" / "gpt4_config.yaml").read_text()
    base = base.replace("fallback: claude", "").replace("aliases:", "# aliases:")
    for name, reference in {
        "a": "env:SET_HERE",
        "b": "env:EMPTY",
        "c": "env:NOT_SET",
        "d": "file:there",
        "e": "file:/not/there",
    }.items():
        (models / f"{name}.yaml").write_text(base.replace("env:OPENAI_API_KEY", reference))
    monkeypatch.setenv("SET_HERE", "SECRET")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("NOT_SET", raising=False)
    catalogue = ConfigCatalogue(Project(tmp_path))
    report = check_configs(catalogue, catalogue.paths())
    assert {use.reference: use.available for use in report.secrets} == {
        "env:SET_HERE": True,
        "env:EMPTY": False,
        "env:NOT_SET": False,
        "file:there": True,
        "file:/not/there": False,
    }
    assert all(use.where.endswith(".yaml:12:1") for use in report.secrets)
    assert "SECRET" not in repr(report).replace("SECRETS", "")
