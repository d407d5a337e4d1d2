"""A command that does something by itself and has others below it: `models backup`, `backup list`.

A group of Typer cannot: it would take the options of the first for its own, and load all at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from modelyard.cli.arguments import LightCommand


class NestedCommand(LightCommand):
    """A command whose first word may name one below it."""

    commands: Mapping[str, Any] = {}
    """The commands below it, by name."""

    def make_context(self, info_name: str | None, args: list[str], *more: Any, **extra: Any) -> Any:
        word = args[0] if args else ""
        if word in self.commands:
            below = self.commands[word]
            return below.make_context(f"{info_name} {word}", args[1:], *more, **extra)
        return super().make_context(info_name, args, *more, **extra)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and not args[0].startswith("-"):
            near = get_close_matches(args[0], self.commands, n=1, cutoff=0.75)
            known = f" (did you mean {near[0]!r}?)" if near else f"; there are {self._names()}"
            ctx.fail(f"No such command {args[0]!r}{known}")
        return super().parse_args(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        super().format_options(ctx, formatter)
        limit = formatter.width - 6 - max(map(len, self.commands), default=0)
        rows = [(name, below.get_short_help_str(limit)) for name, below in self.commands.items()]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)

    def _names(self) -> str:
        return ", ".join(self.commands) or "none"
