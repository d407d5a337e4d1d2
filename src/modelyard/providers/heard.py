"""What a model is sent and has said so far, whichever API it is behind."""

from __future__ import annotations

from dataclasses import dataclass, field

from modelyard.providers.call import Finish, ToolCall, Usage


@dataclass(slots=True)
class HeardCall:
    """What was said so far of one call of a tool."""

    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(slots=True)
class Heard:
    """What a model has said so far."""

    finish: Finish | None = None
    """Why the answer ended; None until it has."""
    stop_sequence: str | None = None
    """Which text that was to end it did, where the API says so."""
    usage: Usage | None = None
    """Its tokens, as they were reported."""
    model: object = None
    """What answered."""
    id: object = None
    """What the answer is called."""
    was_refused: bool = False
    """Whether what was said is a refusal."""
    is_over: bool = False
    """Whether nothing can follow."""
    events: int = 0
    """Events that were read."""
    parts: list[str] = field(default_factory=list)
    """Its text, as it was shown."""
    may_call: bool = False
    """Whether it was offered tools."""
    calls: dict[int, HeardCall] = field(default_factory=dict)
    """The calls of tools that it wants, by their place."""

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """Those calls as they are now, in their order."""
        made = (self.calls[place] for place in sorted(self.calls))
        return tuple(
            ToolCall(id=call.id, name=call.name, arguments=call.arguments or "{}") for call in made
        )


def as_sent(text: str) -> str:
    """A text as it can be written in UTF-8: a lone half of a character becomes a question mark."""
    return text.encode("utf-8", "replace").decode()
