"""A Modelfile for ollama: which base, which adapter, how a conversation is written.

ollama's templates are Go's. One is made when turns of a conversation are written one after the
other, each between fixed texts, and it is proven on conversations that the chat template renders.
Source: ollama's Modelfile reference (FROM, ADAPTER, TEMPLATE, PARAMETER stop).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from modelyard.core.errors import InvalidInput

Turn = tuple[str, str]
"""A role (`system`, `user`, `assistant`) and what it says."""
Render = Callable[[Sequence[Turn]], str]
"""A conversation as the model reads it, up to where its answer begins."""

_MARKS = {"system": "⟦s⟧", "user": "⟦u⟧", "assistant": "⟦a⟧"}


@dataclass(frozen=True, slots=True)
class TurnTemplate:
    """The fixed texts around the turns of a conversation."""

    opening: str
    """What stands first when there is no system message: often one the template brings along."""
    around: Mapping[str, tuple[str, str]]
    """What stands before and after what each role says."""
    answer: str
    """What begins the answer."""

    def render(self, turns: Sequence[Turn]) -> str:
        """What the Go template gives for a conversation."""
        opening = "" if turns and turns[0][0] == "system" else self.opening
        said = [f"{self.around[role][0]}{text}{self.around[role][1]}" for role, text in turns]
        return f"{opening}{''.join(said)}{self.answer}"

    def go(self) -> str:
        """The same as a Go template over ollama's .Messages."""
        opening = ""
        if self.opening:
            first = '{{ if ne (index .Messages 0).Role "system" }}'
            opening = f"{first}{self.opening}{{{{ end }}}}"
        roles = [
            f'{{{{ if eq .Role "{role}" }}}}{before}{{{{ .Content }}}}{after}{{{{ end }}}}'
            for role, (before, after) in self.around.items()
        ]
        body = "".join(roles)
        return f"{opening}{{{{ range .Messages }}}}{body}{{{{ end }}}}{self.answer}"


def find_turn_template(render: Render) -> TurnTemplate | None:
    """The fixed texts of a chat template, None when it is not of that kind.

    Accepted only when it writes 24 conversations, of one to five turns, exactly as `render` does.
    """
    try:
        found = _derive(render)
        return found if found and _holds(found, render) else None
    except (InvalidInput, ValueError):  # it refuses a conversation, or changes what was said
        return None


def _derive(render: Render) -> TurnTemplate | None:
    """The texts between marked turns. Where one ends and the next begins is a guess, to be proven.

    The guess is that turns open alike: with the longest beginning of the system turn that the
    answer's opening has too, such as `<|im_start|>`.
    """
    system, user, assistant = _MARKS.values()
    alone, _ = render([("user", user)]).split(user)
    talk = render([("system", system), ("user", user), ("assistant", assistant), ("user", user)])
    before_system, rest = talk.split(system)
    middle, between, tail = rest.split(user)
    before_answer, after_answer = between.split(assistant)
    opener = before_system
    while opener not in tail:
        opener = opener[:-1]

    user_before = alone
    while not (middle.endswith(user_before) and after_answer.endswith(user_before)):
        user_before = user_before[1:]
    answer = ""
    if opener:
        user_before = user_before[max(0, user_before.rfind(opener)) :]
        answer = tail[tail.rfind(opener) :]
    user_after = tail.removesuffix(answer)
    if not before_answer.startswith(user_after):
        return None
    return TurnTemplate(
        alone.removesuffix(user_before),
        {
            "system": (before_system, middle.removesuffix(user_before)),
            "user": (user_before, user_after),
            "assistant": (
                before_answer.removeprefix(user_after),
                after_answer.removesuffix(user_before),
            ),
        },
        answer,
    )


def _holds(found: TurnTemplate, render: Render) -> bool:
    said = ("a", "Two\nlines", "  spaces  ", "«quoted» {braces}")
    for system, count, start in product((False, True), (1, 3, 5), range(4)):
        turns: list[Turn] = [("system", said[start])] if system else []
        turns += [
            ("assistant" if place % 2 else "user", said[(start + place) % 4])
            for place in range(count)
        ]
        if found.render(turns) != render(turns):
            return False
    return True


def build_modelfile(
    *, base: str, adapter: str, template: TurnTemplate | None, stops: Sequence[str]
) -> str:
    """The text of a Modelfile. `adapter` is relative to it, `base` whatever FROM accepts.

    Raises InvalidInput when a text would end the place it stands in: the format has no escapes.
    """
    template_text = template.go() if template else ""
    if '"""' in template_text or template_text.endswith('"'):
        raise InvalidInput("the chat template cannot be written in a Modelfile")
    for text in (base, adapter, *stops):
        if any(mark in text for mark in '"\n\r'):
            raise InvalidInput(f"{text!r} cannot be written in a Modelfile")
    lines = [
        "# FROM may also name a GGUF file of the same base, or the same base in ollama's library.",
        "# On any other base the adapter's answers mean nothing.",
        f"FROM {base}",
        f"ADAPTER {adapter}",
    ]
    if template is None:
        lines.append(
            "# No TEMPLATE: this chat template has no form in Go; ollama takes the base's."
        )
    else:
        lines.append(f'TEMPLATE """{template_text}"""')
    lines += [f'PARAMETER stop "{stop}"' for stop in stops]
    return "\n".join(lines) + "\n"
