"""What is said of options and commands that are wrong: plain words, and no word of a library's."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_validate_config_command import Models

from modelyard.cli.arguments import read_share
from modelyard.core.layout import Project


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("fine-tune --wait nan", "'--wait': 'nan' is not a number"),
        ("fine-tune --wait -1", "'--wait': must be at least 0, not -1.0"),
        ("fine-tune --replay x", "'--replay': 'x' is no share, such as 25% or 0.25"),
        ("prepare-data a --out b --eval-share 10%%", "'--eval-share': '10%%' is no share"),
        ("generate hi --temperature 9", "'--temperature': must be at most 5, not 9.0"),
        ("generate hi --temperature warm", "'--temperature': 'warm' is not a number"),
        ("generate hi --max-tokens 1.5", "'--max-new-tokens': '1.5' is not a whole number"),
        ("generate hi --seed 18446744073709551616", "must be at most 9.223372037e+18, not 1844674"),
        ("search x --top " + "9" * 5_000, "is not a whole number"),
        ("adapters gc --keep 0", "'--keep': must be at least 1, not 0"),
    ],
)
def test_a_wrong_number_is_said_in_plain_words(
    project: Project,
    models: Models,
    capsys: pytest.CaptureFixture[str],
    words: str,
    said: str,
) -> None:
    assert models(*words.split()) == 2
    printed = " ".join(capsys.readouterr().err.split())
    assert said in printed
    assert "Input should" not in printed


def test_a_share_is_written_as_in_the_configs() -> None:
    assert [read_share(text) for text in ("25%", "0.25", "2.5 %", "1")] == [0.25, 0.25, 0.025, 1]


def test_a_share_in_percent_decides_the_split(
    project: Project, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f'{{"prompt": "Question {n}?", "completion": "Answer {n}."}}\n' for n in range(40)]
    Path("rows.jsonl").write_text("".join(rows))
    results = []
    for share in ("50%", "0.5"):
        words = ("prepare-data", "rows.jsonl", "--out", "x", "--eval-share", share)
        assert models(*words, "--dry-run", "--json") == 0
        results.append(capsys.readouterr().out)
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("words", "near"),
    [
        ("adapters remove x", None),
        ("adapters delete x", None),
        ("adapters lst", "'list'"),
        ("validate-confg", "'validate-config'"),
        ("remove", None),
        ("schemas", None),
    ],
)
def test_only_a_command_that_is_very_like_it_is_suggested(
    project: Project,
    models: Models,
    capsys: pytest.CaptureFixture[str],
    words: str,
    near: str | None,
) -> None:
    assert models(*words.split()) == 2
    said = capsys.readouterr().err
    assert "No such command" in said
    assert (f"did you mean {near}?" in said) if near else ("; there are " in said)


def test_feedback_on_an_adapter_that_is_not_here_is_recorded_only_on_purpose(
    project: Project, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("feedback", "add", "--prompt", "a", "--answer", "b", "--adapter")
    assert models(*words, "anything@3") == 0, "without adapters there is nothing to compare with"
    project.adapter_version("support", 1).mkdir(parents=True)
    capsys.readouterr()
    for adapter, said in (
        ("suport@3", "there is no adapter 'suport' (did you mean 'support'?)"),
        ("support@3", "there is no support@3"),
        ("support@1", None),
        ("support", None),
    ):
        assert models(*words, adapter) == (2 if said else 0)
        printed = " ".join(capsys.readouterr().err.split())
        assert (f"{said}; nothing was recorded" in printed) if said else not printed
        assert not said or "--elsewhere" in printed
    assert models(*words, "suport@3", "--elsewhere") == 0
    assert models("feedback", "list", "--json") == 0
    assert "suport@3" in capsys.readouterr().out


def deploy_one(project: Project, models: Models) -> None:
    """Make a language model live in test, and no index."""
    place = project.configs / "language_models"
    place.mkdir()
    (place / "small.yaml").write_text(
        "description: Small\nprovider: builtin\nmodel: basic_nlp\n"
        "context_tokens: 4k\nmax_output_tokens: 500\n"
    )
    assert models("deploy-config", "small", "--env", "test") == 0


def test_where_indexes_are_not_deployed_their_config_is_to_be_deployed(
    project: Project, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy_one(project, models)
    capsys.readouterr()
    for words in ("search x", "update-embeddings", "update-embeddings --dry-run", "index status"):
        assert models(*words.split(), "--env", "test") in (2, 5)
        said = " ".join(capsys.readouterr().err.split())
        assert "no search index is declared in test" in said
        assert "`models deploy-config embedding_models/NAME --env test`" in said
        assert "update-embeddings" not in said


def test_the_first_revision_has_none_to_go_back_to(
    project: Project, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy_one(project, models)
    capsys.readouterr()
    assert models("deploy-config", "--rollback", "--env", "test") == 1
    said = capsys.readouterr().err
    assert "a rollback needs an earlier revision" in said and "--to REV" not in said
