"""`--model REF` of `models generate` and `models evaluate`: which weights answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from modelyard.adapters.versions import AdapterVersion
from modelyard.cli.app import main
from modelyard.core.layout import Project
from modelyard.monitoring.samples import read_samples

LOCAL = """\
description: On this machine
provider: local
model: tiny
context_tokens: 512
max_output_tokens: 100
"""


class Ended(NamedTuple):
    code: int
    out: str
    err: str


Models = Callable[..., Ended]


@pytest.fixture
def models(
    project: Project,
    adopt: Callable[..., AdapterVersion],
    saved_adapter: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Models:
    """Run `models` in a project with the adapter demo@1 and language models with and without it."""
    adopt(saved_adapter)
    configs = project.configs / "language_models"
    configs.mkdir()
    (configs / "bare.yaml").write_text(LOCAL)
    (configs / "tuned.yaml").write_text(LOCAL + "aliases: [assistant]\nadapter: demo@1\n")

    def run(*words: str) -> Ended:
        capsys.readouterr()
        monkeypatch.setattr("sys.argv", ["models", *words])
        with pytest.raises(SystemExit) as stopped:
            main()
        shown = capsys.readouterr()
        return Ended(int(stopped.value.code or 0), shown.out, shown.err)

    return run


def answers(models: Models, *words: str) -> dict[str, str]:
    """What each model that was asked says."""
    ended = models("generate", "Who leads the team?", "--max-new-tokens", "8", "--json", *words)
    assert ended.code == 0, ended.err
    return {each["model"]: each["answer"] for each in json.loads(ended.out)["answers"]}


def test_every_name_of_the_same_weights_gives_the_same_answer(models: Models) -> None:
    tuned = answers(models, "--adapter", "demo@1")
    bare = answers(models, "--base-model", "tiny")
    assert (list(tuned), list(bare)) == (["demo@1"], ["tiny"])
    assert tuned["demo@1"] != bare["tiny"]
    for reference in ("demo@1", "adapter:demo@1", "tuned", "assistant", "model:tuned"):
        assert answers(models, "--model", reference) == tuned, reference
    for reference in ("tiny", "base:tiny", "bare"):
        assert answers(models, "--model", reference) == bare, reference
    assert answers(models, "--model", "tuned", "--compare-base") == bare | tuned


def test_a_sample_says_whose_settings_named_the_model(models: Models, project: Project) -> None:
    assert models("deploy-config", "--all", "--env", "test", "--yes").code == 0
    answers(models, "--model", "tuned", "--env", "test")
    answers(models, "--model", "tuned")
    answers(models, "--adapter", "demo@1")
    found = [
        (sample.model, sample.environment, sample.config_revision)
        for sample in read_samples(project)
    ]
    assert found == [
        ("demo@1", "test", 1),
        ("demo@1", "development", None),
        ("demo@1", None, None),
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--model", "demo"), "no version of demo is active yet"),
        (("--model", "demo@1", "--adapter", "demo"), "--model names the whole model"),
        (("--model", "bare", "--compare-base"), "--compare-base compares with an adapter"),
        (("--model", "custom/lab"), "there is no custom model called 'lab'"),
        (("--model", "tinny"), "no model is called 'tinny' (did you mean 'tiny'?)"),
        (("--adapter", "base:tiny"), "'base:tiny' names a base model, where an adapter belongs"),
        (("--adapter", "demo@1", "--base-model", "other"), "no base model is called 'other'"),
        (("--model", "model:tuned", "--env", "test"), "nothing is deployed to test"),
        ((), "name a model to answer"),
    ],
)
def test_what_cannot_answer_is_refused_before_anything_is_loaded(
    models: Models, words: tuple[str, ...], said: str
) -> None:
    ended = models("generate", "Who?", *words)
    assert (ended.code in (1, 2), ended.out) == (True, "")
    assert said in " ".join(ended.err.split())


def test_the_adapter_of_a_language_model_is_evaluated(
    models: Models, project: Project, write_jsonl: Callable[[Path, list[Any]], Path]
) -> None:
    turns = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "A person."}]
    for name in ("train", "eval"):
        write_jsonl(project.root / f"datasets/small/{name}.jsonl", [{"messages": turns}] * 2)
    found = models("evaluate", "--model", "assistant", "--dataset", "small", "--json")
    assert found.code == 0, found.err
    assert json.loads(found.out)["adapter"] == "demo@1"
    for words, said in (
        (("--model", "bare"), "model:bare has no adapter to compare with its base"),
        (("--model", "bare", "--adapter", "demo@1"), "name the adapter to evaluate, once"),
        ((), "name the adapter to evaluate, once"),
    ):
        ended = models("evaluate", *words, "--dataset", "small")
        assert (ended.code, said in ended.err) == (2, True), ended.err
