"""A project of many organisations whose answers tell whose they are, and what to ask of it."""

from __future__ import annotations

import json
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from marked_project import Marked, write_marked
from modelyard.core.layout import Project

CHAT = "/v1/chat/completions"
ROOM = 4096
"""Tokens of the context."""
_PROFILE = """
description: Says it once
generation: {temperature: 0, max_output_tokens: 6}
cache: {enabled: true}
"""
_LONGER = """
description: Says more
generation: {temperature: 0, max_output_tokens: 12}
"""
_MODEL = """
description: Answers with markers
provider: local
model: marked
context_tokens: 4k
max_output_tokens: 16
timeout: 10 minutes
"""
_BASIC = """
description: What is left when nothing else answers
provider: builtin
model: basic
context_tokens: 4k
max_output_tokens: 1k
"""
_DOMAIN = """
description: Questions
model: {model}
instructions: "7,"
profile: cached
"""


def write_marked_service(root: Path, *, organisations: int, promoted: int) -> Marked:
    """The project in a new folder: each organisation has an adapter and a domain of it.

    The domain of `org7` is `help7`, and keeps answers; `plain`, of the base, is everyone's.
    """
    project = Project(root)
    marked = write_marked(
        project, root.parent, organisations=organisations, promoted=promoted, room=ROOM
    )
    _write(project, "performance_profiles/cached.yaml", _PROFILE)
    _write(project, "performance_profiles/longer.yaml", _LONGER)
    _write(project, "language_models/base_alone.yaml", _MODEL)
    _write(project, "language_models/basic.yaml", _BASIC)
    _write(project, "specialized_models/plain.yaml", _DOMAIN.format(model="base_alone"))
    for number in range(organisations):
        _write(project, f"language_models/of{number}.yaml", f"{_MODEL}adapter: org{number}\n")
        _write(
            project, f"specialized_models/help{number}.yaml", _DOMAIN.format(model=f"of{number}")
        )
    served = "".join(
        f"      org{number}: {{domains: [help{number}]}}\n" for number in range(organisations)
    )
    _write(
        project,
        "integration.yaml",
        "model_integration:\n  primary_models: {language: base_alone}\n"
        "  fallback_strategy: {order: [base_alone, basic]}\n"
        f"  service:\n    everyone: {{domains: [plain]}}\n    organisations:\n{served}",
    )
    return marked


def ask(connection: HTTPConnection, key: str, **body: Any) -> tuple[int, dict[str, Any]]:
    """The status and what was said: the whole answer, also where it is streamed."""
    headers = {"Authorization": f"Bearer {key}"}
    connection.request("POST", CHAT, json.dumps(body), headers)
    with connection.getresponse() as response:
        return response.status, whole(response.read().decode())


def text_of(answer: dict[str, Any]) -> str:
    """The text of a whole answer."""
    text: str = answer["choices"][0]["message"]["content"]
    return text


def user(text: str) -> list[dict[str, str]]:
    """A conversation of one question."""
    return [{"role": "user", "content": text}]


def whole(content: str) -> dict[str, Any]:
    """An answer, put together where it was streamed; fails for one that is cut."""
    if not content.startswith("data:"):
        return dict(json.loads(content))
    events = [line.removeprefix("data: ") for line in content.splitlines() if line]
    chunks = [json.loads(event) for event in events if event != "[DONE]"]
    failed = [chunk for chunk in chunks if "error" in chunk]
    if failed:
        return dict(failed[0])
    assert events[-1] == "[DONE]"
    text = "".join(
        choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"]
    )
    return {"id": chunks[0]["id"], "choices": [{"message": {"content": text}}]}


def _write(project: Project, name: str, text: str) -> None:
    path = project.configs / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
