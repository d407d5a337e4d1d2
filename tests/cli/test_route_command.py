"""`models route explain` as a person sees it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from modelyard.setup.init import init_project

Models = Callable[..., int]


@pytest.fixture
def explained(
    tmp_path: Path,
    models_here: Models,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., str]:
    """What it prints in a new project; each line without the spaces around its cells."""
    init_project(tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-proj-0000")
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)

    def run(*words: str, code: int = 0) -> str:
        assert models_here("route", "explain", *words) == code
        printed = "".join(capsys.readouterr())
        return "\n".join(" ".join(line.split()) for line in printed.splitlines())

    return run


def test_it_shows_who_would_answer_at_which_worst_cost(explained: Callable[..., str]) -> None:
    assert "nothing is deployed to test" in explained("--env", "test", code=1)
    text = explained("--domain", "code_analysis", "--tokens", "1000")
    assert "code_analysis in development, primary_first:" in text
    assert "1 basic_nlp builtin fallback 0 $0.00" in text
    assert "local_llm: base 'smollm2-135m-instruct' cannot be had" in text


def test_it_says_when_nobody_would(explained: Callable[..., str]) -> None:
    text = explained("--domain", "summarization")
    assert "summarization in development: nobody would answer." in text
    assert "basic_nlp: it quotes what is found, and the answer must be JSON" in text


def test_a_draft_that_is_not_valid_is_not_called_deployed(explained: Callable[..., str]) -> None:
    draft = Path("configs/specialized_models/translation.yaml")
    draft.write_text(draft.read_text().replace("instructions:", "instruction:"))
    text = explained("--domain", "translation", code=2)
    assert "error: specialized_models/translation is not valid" in text
    assert "hint: `models validate-config` shows each line" in text


def test_a_model_without_prices_is_named_with_what_it_needs(explained: Callable[..., str]) -> None:
    draft = Path("configs/language_models/mine.yaml")
    draft.write_text(
        "description: A server of ours\nprovider: openai_compatible\nmodel: mine\n"
        "endpoint: http://localhost:18000/v1\ncontext_tokens: 8k\nmax_output_tokens: 1k\n"
    )
    domain = Path("configs/specialized_models/translation.yaml")
    domain.write_text(domain.read_text().replace("model: local_llm", "model: mine"))
    text = explained("--domain", "translation")
    assert "mine: its price is unknown, so no budget could hold (give the language model" in text
    draft.write_text(draft.read_text() + "stays_local: true\n")  # then nobody sends a bill
    assert "1 mine openai_compatible primary 3 $0.00" in explained("--domain", "translation")


def test_the_configs_of_the_page_make_a_domain(
    explained: Callable[..., str], models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    page = Path(__file__).parents[2] / "docs" / "answers.md"
    (script,) = re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    files, commands = script.split("models validate-config\n")
    subprocess.run(["bash", "-euc", files], check=True)
    assert models_here("validate-config") == 0
    assert "error" not in capsys.readouterr().out
    assert commands == "models route explain --domain staff_help\n"
    assert "1 house openai_compatible primary" in explained("--domain", "staff_help")


def test_what_does_not_exist_is_named(explained: Callable[..., str]) -> None:
    assert "did you mean 'translation'" in explained("--domain", "translatoin", code=2)
    assert "organisation name" in explained("--org", "a/b", code=2)
