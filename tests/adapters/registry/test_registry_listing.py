"""`models adapters registry`: what a registry holds, and its tags moved by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from registry_samples import add_version, push

from modelyard.adapters.registry.registry import Registry
from modelyard.cli.app import main
from modelyard.core.layout import Project


@pytest.fixture
def run(
    here: Project,
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, str, str]]:
    """Run `models adapters registry ... REMOTE` in a project that has pushed two versions."""
    push(here, add_version(here, "run-1"), registry, active=True)
    push(here, add_version(here, "run-2"), registry)
    monkeypatch.chdir(here.root)

    def words(*given: str) -> tuple[int, str, str]:
        first, *more = given
        options = [each for each in more if each.startswith("--")]
        others = [each for each in more if not each.startswith("--")]
        line = ["models", "adapters", "registry", first, *others, registry.store.url, *options]
        monkeypatch.setattr("sys.argv", line)
        with pytest.raises(SystemExit) as stopped:
            main()
        return (int(stopped.value.code or 0), *capsys.readouterr())

    return words


def test_a_registry_is_listed_with_its_tags(run: Callable[..., Any], store: Path) -> None:
    code, out, _ = run("list", "--json")
    assert code == 0
    tags = [{"name": "in-use", "version": 1}, {"name": "latest", "version": 2}]
    versions = {"versions": [1, 2], "deleted": []}
    assert json.loads(out) == [{"name": "demo", **versions, "tags": tags, "damaged": []}]
    (store / "adapters/demo/tags/in-use/000000001.json").write_bytes(b"")
    (store / "adapters/demo/versions/1.json").write_bytes(b"{")
    shown = run("list")[1]
    assert "1 (damaged), 2" in shown and "in-use (damaged), latest @2" in shown


def test_a_path_is_shown_without_dots_in_its_middle(
    here: Project,
    run: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (here.root.parent / "other").mkdir()
    imported = ("adapters", "import", "../other", "--name", "x", "--base-model", "tiny")
    for words in (imported, ("backup", "--repo", "../other")):
        monkeypatch.setattr("sys.argv", ["models", *words])
        with pytest.raises(SystemExit):
            main()
        told = capsys.readouterr().err
        assert f"{here.root.parent}/other" in told and "/../" not in told
    assert "digest" in run("show", "demo@2")[1]
    code, out, _ = run("show", "demo@2", "--json")
    assert (code, json.loads(out)["tags"]) == (0, [{"name": "latest", "version": 2}])
    assert run("show", "demo@7")[0] == 2


def test_tags_are_moved_mended_and_removed(
    run: Callable[..., Any], registry: Registry, store: Path
) -> None:
    assert run("tag", "demo@2", "approved", "--dry-run")[0] == 0
    assert registry.tag("demo", "approved") is None
    assert run("tag", "demo@2", "approved")[0] == 0
    assert "already; nothing to do" in run("tag", "demo@2", "approved")[1]
    assert registry.tag("demo", "approved") == 2
    (store / "adapters/demo/tags/in-use/000000001.json").write_bytes(b"{")
    assert run("tag", "demo@2", "in-use")[0] == 0
    assert registry.tag("demo", "in-use") == 2
    assert run("untag", "demo", "approved")[0] == 0
    assert registry.tag("demo", "approved") is None
    assert "approved" not in run("list")[1]
    assert run("tag", "demo@1", "approved")[0] == 0
    assert registry.tag("demo", "approved") == 1


@pytest.mark.parametrize(
    "words",
    [
        ("tag", "demo", "approved"),
        ("tag", "demo@9", "approved"),
        ("tag", "demo@1", "../x"),
        ("untag", "demo", "nothing"),
        ("untag", "demo@1", "latest"),
    ],
)
def test_what_names_no_version_or_tag_is_wrong_usage(
    run: Callable[..., Any], words: tuple[str, ...]
) -> None:
    assert run(*words)[0] == 2
