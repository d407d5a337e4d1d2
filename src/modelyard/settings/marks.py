"""What a field's type says besides the type itself: bounds, a pattern, a unit, a reference."""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin

from modelyard.settings.units import Quantity

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Range:
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
class Pattern:
    """What a text must look like."""

    name: str
    """What an error calls it, such as `a reference to a secret`."""
    regex: str
    """Regular expression of the whole text, in what Python and ECMA 262 have in common."""
    examples: tuple[str, ...] = ()
    """Texts that are right; the first one is what an error suggests."""
    hidden: bool = False
    """Whether an error must not repeat what is written there: it may be a secret."""
    written_out: bool = False
    """Whether no placeholder may stand in it, since nothing fills it in."""
    from_environment: bool = False
    """Whether `env:NAME` may stand for it."""

    def __str__(self) -> str:
        return f"{self.name} such as '{self.examples[0]}'" if self.examples else self.name


@dataclass(frozen=True, slots=True)
class Reference:
    """A text that names something else: a config of a kind, a base model, a dataset."""

    to: str
    """What it names, such as `language_models`."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do instead of other words than a choice has, where people try them."""

    by_word: tuple[tuple[str, str], ...]
    """Pairs of a word, in lowercase, and the hint."""

    def find(self, word: str) -> str | None:
        """The hint for a word, if there is one."""
        return dict(self.by_word).get(word.lower())


@dataclass(frozen=True, slots=True)
class Unread:
    """A key that is still taken, since configs have it, and that nothing reads any more.

    On a group it covers every key below.
    """

    why: str
    """Why it has no effect."""

    def __str__(self) -> str:
        return f"no effect: {self.why}"


UNBOUNDED = Range()
PLAIN_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
"""What an error calls the types that hold one value."""


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """A type without its `Annotated`, and the marks."""

    hint: Any
    bounds: Range = UNBOUNDED
    quantity: Quantity | None = None
    pattern: Pattern | None = None
    reference: Reference | None = None
    unread: Unread | None = None
    advice: Advice | None = None


def unwrap(hint: Any) -> Unwrapped:
    """Take the marks off a type."""
    if get_origin(hint) is not Annotated:
        return Unwrapped(hint)
    inner, *marks = get_args(hint)

    def mark(kind: type[T]) -> T | None:
        return next((mark for mark in marks if isinstance(mark, kind)), None)

    bounds = mark(Range) or UNBOUNDED
    texts = mark(Pattern), mark(Reference)
    return Unwrapped(inner, bounds, mark(Quantity), *texts, mark(Unread), mark(Advice))


def choices_of(hint: Any) -> tuple[tuple[Any, ...], bool]:
    """The members of a union without None (one for any other type), and whether None is one."""
    if get_origin(hint) not in (Union, types.UnionType):
        return (hint,), False
    members = get_args(hint)
    return tuple(
        member for member in members if member is not types.NoneType
    ), types.NoneType in members


def members_of(hint: Any) -> tuple[list[Any], bool]:
    """The choices of a type, each with the marks of the whole, and whether None is one."""
    marked = unwrap(hint)
    choices, optional = choices_of(marked.hint)
    marks = [mark for mark in (marked.bounds, marked.quantity, marked.pattern) if mark]
    return [Annotated[choice, *marks] for choice in choices], optional


def quantity_of(hint: Any) -> Quantity | None:
    """The kind of quantity that a type holds, itself or as one of its choices."""
    outer = unwrap(hint)
    members = (outer, *map(unwrap, choices_of(outer.hint)[0]))
    return next((member.quantity for member in members if member.quantity), None)


def unread_mark(hint: Any) -> Unread | None:
    """The mark of a type that nothing reads any more, on itself or on one of its choices."""
    outer = unwrap(hint)
    members = (outer, *map(unwrap, choices_of(outer.hint)[0]))
    return next((member.unread for member in members if member.unread), None)


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
    if marked.pattern is not None:
        return str(marked.pattern)
    if marked.hint in (int, float) and marked.bounds != UNBOUNDED:
        return f"{PLAIN_NAMES[marked.hint]} {marked.bounds}"
    return PLAIN_NAMES.get(marked.hint, "a mapping")


def describe_quantity(quantity: Quantity) -> str:
    """What a quantity may be, in the words of an error."""
    return f"{quantity.name} such as '{quantity.examples[0]}'"
