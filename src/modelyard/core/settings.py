"""Settings as frozen dataclasses: built from mappings, checked, explained by their own docstrings.

A settings class is `@dataclass(frozen=True, slots=True, kw_only=True)` with a docstring line under
each field. Types carry the bounds: `Annotated[int, Between(1, 1024)]`, `Literal["cosine", ...]`.
Nested settings classes are nested mappings. The same words serve help, schema and docs.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from modelyard.core.errors import Problem, did_you_mean

T = TypeVar("T")
Where = Callable[[tuple[str | int, ...]], str | None]
"""Says where the value at a key path was written, such as `file:line:col` or `--set lora.rank=0`."""


@dataclass(frozen=True, slots=True)
class Between:
    """Bounds of a number, both included; None leaves a side open."""

    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.high is None:
            return f"at least {self.low:g}"
        if self.low is None:
            return f"at most {self.high:g}"
        return f"between {self.low:g} and {self.high:g}"


@lru_cache
def field_docs(settings: type) -> Mapping[str, str]:
    """The docstring line under each field of a settings class."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(settings)))
    body = cast(ast.ClassDef, tree.body[0]).body
    docs: dict[str, str] = {}
    for statement, following in zip(body, body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(following, ast.Expr):
            if isinstance(following.value, ast.Constant) and isinstance(following.value.value, str):
                name = cast(ast.Name, statement.target).id
                docs[name] = inspect.cleandoc(following.value.value)
    return docs


@lru_cache
def _hints(settings: type) -> Mapping[str, Any]:
    return get_type_hints(settings, include_extras=True)


def build_settings(
    settings: type[T], values: Mapping[str, Any], where: Where, *, path: tuple[str, ...] = ()
) -> tuple[T | None, list[Problem]]:
    """Build `settings` from nested mappings; returns it, or None with every problem found."""
    hints = _hints(settings)
    known = {field.name: field for field in dataclasses.fields(cast(Any, settings))}
    built: dict[str, Any] = {}
    problems: list[Problem] = []
    for key, value in values.items():
        spot = (*path, key)
        if key not in known:
            dotted = ".".join(spot)
            near = did_you_mean(dotted, sorted([".".join((*path, name)) for name in known]))
            problems.append(Problem(message=f"unknown key '{dotted}'{near}", where=where(spot)))
            continue
        built[key], wrong = _convert(hints[key], value, where, spot)
        problems += wrong
    for name, field in known.items():
        required = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if required and name not in values:
            dotted = ".".join((*path, name))
            problems.append(Problem(message=f"'{dotted}' is required", where=where(path)))
    return (None, problems) if problems else (settings(**built), [])


def _convert(hint: Any, value: Any, where: Where, spot: tuple[str, ...]) -> tuple[Any, list[Problem]]:
    """`value` as the type `hint` asks for, or the problem with it."""
    bounds = Between()
    if get_origin(hint) is Annotated:
        hint, *marks = get_args(hint)
        bounds = next((mark for mark in marks if isinstance(mark, Between)), bounds)

    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            return None, [_wrong(spot, "a mapping", value, where)]
        return build_settings(cast(type[Any], hint), value, where, path=spot)

    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        choices = [choice for choice in get_args(hint) if choice is not type(None)]
        if value is None and len(choices) < len(get_args(hint)):
            return None, []
        attempts = [_convert(choice, value, where, spot) for choice in choices]
        return next((attempt for attempt in attempts if not attempt[1]), attempts[0])
    if origin is Literal:
        if value in get_args(hint):
            return value, []
        options = ", ".join(str(option) for option in get_args(hint))
        near = did_you_mean(str(value), [str(option) for option in get_args(hint)])
        return None, [_wrong(spot, f"one of {options}", value, where, near)]
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            return None, [_wrong(spot, "a list", value, where)]
        item = get_args(hint)[0]
        pairs = [_convert(item, one, where, spot) for one in value]
        return tuple(one for one, _ in pairs), [problem for _, wrong in pairs for problem in wrong]
    return _plain(hint, value, bounds, where, spot)


_PLAIN_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def _plain(
    hint: Any, value: Any, bounds: Between, where: Where, spot: tuple[str, ...]
) -> tuple[Any, list[Problem]]:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    right_type = isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
    if not right_type:
        return None, [_wrong(spot, _PLAIN_NAMES[hint], value, where)]
    if hint in (int, float):
        too_low = bounds.low is not None and not value >= bounds.low
        too_high = bounds.high is not None and not value <= bounds.high
        if too_low or too_high or value != value:
            return None, [_wrong(spot, str(bounds), value, where)]
    return value, []


def _wrong(spot: tuple[str, ...], wanted: str, value: Any, where: Where, near: str = "") -> Problem:
    return Problem(message=f"'{'.'.join(spot)}' must be {wanted}, not {value!r}{near}", where=where(spot))


def settings_mapping(settings: Any) -> dict[str, Any]:
    """The settings as nested plain mappings, lists instead of tuples: what YAML and JSON hold."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(one) for one in value]
        return value

    return cast(dict[str, Any], plain(dataclasses.asdict(settings)))
