"""Cards: Markdown for people, with YAML front matter for the program.

MODEL_INFO.md, DATASET.md and TRAINING_INFO.md are cards. There is no second file that says the
same thing, so what a person reads is what the program uses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.core.errors import InvalidInput
from modelyard.core.files import write_atomic
from modelyard.core.regular_files import require_regular
from modelyard.settings.yaml_files import YamlSource, parse_yaml, render_yaml

_FRONT = re.compile(r"---[ \t]*\n(.*?\n)---[ \t]*(?:\n|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Card:
    """One card: its front matter with positions, and the Markdown below it."""

    front: YamlSource
    body: str


def load_card(path: Path, *, name: str | None = None) -> Card:
    """Read a card. Raises InvalidInput when it has no front matter between two `---` lines."""
    shown = name or str(path)
    return parse_card(read_card(path, name=shown), name=shown)


def read_card(path: Path, *, name: str) -> str:
    """The text of a card. Raises InvalidInput when it cannot be read."""
    try:
        require_regular(path)
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidInput(f"cannot read: {error.strerror}", where=name) from error
    except UnicodeDecodeError as error:
        raise InvalidInput("is not UTF-8 text", where=name) from error


def parse_card(text: str, *, name: str) -> Card:
    """The card of a text, as `load_card` gives it."""
    front = _FRONT.match(text)
    if front is None:
        raise InvalidInput(
            "has no front matter",
            where=f"{name}:1:1",
            hint="start it with YAML between two --- lines",
        )
    source = parse_yaml(front[1], name=name, first_line=2)
    if not isinstance(source.value, dict):
        raise InvalidInput("the front matter is not a mapping", where=source.where())
    return Card(source, text[front.end() :].lstrip("\n"))


def render_card(front: Mapping[str, Any], body: str) -> str:
    """A card's text: front matter in the order given, then the Markdown."""
    return f"---\n{render_yaml(front)}---\n\n{body.strip()}\n"


def write_card(path: Path, front: Mapping[str, Any], body: str) -> None:
    """Write a card in one rename."""
    write_atomic(path, render_card(front, body))
