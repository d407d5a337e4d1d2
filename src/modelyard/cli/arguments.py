"""What a command line says, as values: without pydantic, and in plain words when it is wrong.

Typer 0.29.2 converts through pydantic, whose import takes as long as all else that a --help does,
and whose errors are for programmers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer
from typer.core import TyperCommand

from modelyard.core.errors import did_you_mean
from modelyard.settings.units import SHARE


class LightCommand(TyperCommand):
    """A command that converts texts and numbers itself."""

    function = ""
    """What does it, as in the table of commands."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for param in self.get_params(ctx):
            _lighten(param)
        return super().parse_args(ctx, args)


def read_share(text: str | float) -> float:
    """A share as the configs write it: `25%` or `0.25`."""
    share = SHARE.parse(text) if isinstance(text, str) else text
    try:
        return float(text) if share is None else share
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no share, such as 25% or 0.25") from error


def convert_when_given(param: Any) -> None:
    """Convert this option of a group only where it was given."""
    convert = param.process_value

    def convert_given(ctx: Any, value: Any) -> Any:
        if value is None:
            return None
        _require_path(value, ctx, param)
        return convert(ctx, value)

    param.process_value = convert_given


def _require_path(value: Any, ctx: Any, param: Any) -> None:
    """Refuse an empty path, which would be taken for the current folder."""
    if value == "":
        raise typer.BadParameter("the path is empty", ctx=ctx, param=param)


@dataclass(frozen=True, slots=True)
class _LightConverter:
    """Replaces Typer's converter of one parameter."""

    kind: Any
    """The type of one value."""
    choices: tuple[Any, ...] | None
    """The choices; None for any text."""
    low: float | None
    """The least number; None for any."""
    high: float | None
    """The largest number; None for any."""
    parse: Callable[[str], Any] | None
    """The parser that the parameter has of its own."""
    build: Callable[[], Any]
    """Builds the converter that Typer would use."""

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value as it is when it needs no conversion, else as Typer converts it."""
        is_multiple = param.multiple or param.nargs == -1
        if value is None:
            return () if is_multiple else None
        try:
            converted = [self._convert(text) for text in (value if is_multiple else [value])]
        except _NotLight:
            return self.build().coerce(value, param=param, ctx=ctx)
        except typer.BadParameter as error:
            error.ctx, error.param = ctx, param
            raise
        return converted if is_multiple else converted[0]

    def _convert(self, text: Any) -> Any:
        if self.parse is not None:
            return self.parse(text)
        if self.choices is not None:
            return self._choose(text)
        if self.kind is str and isinstance(text, str):
            return text
        if self.kind in (int, float):
            return self._within(text if type(text) is self.kind else self._number(text))
        if self.kind is Path:
            if text == "":
                # It would be taken for the current folder.
                raise typer.BadParameter("the path is empty")
            return Path(text)
        raise _NotLight

    def _choose(self, text: Any) -> Any:
        assert self.choices is not None
        if text not in self.choices:
            shown = ", ".join(map(repr, self.choices))
            near = did_you_mean(str(text), self.choices)
            raise typer.BadParameter(f"{text!r} is not one of {shown}{near}")
        return text

    def _number(self, text: Any) -> int | float:
        what = "a whole number" if self.kind is int else "a number"
        try:
            number: int | float = self.kind(text)
        except (ValueError, TypeError, OverflowError) as error:
            raise typer.BadParameter(f"{_shown(text)} is not {what}") from error
        if math.isnan(number):
            raise typer.BadParameter(f"{_shown(text)} is not {what}")
        return number

    def _within(self, number: float) -> float:
        if self.low is not None and number < self.low:
            raise typer.BadParameter(f"must be at least {self.low:,.10g}, not {number}")
        if self.high is not None and number > self.high:
            raise typer.BadParameter(f"must be at most {self.high:,.10g}, not {number}")
        return number


class _NotLight(Exception):
    """A value that only Typer converts."""


def _shown(text: Any) -> str:
    from modelyard.secrets.values import masked_repr

    return masked_repr("", text, 40)


def _lighten(param: Any) -> None:
    described = param.type_descriptor
    annotation, info = described.annotation, described.parameter_info
    item = get_args(annotation)[0] if get_origin(annotation) is list else annotation
    choices = get_args(item) if get_origin(item) is Literal else None
    if choices and not all(isinstance(choice, str) for choice in choices):
        choices = None
    light = _LightConverter(item, choices, info.min, info.max, info.parser, param.get_runtime_param)
    param.get_runtime_param = lambda: light
