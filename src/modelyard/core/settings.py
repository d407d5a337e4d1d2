"""Settings as frozen dataclasses: built from mappings, checked, explained by their own docstrings.

A settings class is `@dataclass(frozen=True, slots=True, kw_only=True)` with a docstring line under
each field. Types carry the rules: `Annotated[int, Between(1, 1024)]`, `Literal["cosine", ...]`,
`Annotated[float, DURATION]` (core/units.py), `Annotated[str, Form(...)]`, `Annotated[str,
Refers("language_models")]`. Nested settings classes are nested mappings, and `Mapping[str, int]` is
one with free keys. The same words serve help, schema and docs.

Each class is compiled once into functions that convert its values: a check of a thousand files
spends its time here.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import math
import re
import sys
import textwrap
import types
from collections.abc import Callable, Collection, Iterable, Mapping
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
from modelyard.core.units import Quantity

T = TypeVar("T")
KeyPath = tuple[str | int, ...]
Where = Callable[[KeyPath], str | None]
"""Says where the value at a key path was written, such as `file:line:col` or `--set lora.rank=0`.
"""


@dataclass(frozen=True, slots=True)
class Between:
    """Bounds of a number, both included; None leaves a side open."""

    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        return self.words(lambda bound: f"{bound:.12g}")

    def words(self, show: Callable[[float], str]) -> str:
        """The bounds in words, each number as `show` writes it."""
        if self.high is None:
            return f"at least {show(cast(float, self.low))}"
        if self.low is None:
            return f"at most {show(self.high)}"
        return f"between {show(self.low)} and {show(self.high)}"

    def holds(self, value: float) -> bool:
        """Whether a number lies within."""
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


@dataclass(frozen=True, slots=True)
class Form:
    """What a text must look like."""

    name: str
    """What an error calls it, such as `a reference to a secret`."""
    pattern: str
    """Regular expression of the whole text, in what Python and ECMA 262 have in common."""
    examples: tuple[str, ...] = ()
    """Texts that are right; the first one is what an error suggests."""
    hidden: bool = False
    """Whether an error must not repeat what is written there: it may be a secret."""

    def __str__(self) -> str:
        return f"{self.name} such as '{self.examples[0]}'" if self.examples else self.name


@dataclass(frozen=True, slots=True)
class Refers:
    """A text that names something else: a config of a kind, a base model, a dataset."""

    to: str
    """What it names, such as `language_models`."""


_OPEN = Between()
_LARGEST_FLOAT = sys.float_info.max
_LONGEST_SHOWN = 60
_MOST_PASSES = 5
"""A value can only be judged once what stands in it is left out; more layers are not worth it."""
_MOST_COUNTED = 1e15
_LEFT_OUT = object()


@lru_cache
def field_docs(settings: type) -> Mapping[str, str]:
    """The docstring line under each field of a settings class, those it inherits included."""
    docs: dict[str, str] = {}
    for one in reversed(settings.__mro__):
        if not dataclasses.is_dataclass(one):
            continue
        tree = ast.parse(textwrap.dedent(inspect.getsource(one)))
        body = cast(ast.ClassDef, tree.body[0]).body
        for statement, following in pairwise(body):
            match (statement, following):
                case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                    docs[name] = inspect.cleandoc(text)
    return docs


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsField:
    """One field of a settings class, as a config file sees it."""

    name: str
    """The attribute."""
    key: str
    """The key: the name without its unit."""
    hint: Any
    """Its type, `Annotated` and all."""
    required: bool
    """Whether it has no default."""


@lru_cache
def settings_fields(settings: type) -> Mapping[str, SettingsField]:
    """The fields of a settings class by their keys."""
    hints = get_type_hints(settings, include_extras=True)
    found: dict[str, SettingsField] = {}
    for field in dataclasses.fields(settings):
        hint = hints[field.name]
        key = field.name.removesuffix(_quantity_suffix(hint))
        no_default = field.default is dataclasses.MISSING
        required = no_default and field.default_factory is dataclasses.MISSING
        found[key] = SettingsField(name=field.name, key=key, hint=hint, required=required)
    return found


def build_settings(
    settings: type[T],
    values: Mapping[str, Any],
    where: Where,
    *,
    path: KeyPath = (),
    written: Where | None = None,
) -> tuple[T | None, list[Problem]]:
    """Build `settings` from nested mappings; returns it, or None with every problem found.

    `written` says how a number with an exponent, such as `1e3`, stands in the file.
    """
    problems: list[Problem] = []
    built = _class_converter(cast(Any, settings))(values, path, _Report(where, problems, written))
    return (None, problems) if problems else (cast(T, built), [])


def build_valid_part(
    settings: type[T], values: Mapping[str, Any], doubtful: Iterable[KeyPath] = ()
) -> tuple[T | None, frozenset[KeyPath]]:
    """Build `settings` of what is valid, and say what is in doubt since it had to be left out.

    `doubtful` is left out as well. The settings are None when something required is not valid.
    """
    doubts = set(doubtful)
    kept = _without(values, doubts)
    for _ in range(_MOST_PASSES):
        report = _Report(lambda _: None, [])
        built = _class_converter(cast(Any, settings))(kept, (), report)
        if not report.problems:
            return cast(T, built), frozenset(doubts)
        if any(problem.rule == "missing" for problem in report.problems):
            break
        doubts |= set(report.paths)
        kept = _without(kept, set(report.wrong_paths))
    return None, frozenset(doubts)


def _without(values: Any, paths: Collection[KeyPath]) -> Any:
    """Nested mappings and lists without what stands at some paths."""
    if not paths:
        return values

    def copy(value: Any, path: KeyPath) -> Any:
        if isinstance(value, Mapping):
            return {
                key: copy(one, (*path, key))
                for key, one in value.items()
                if (*path, key) not in paths
            }
        if isinstance(value, list):
            spots = [(*path, place) for place in range(len(value))]
            if any(spot in paths for spot in spots):
                return _LEFT_OUT  # the places behind it would no longer be those of the file
            return [copy(one, spot) for one, spot in zip(value, spots, strict=True)]
        return value

    return _swept(copy(values, ()))


def _swept(value: Any) -> Any:
    """Nested mappings and lists without those lists of which something had to be left out."""
    if isinstance(value, dict):
        return {key: _swept(one) for key, one in value.items() if one is not _LEFT_OUT}
    if isinstance(value, list):
        return [_swept(one) for one in value if one is not _LEFT_OUT]
    return value


def rebuild_settings(
    settings: type[T],
    built: T | None,
    values: Mapping[str, Any],
    keys: Iterable[str],
    where: Where,
    written: Where | None = None,
) -> tuple[T | None, list[Problem]]:
    """Settings like `built`, but with what `values` say for some of the outermost keys.

    The same as building all of `values` anew where the other keys say what they said before. When
    those were not valid (`built` is None), only the problems of these keys are found.
    """
    problems: list[Problem] = []
    report = _Report(where, problems, written)
    converters = _field_converters(cast(Any, settings))
    changed = {}
    for key in keys:
        if key in converters:
            name, convert = converters[key]
            changed[name] = convert(values[key], (key,), report)
        else:
            _unknown_key((key,), converters, report)
    if problems or built is None:
        return None, problems
    kept = {name: getattr(built, name) for name, _ in converters.values()}
    return settings(**(kept | changed)), []


class _Report:
    """Where problems go."""

    __slots__ = ("paths", "problems", "where", "written", "wrong_paths")

    def __init__(self, where: Where, problems: list[Problem], written: Where | None = None) -> None:
        self.where = where
        self.problems = problems
        self.written = written
        self.wrong_paths: list[KeyPath] = []
        """Where the problems are."""
        self.paths: list[KeyPath] = []
        """Where they are, and the keys that were probably meant by unknown ones."""

    def add(
        self,
        path: KeyPath,
        message: str,
        rule: str,
        place: KeyPath | None = None,
        hint: str | None = None,
    ) -> None:
        where = self.where(path if place is None else place)
        self.problems.append(Problem(message=message, where=where, hint=hint, rule=rule))
        self.wrong_paths.append(path)
        self.paths.append(path)

    def wrong(
        self,
        path: KeyPath,
        wanted: str,
        value: Any,
        rule: str,
        near: str = "",
        hint: str | None = None,
    ) -> None:
        shown = self._as_written(path, value) or _shown(value)
        message = f"'{dotted(path)}' must be {wanted}, not {shown}{near}"
        self.add(path, message, rule, hint=hint)

    def not_text(self, path: KeyPath, wanted: str, value: Any) -> None:
        """Where text is wanted, a number with an exponent was probably meant as text."""
        written = self._as_written(path, value)
        hint = f'write "{written}"' if written else None
        self.wrong(path, wanted, value, "wrong-type", hint=hint)

    def _as_written(self, path: KeyPath, value: Any) -> str | None:
        return self.written(path) if self.written and type(value) is float else None


Converter = Callable[[Any, KeyPath, _Report], Any]
"""Turns a raw value into what the field holds, or reports why it cannot."""


def dotted(path: KeyPath) -> str:
    """A key path as people write it: `lora.targets[0]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


@lru_cache
def _field_converters(settings: type) -> Mapping[str, tuple[str, Converter]]:
    """The attribute of each key, and the function that converts its value."""
    fields = settings_fields(settings)
    return {key: (field.name, _converter(field.hint)) for key, field in fields.items()}


@lru_cache
def _class_converter(settings: type) -> Converter:
    converters = _field_converters(settings)
    required = [key for key, field in settings_fields(settings).items() if field.required]

    def convert(values: Any, path: KeyPath, report: _Report) -> Any:
        if not isinstance(values, Mapping):
            return report.wrong(path, "a mapping", values, "wrong-type")
        built = {}
        before = len(report.problems)
        for key, value in values.items():
            known = converters.get(key)
            if known is None:
                _unknown_key((*path, key), converters, report)
            else:
                built[known[0]] = known[1](value, (*path, key), report)
        for key in required:
            if key not in values:
                report.add((*path, key), f"'{dotted((*path, key))}' is required", "missing", path)
        return settings(**built) if len(report.problems) == before else None

    return convert


def _unknown_key(path: KeyPath, known: Mapping[str, Any], report: _Report) -> None:
    near = nearest(str(path[-1]), sorted(known))
    hint = f" (did you mean '{dotted((*path[:-1], near))}'?)" if near else ""
    report.add(path, f"unknown key '{dotted(path)}'{hint}", "unknown-key")
    if near:
        report.paths.append((*path[:-1], near))


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """A type without its `Annotated`, and what that said."""

    hint: Any
    bounds: Between = _OPEN
    quantity: Quantity | None = None
    form: Form | None = None
    refers: Refers | None = None


def unwrap(hint: Any, bounds: Between = _OPEN) -> Unwrapped:
    """Take the marks off a type; `bounds` are those of a type around it."""
    if get_origin(hint) is not Annotated:
        return Unwrapped(hint, bounds)
    inner, *marks = get_args(hint)

    def mark(kind: type[T], default: T | None = None) -> T | None:
        return next((one for one in marks if isinstance(one, kind)), default)

    within = mark(Between, bounds) or bounds
    return Unwrapped(inner, within, mark(Quantity), mark(Form), mark(Refers))


def choices_of(hint: Any) -> tuple[tuple[Any, ...], bool]:
    """The members of a union without None (one for any other type), and whether None is one."""
    if get_origin(hint) not in (Union, types.UnionType):
        return (hint,), False
    members = get_args(hint)
    return tuple(one for one in members if one is not types.NoneType), types.NoneType in members


def _quantity_suffix(hint: Any) -> str:
    outer = unwrap(hint)
    members = (outer, *(unwrap(choice) for choice in choices_of(outer.hint)[0]))
    return next((one.quantity.suffix for one in members if one.quantity), "")


def _converter(hint: Any, bounds: Between = _OPEN) -> Converter:
    """The function that turns a raw value into what this type asks for."""
    marked = unwrap(hint, bounds)
    hint, bounds = marked.hint, marked.bounds
    origin = get_origin(hint)
    if dataclasses.is_dataclass(hint):
        return _class_converter(cast(type, hint))
    if origin in (Union, types.UnionType):
        return _union_converter(hint, marked)
    if marked.quantity is not None:
        return _quantity_converter(marked.quantity, bounds)
    if origin is Literal:
        return _literal_converter(hint)
    if origin is tuple:
        return _list_converter(get_args(hint)[0])
    if origin is Mapping:
        return _mapping_converter(*get_args(hint))
    if hint is Any:
        return lambda value, path, report: value
    if marked.form is not None:
        return _form_converter(marked.form)
    return _plain_converter(hint, bounds)


def _union_converter(hint: Any, marked: Unwrapped) -> Converter:
    choices, optional = choices_of(hint)
    marks = [mark for mark in (marked.bounds, marked.quantity, marked.form) if mark]
    members = [Annotated[choice, *marks] if marks else choice for choice in choices]
    converters = [_converter(member) for member in members]
    wanted = " or ".join(describe(member) for member in members)

    def convert(value: Any, path: KeyPath, report: _Report) -> Any:
        if value is None and optional:
            return None
        if len(converters) == 1:
            return converters[0](value, path, report)
        for converter in converters:
            attempt = _Report(report.where, [], report.written)
            converted = converter(value, path, attempt)
            if not attempt.problems:
                return converted
        return report.wrong(path, wanted, value, "wrong-type")

    return convert


def _literal_converter(hint: Any) -> Converter:
    options = {(type(option), option) for option in get_args(hint)}
    words = [str(option) for option in get_args(hint)]
    wanted = describe(hint)

    def convert(value: Any, path: KeyPath, report: _Report) -> Any:
        if isinstance(value, (str, int, float)) and (type(value), value) in options:
            return value
        return report.wrong(path, wanted, value, "not-a-choice", did_you_mean(str(value), words))

    return convert


def _list_converter(item: Any) -> Converter:
    converter = _converter(item)

    def convert(value: Any, path: KeyPath, report: _Report) -> Any:
        if not isinstance(value, (list, tuple)):
            return report.wrong(path, "a list", value, "wrong-type")
        return tuple(converter(one, (*path, place), report) for place, one in enumerate(value))

    return convert


def _mapping_converter(key_hint: Any, item: Any) -> Converter:
    check_key, converter = _converter(key_hint), _converter(item)

    def convert(value: Any, path: KeyPath, report: _Report) -> Any:
        if not isinstance(value, Mapping):
            return report.wrong(path, "a mapping", value, "wrong-type")
        for key in value:
            check_key(key, (*path, key), report)
        return {key: converter(one, (*path, key), report) for key, one in value.items()}

    return convert


def _quantity_converter(quantity: Quantity, bounds: Between) -> Converter:
    wanted = describe_quantity(quantity)
    within = "" if bounds == _OPEN else bounds.words(quantity.show)

    def convert(value: Any, path: KeyPath, report: _Report) -> Any:
        parsed: float | None = None
        if isinstance(value, str):
            parsed = quantity.parse(value)
        elif quantity.bare and type(value) in (int, float) and abs(value) < _LARGEST_FLOAT:
            parsed = value if not quantity.whole or type(value) is int else None
        if parsed is None or not math.isfinite(parsed):
            hint = _whole_hint(value, quantity) if quantity.whole else None
            meant = quantity.meant(value) if isinstance(value, str) else None
            near = f" (did you mean '{meant}'?)" if meant else ""
            return report.wrong(path, wanted, value, "wrong-unit", near, hint)
        if not bounds.holds(parsed):
            return report.wrong(path, within, value, "out-of-range")
        return parsed if quantity.whole else float(parsed)

    return convert


def _form_converter(form: Form) -> Converter:
    matches = re.compile(form.pattern).fullmatch
    wanted = str(form)

    def convert(value: Any, path: KeyPath, report: _Report) -> Any:
        if isinstance(value, str) and matches(value):
            return value
        rule = "wrong-form" if isinstance(value, str) else "wrong-type"
        if form.hidden:
            return report.add(path, f"'{dotted(path)}' must be {wanted}", rule)
        if not isinstance(value, str):
            return report.not_text(path, wanted, value)
        return report.wrong(path, wanted, value, rule)

    return convert


_PLAIN_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def _plain_converter(hint: type, bounds: Between) -> Converter:
    wanted = _PLAIN_NAMES[hint]
    bounded = bounds != _OPEN

    def convert(value: Any, path: KeyPath, report: _Report) -> Any:
        if type(value) is not hint:
            if hint is str:
                return report.not_text(path, wanted, value)
            if hint is int:
                return report.wrong(path, wanted, value, "wrong-type", hint=_whole_hint(value))
            if hint is not float or type(value) is not int or abs(value) >= _LARGEST_FLOAT:
                return report.wrong(path, wanted, value, "wrong-type")
            value = float(value)
        if hint is float and not math.isfinite(value):
            return report.wrong(path, wanted, value, "wrong-type")
        if bounded and not bounds.holds(value):
            return report.wrong(path, str(bounds), value, "out-of-range")
        return value

    return convert


def _whole_hint(value: Any, quantity: Quantity | None = None) -> str | None:
    """How a number that counts things is written, when it is whole."""
    if type(value) is not float or not value.is_integer() or abs(value) > _MOST_COUNTED:
        return None
    short = quantity.show(value) if quantity else ""
    return f"write {value:.0f}" + (f" (or {short})" if short and short != f"{value:.0f}" else "")


def describe_quantity(quantity: Quantity) -> str:
    """What a quantity may be, in the words of an error."""
    return f"{quantity.name} such as '{quantity.examples[0]}'"


def describe(hint: Any) -> str:
    """What a value of this type may be, in the words of an error."""
    marked = unwrap(hint)
    if marked.quantity is not None:
        return describe_quantity(marked.quantity)
    if get_origin(marked.hint) is Literal:
        options = [str(option) for option in get_args(marked.hint)]
        return options[0] if len(options) == 1 else f"one of {', '.join(options)}"
    if get_origin(marked.hint) is tuple:
        return "a list"
    if marked.form is not None:
        return str(marked.form)
    if marked.hint in (int, float) and marked.bounds != _OPEN:
        return f"{_PLAIN_NAMES[marked.hint]} {marked.bounds}"
    return _PLAIN_NAMES.get(marked.hint, "a mapping")


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
