"""`models mcp`: an agent's own client starts it, lists its tools and calls them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from index_projects import page
from modelyard.core.layout import Project

pytest.importorskip("mcp", reason="the extra `mcp` is not installed")

from mcp import Client, StdioServerParameters

from modelyard.retrieval.mcp_server import build_server
from tiny_encoders import write_encoder

Models = Callable[..., int]

CONFIG = """
description: For tests
encoder: {{source: path, model: {folder}, dimensions: 32, max_tokens: 32}}
domains:
  docs: {{description: Prose, sources: ["docs/**/*.md"]}}
"""


@pytest.fixture
def searchable(project: Project, models: Models, tmp_path: Path) -> Project:
    """A project with one index of a tiny encoder."""
    folder = write_encoder(tmp_path / "encoder")
    config = project.root / "configs" / "embedding_models" / "texts.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(CONFIG.format(folder=folder))
    for name in ("adapters", "bases"):
        file = project.root / "docs" / f"{name}.md"
        file.parent.mkdir(exist_ok=True)
        file.write_text(page(name))
    assert models("update-embeddings") == 0
    return project


def ask(server: Any, *calls: tuple[str, dict[str, Any]]) -> tuple[list[Any], list[Any]]:
    """The tools of a server, and its answers to these calls."""

    async def talk() -> tuple[list[Any], list[Any]]:
        async with Client(server) as client:
            tools = (await client.list_tools()).tools
            return tools, [await client.call_tool(name, given) for name, given in calls]

    return anyio.run(talk)


def test_an_agent_searches_over_stdio(searchable: Project) -> None:
    start = StdioServerParameters(
        command=sys.executable,
        args=["-m", "modelyard", "--project", str(searchable.root), "mcp"],
        env=dict(os.environ),
    )
    tools, (found, near, status) = ask(
        start,
        ("search", {"query": "roll back an adapter", "top": 2}),
        ("related", {"place": "docs/adapters.md:1"}),
        ("status", {}),
    )
    assert sorted(tool.name for tool in tools) == ["related", "search", "status"]
    assert all(tool.annotations.read_only_hint for tool in tools)
    results = json.loads(found.content[0].text)["results"]
    assert len(results) == 2 and {"path", "first_line", "text", "state"} <= set(results[0])
    assert {one["path"] for one in json.loads(near.content[0].text)["results"]} >= {"docs/bases.md"}
    (index,) = json.loads(status.content[0].text)["indexes"]
    assert (index["domain"], index["state"], index["files"]) == ("texts/docs", "current", 2)


def test_what_cannot_be_answered_is_an_error_of_the_tool(searchable: Project) -> None:
    _, answers = ask(
        build_server(searchable),
        ("search", {"query": " "}),
        ("related", {"place": "docs/none.md:1"}),
        ("search", {"query": "roll back", "top": 500}),
    )
    assert [answer.is_error for answer in answers] == [True, True, False]
    assert "the query is empty" in answers[0].content[0].text
    assert "no index has the file docs/none.md" in answers[1].content[0].text


def test_without_the_extra_it_says_how_to_install_it(
    project: Project,
    models: Models,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("modelyard.cli.mcp.find_spec", lambda name: None)
    assert models("mcp") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "the package mcp is not installed" in said and "install" in said
