"""Small indexes of prose and of code, and what is read of their results."""

from __future__ import annotations

import re
from collections.abc import Callable

from modelyard.retrieval.results import SearchResults
from modelyard.retrieval.snippets import Snippet

CONFIG = """
description: For tests
encoder: {source: wheel, model: all-minilm-l6-v2, dimensions: 64, max_tokens: 256}
domains:
  documentation:
    description: Prose
    sources: ["docs/**/*.md"]
    chunker: markdown
  source_code:
    description: Code
    sources: ["src/**/*.py"]
    chunker: code
    rank_below: ["tests/**"]
  logs:
    description: Logs
    sources: ["logs/*.log"]
    chunker: logs
    recency_half_life: 10 days
"""


DOCS = {
    "docs/adapters.md": [
        ("Adapters > Roll back", "To roll back an adapter, run `models adapters rollback NAME`."),
        ("Adapters > Promote", "Promotion moves the link when the gate is met."),
    ],
    "docs/runbook.md": [
        ("Disk full", "When no space is left, free some and run src/files.py again.\nSee below."),
    ],
}


CODE = {
    "src/files.py": [
        ("def write_atomic(path, content)", "def write_atomic(path, content):\n    staged = ..."),
        ("def exclusive_lock(path)", "def exclusive_lock(path):\n    fcntl.flock(path)"),
    ],
    "tests/test_files.py": [
        ("def test_exclusive_lock()", "def test_exclusive_lock():\n    exclusive_lock('x')"),
    ],
}


Texts = dict[str, list[tuple[str, str]]]


Index = Callable[..., None]


def symbol_of(title: str) -> dict[str, str]:
    """The facts that the code chunker records of a definition; `: holds` names its members."""
    defined = re.match(r"(?:def|class|namespace) (\w+)(?:: holds (.*))?", title)
    if not defined:
        return {}
    return {"symbol": defined[1], **({"members": defined[2]} if defined[2] else {})}


def marked_text(snippet: Snippet) -> str:
    return "".join(f"‹{piece}›" if matched else piece for piece, matched in snippet.pieces())


def places(found: SearchResults) -> list[str]:
    return [f"{result.chunk.path}:{result.chunk.first_line}" for result in found.results]
