"""The search indexes as tools of the Model Context Protocol, for coding agents; read-only.

An agent starts this process and talks to it over stdin and stdout. What it asks stays in memory
between calls: the encoder, the vectors and the terms that were used.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import Any

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

from modelyard import __version__
from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project
from modelyard.results.json_form import to_json
from modelyard.retrieval.indexes import load_indexes
from modelyard.retrieval.nearby import NearChunk, find_nearby
from modelyard.retrieval.results import Result
from modelyard.retrieval.search import Searcher
from modelyard.retrieval.status import read_status

_INSTRUCTIONS = (
    "Searches the documentation, code and logs that this project has indexed, by meaning and by "
    "names. Ask `search` in words or with a symbol, path or error message; ask `related` for what "
    "means the same as a place that you know."
)
_MOST_RESULTS = 50
_READ_ONLY = ToolAnnotations(read_only_hint=True, destructive_hint=False, open_world_hint=False)


def build_server(project: Project, environment: str = DEFAULT_ENVIRONMENT) -> MCPServer:
    """The server of one project; its configs are read with the first search."""
    tools = _Tools(project, environment)
    server = MCPServer(
        "modelyard", instructions=_INSTRUCTIONS, version=__version__, log_level="WARNING"
    )
    for tool in (tools.search, tools.related, tools.status):
        server.tool(annotations=_READ_ONLY)(tool)
    return server


def serve_on_stdio(project: Project, environment: str = DEFAULT_ENVIRONMENT) -> None:
    """Answer on stdin and stdout until stdin ends."""
    server = build_server(project, environment)
    with suppress(BrokenPipeError):  # the agent has gone
        anyio.run(server.run_stdio_async)


class _Tools:
    """What an agent can call; one call at a time, since a search uses every core."""

    def __init__(self, project: Project, environment: str) -> None:
        self._project, self._environment = project, environment
        self._searcher: Searcher | None = None
        self._turn = Lock()

    def search(self, query: str, top: int = 10, indexes: list[str] | None = None) -> dict[str, Any]:
        """Find chunks of files by meaning and by words.

        query: a question, a symbol, a path, an error message or a pasted log; "quoted text" must be
        in each result.  top: how many results, at most 50.  indexes: only these, as `status` names
        them.  `answered` is false where probably nothing here answers the query.
        """
        return self._answer(lambda: self._search(query, top, indexes or []))

    def related(self, place: str, top: int = 10) -> dict[str, Any]:
        """Find what means nearly the same as the chunk at a place, FILE:LINE, in all indexes."""
        return self._answer(lambda: self._related(place, top))

    def status(self) -> dict[str, Any]:
        """What each index holds, and whether files changed since it was updated."""
        return self._answer(self._status)

    def _search(self, query: str, top: int, indexes: list[str]) -> dict[str, Any]:
        if self._searcher is None:
            self._searcher = Searcher(self._project, environment=self._environment)
        found = self._searcher.search(query, indexes=indexes, top=_bounded(top), related=False)
        return {
            "answered": found.answered,
            "results": [_shown(result) for result in found.results],
            "notes": list(found.notes),
        }

    def _related(self, place: str, top: int) -> dict[str, Any]:
        found = find_nearby(self._project, place, top=_bounded(top), environment=self._environment)
        return {
            "results": [_shown(near) for near in found.results],
            "notes": list(found.notes),
        }

    def _status(self) -> dict[str, Any]:
        indexes = load_indexes(self._project, self._environment).values()
        return {"indexes": [to_json(read_status(self._project, index)) for index in indexes]}

    def _answer(self, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        with self._turn:
            try:
                return work()
            except ModelyardError as error:
                raise ToolError(str(error)) from error


def _bounded(top: int) -> int:
    return max(1, min(top, _MOST_RESULTS))


def _shown(found: Result | NearChunk) -> dict[str, Any]:
    """One result, with what an agent needs to quote and open it."""
    chunk = found.chunk
    score = found.scores.final if isinstance(found, Result) else found.cosine
    return {
        "index": found.index,
        "path": chunk.path,
        "first_line": chunk.first_line,
        "last_line": chunk.last_line,
        "title": chunk.title,
        "text": chunk.text,
        "score": round(score, 3),
        "state": found.state,
    }
