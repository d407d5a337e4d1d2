"""The JSON Schema and the shape of a result say what is printed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import jsonschema
import pytest

from modelyard.results.json_form import published, to_json
from modelyard.results.schema import build_result_schema
from modelyard.results.shape import key_lines, render_shape


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """A wheel."""

    kind: Literal["wheel"] = "wheel"
    """The kind; None of the others."""
    file: str
    """Its file."""


@dataclass(frozen=True, kw_only=True)
class Hub:
    """A repository."""

    kind: Literal["hub"] = "hub"
    """The kind."""
    pinned: bool
    """Whether it is pinned."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """A size."""

    bytes: int
    """In bytes."""
    share: float | None = field(default=None, metadata=published(if_known=True))
    """Its share."""


@dataclass(frozen=True, kw_only=True)
class Base:
    """A base."""

    path: Path | None = field(metadata=published("at"))
    """Where it is."""
    size: Size | None = field(metadata=published(inline=True))
    sources: tuple[Wheel | Hub, ...]
    """Its sources."""
    sizes: dict[str, Size]
    """By name."""
    range: tuple[float, float]
    """From and to."""
    written: Any = field(metadata=published())
    """As written."""


RESULT = Base(
    path=Path("x"),
    size=Size(bytes=1),
    sources=(Wheel(file="a"), Hub(pinned=False)),
    sizes={"x": Size(bytes=2, share=0.5)},
    range=(0, 1.5),
    written=[{"any": None}],
)


def schema() -> dict[str, Any]:
    return build_result_schema(tuple[Base, ...], title="A test", identity="test")


def test_what_is_printed_is_valid() -> None:
    jsonschema.Draft7Validator.check_schema(schema())
    jsonschema.validate(to_json([RESULT]), schema())
    jsonschema.validate([], schema())


@pytest.mark.parametrize(
    "changes",
    [
        {"more": 1},
        {"at": 1},
        {"bytes": None},
        {"bytes": 1.5},
        {"sources": [{"kind": "wheel", "pinned": True}]},
        {"sizes": {"x": {}}},
        {"range": [1.0]},
    ],
    ids=str,
)
def test_what_is_never_printed_is_not_valid(changes: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate([to_json(RESULT) | changes], schema())


@pytest.mark.parametrize("key", ["at", "sources", "sizes", "range", "written"])
def test_a_key_that_is_always_printed_is_required(key: str) -> None:
    printed = to_json(RESULT)
    del printed[key]
    with pytest.raises(jsonschema.ValidationError, match=f"'{key}' is a required property"):
        jsonschema.validate([printed], schema())


def test_the_shape_shows_each_key_once() -> None:
    assert render_shape(tuple[Base, ...]) == (
        '[{"at", "bytes", "share", "sources": [{"kind", "file"} or {"kind", "pinned"}],\n'
        '  "sizes": {NAME: {"bytes", "share"}}, "range", "written"}]'
    )


def test_each_key_has_a_line_that_says_what_it_is() -> None:
    lines = {line.path: line for line in key_lines(tuple[Base, ...])}
    assert list(lines) == [
        *("at", "bytes", "share", "sources", "sources[].kind", "sources[].file"),
        *("sources[].pinned", "sizes", "sizes.NAME.bytes", "sizes.NAME.share", "range", "written"),
    ]
    assert lines["at"].may_be == "text or null"
    assert lines["sources[].kind"].may_be == "`wheel` or `hub`"
    assert lines["sources[].kind"].meaning == "The kind; null of the others."
    assert lines["range"].may_be == "list, each number"
    assert lines["written"].may_be == "any value"
    assert [path for path, line in lines.items() if line.always] == [
        *("at", "sources", "sources[].kind", "sizes", "sizes.NAME.bytes", "range", "written"),
    ]


def test_two_classes_of_one_name_are_refused() -> None:
    other = type("Size", (Hub,), {"__doc__": "Another."})
    hint = tuple[Size | dataclass(frozen=True)(other), ...]  # type: ignore[misc]
    with pytest.raises(TypeError, match="two result classes are called Size"):
        build_result_schema(hint, title="", identity="")
