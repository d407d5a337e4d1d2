"""Arguments that are plain text are taken as they are, without the time that it takes to say so.

Typer 0.29.2 converts every argument through pydantic, whose import takes as long as the check of a
hundred configs. Text, lists of text, words to choose from and options that are not given need none
of it; all else still goes through Typer. Remove this when Typer does so itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

import typer
from typer.core import TyperCommand

from modelyard.core.errors import did_you_mean


class LightCommand(TyperCommand):
    """A command that takes its texts as they are."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for param in self.get_params(ctx):
            _lighten(param)
        return super().parse_args(ctx, args)


@dataclass(frozen=True, slots=True)
class _AsItIs:
    """Takes the place of what Typer converts one parameter with."""

    kind: Any
    """What one value is."""
    choices: tuple[Any, ...] | None
    """The words to choose from; None for any text."""
    build: Callable[[], Any]
    """Makes what Typer would convert with."""

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value, where it needs no conversion; else what Typer makes of it."""
        is_multiple = param.multiple or param.nargs == -1
        if value is None:
            return () if is_multiple else None
        texts = value if is_multiple else [value]
        for text in texts:
            if self.choices and isinstance(text, str) and text not in self.choices:
                words = [str(choice) for choice in self.choices]
                shown = ", ".join(map(repr, words))
                message = f"{text!r} is not one of {shown}{did_you_mean(text, words)}"
                raise typer.BadParameter(message, ctx=ctx, param=param)
        is_default = value is param.default and type(value) is self.kind
        if not (is_default or all(self._is_plain(text) for text in texts)):
            return self.build().coerce(value, param=param, ctx=ctx)
        return list(value) if is_multiple else value

    def _is_plain(self, text: Any) -> bool:
        if self.choices is not None:
            return text in self.choices
        return self.kind is str and isinstance(text, str)


def _lighten(param: Any) -> None:
    annotation = param.type_descriptor.annotation
    item = get_args(annotation)[0] if get_origin(annotation) is list else annotation
    choices = get_args(item) if get_origin(item) is Literal else None
    if choices and not all(isinstance(one, str) for one in choices):
        choices = None
    light = _AsItIs(item, choices, param.get_runtime_param)
    param.get_runtime_param = lambda: light
