"""Settings as frozen dataclasses: built from mappings, checked, explained by their own docstrings.

A settings class is `@dataclass(frozen=True, slots=True, kw_only=True)` with a docstring line under
each field. Types carry the bounds: `Annotated[int, Between(1, 1024)]`, `Literal["cosine", ...]`.
Nested settings classes are nested mappings, and `Mapping[str, int]` is one with free keys. The same
words serve help, schema and docs.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import math
import sys
import textwrap
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from modelyard.core.errors import Problem, did_you_mean, nearest

T = TypeVar("T")
Where = Callable[[tuple[str | int, ...]], str | None]
"""Says where the value at a key path was written, such as `file:line:col` or `--set lora.rank=0`.
"""


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


_OPEN = Between()
_LARGEST_FLOAT = sys.float_info.max


@lru_cache
def field_docs(settings: type) -> Mapping[str, str]:
    """The docstring line under each field of a settings class."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(settings)))
    body = cast(ast.ClassDef, tree.body[0]).body
    docs: dict[str, str] = {}
    for statement, following in pairwise(body):
        match (statement, following):
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                docs[name] = inspect.cleandoc(text)
    return docs


@lru_cache
def _hints(settings: type) -> Mapping[str, Any]:
    return get_type_hints(settings, include_extras=True)


def build_settings(
    settings: type[T], values: Mapping[str, Any], where: Where, *, path: tuple[str, ...] = ()
) -> tuple[T | None, list[Problem]]:
    """Build `settings` from nested mappings; returns it, or None with every problem found."""
    hints = _hints(cast(Any, settings))
    known = {field.name: field for field in dataclasses.fields(cast(Any, settings))}
    built: dict[str, Any] = {}
    problems: list[Problem] = []
    for key, value in values.items():
        spot = (*path, key)
        if key not in known:
            dotted = ".".join(spot)
            near = nearest(key, sorted(known))
            hint = f" (did you mean '{'.'.join((*path, near))}'?)" if near else ""
            problems.append(Problem(message=f"unknown key '{dotted}'{hint}", where=where(spot)))
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


def _unwrap(hint: Any, bounds: Between) -> tuple[Any, Between]:
    """The type inside `Annotated`, with its bounds instead of those around it."""
    if get_origin(hint) is not Annotated:
        return hint, bounds
    inner, *marks = get_args(hint)
    return inner, next((mark for mark in marks if isinstance(mark, Between)), bounds)


def _convert(
    hint: Any, value: Any, where: Where, spot: tuple[str, ...], bounds: Between = _OPEN
) -> tuple[Any, list[Problem]]:
    """`value` as the type `hint` asks for, or the problem with it."""
    hint, bounds = _unwrap(hint, bounds)
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            return None, [_wrong(spot, "a mapping", value, where)]
        return build_settings(cast(type[Any], hint), value, where, path=spot)

    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        choices = [choice for choice in get_args(hint) if choice is not type(None)]
        if value is None and len(choices) < len(get_args(hint)):
            return None, []
        attempts = [_convert(choice, value, where, spot, bounds) for choice in choices]
        accepted = [attempt for attempt in attempts if not attempt[1]]
        if accepted or len(choices) == 1:
            return (accepted or attempts)[0]
        wanted = " or ".join(_describe(choice, bounds) for choice in choices)
        return None, [_wrong(spot, wanted, value, where)]
    if origin is Literal:
        options = get_args(hint)
        if any(value == option and type(value) is type(option) for option in options):
            return value, []
        near = did_you_mean(str(value), [str(option) for option in options])
        return None, [_wrong(spot, _describe(hint, bounds), value, where, near)]
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            return None, [_wrong(spot, "a list", value, where)]
        item = get_args(hint)[0]
        pairs = [_convert(item, one, where, spot) for one in value]
        return tuple(one for one, _ in pairs), [problem for _, wrong in pairs for problem in wrong]
    if origin is Mapping:
        if not isinstance(value, Mapping):
            return None, [_wrong(spot, "a mapping", value, where)]
        item = get_args(hint)[1]
        named = {key: _convert(item, one, where, (*spot, key)) for key, one in value.items()}
        wrong = [problem for _, problems in named.values() for problem in problems]
        return {key: one for key, (one, _) in named.items()}, wrong
    if hint is Any:
        return value, []
    return _plain(hint, value, bounds, where, spot)


_PLAIN_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def _describe(hint: Any, bounds: Between) -> str:
    """What a value of this type may be, in the words of an error."""
    hint, bounds = _unwrap(hint, bounds)
    if get_origin(hint) is Literal:
        options = [str(option) for option in get_args(hint)]
        return options[0] if len(options) == 1 else f"one of {', '.join(options)}"
    if get_origin(hint) is tuple:
        return "a list"
    if hint in (int, float) and bounds != _OPEN:
        return f"{_PLAIN_NAMES[hint]} {bounds}"
    return _PLAIN_NAMES.get(hint, "a mapping")


def _plain(
    hint: Any, value: Any, bounds: Between, where: Where, spot: tuple[str, ...]
) -> tuple[Any, list[Problem]]:
    if hint is float and type(value) is int and abs(value) < _LARGEST_FLOAT:
        value = float(value)
    right_type = isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
    if not right_type or (hint is float and not math.isfinite(value)):
        return None, [_wrong(spot, _PLAIN_NAMES[hint], value, where)]
    if hint in (int, float):
        too_low = bounds.low is not None and value < bounds.low
        too_high = bounds.high is not None and value > bounds.high
        if too_low or too_high:
            return None, [_wrong(spot, str(bounds), value, where)]
    return value, []


def _wrong(spot: tuple[str, ...], wanted: str, value: Any, where: Where, near: str = "") -> Problem:
    message = f"'{'.'.join(spot)}' must be {wanted}, not {value!r}{near}"
    return Problem(message=message, where=where(spot))


def settings_mapping(settings: Any) -> dict[str, Any]:
    """The settings as nested plain mappings, lists instead of tuples: what YAML and JSON hold."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(one) for one in value]
        return value

    return cast(dict[str, Any], plain(dataclasses.asdict(settings)))


def flatten_settings(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted names, such as `lora.rank`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten_settings(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
