"""`models route explain` as a person sees it."""

from __future__ import annotations

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


def test_what_does_not_exist_is_named(explained: Callable[..., str]) -> None:
    assert "did you mean 'translation'" in explained("--domain", "translatoin", code=2)
    assert "organisation name" in explained("--org", "a/b", code=2)
