"""Arguments that are plain text skip Typer's conversion, which is slow to start.

Typer 0.29.2 converts every argument through pydantic, whose import takes as long as the check of a
hundred configs. Text, lists of text, choices and options that are not given do not need it;
everything else still goes through Typer. Remove this when Typer does so itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

import typer
from typer.core import TyperCommand

from modelyard.core.errors import did_you_mean


class LightCommand(TyperCommand):
    """A command that does not convert plain text."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for param in self.get_params(ctx):
            _lighten(param)
        return super().parse_args(ctx, args)


@dataclass(frozen=True, slots=True)
class _LightConverter:
    """Replaces Typer's converter of one parameter."""

    kind: Any
    """The type of one value."""
    choices: tuple[Any, ...] | None
    """The choices; None for any text."""
    build: Callable[[], Any]
    """Builds the converter that Typer would use."""

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value as it is when it needs no conversion, else as Typer converts it."""
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
    if choices and not all(isinstance(choice, str) for choice in choices):
        choices = None
    light = _LightConverter(item, choices, param.get_runtime_param)
    param.get_runtime_param = lambda: light
