"""What a file is that is no config of its kind: one line instead of a finding for each key."""

from __future__ import annotations

import re
import shlex
from collections.abc import Hashable, Mapping
from typing import Any, NoReturn, cast

from modelyard.configs.kinds import KINDS, Kind
from modelyard.configs.reading.programs import called, find_other_file, find_other_text, program_of
from modelyard.core.errors import Diagnostic, ProblemsFound
from modelyard.core.seen_from import STDIN
from modelyard.settings.fields import settings_fields
from modelyard.settings.known_keys import meant_key
from modelyard.settings.yaml_files import YamlSource
from modelyard.settings.yaml_scalars import INVISIBLE

HOLDER = "x-"
"""What a key at the top begins with that holds anchors for the rest of the file, as in compose
files; it is no setting."""

_FEWEST = 2
_FEWEST_STRANGE = 3
"""So many keys of which nobody can say what was meant are no slip."""
_LONGEST_SHOWN = 40
_NO_SPACE = re.compile(r"[\w\"'-]+:\S")
_ASSIGNMENT = re.compile(r"\[?[\w.-]+\]? *=|\[[\w.-]+\]")


def require_config(source: YamlSource, kind: Kind | None) -> None:
    """Return where a document may be a config; `kind` is None where it is not known.

    Raises ProblemsFound for what is no mapping, for a file of another program, and for a config of
    another kind.
    """
    if kind is None or not _is_mostly(source.value, kind):
        _refuse_other_program(source)
    if kind is None:
        return
    if not isinstance(source.value, dict):
        if source.problems:
            raise ProblemsFound(f"{source.name} is not valid", source.problems)
        _refuse_no_mapping(source)
    if not _is_mostly(source.value, kind):
        _refuse_strange(source, kind)
    if other := _other_kind(source.value, kind):
        _refuse(
            source,
            Diagnostic(
                message=f"these are the settings of a {other.noun}, and the file is read as a "
                f"{kind.noun}",
                where=source.where(),
                hint=f"move it to {other.place}",
                code="other-kind",
            ),
        )


def refuse_other_text(text: str, name: str) -> None:
    """Return where a text that is no YAML looks like no file of another program.

    Raises ProblemsFound where it does.
    """
    if other := find_other_text(text):
        _refuse_file_of(name, f"{name}:1:1", other.called, "it means", other.instead)


def is_setting(key: Any, kind: Kind) -> bool:
    """Whether a key at the top of a file is one that a kind knows, its header included."""
    known = settings_fields(cast(Hashable, kind.settings_class))
    return key in known or key in kind.header_keys


def _is_mostly(value: Any, kind: Kind) -> bool:
    """Whether more than half of the keys at the top are those of the kind."""
    if not isinstance(value, dict):
        return False
    known = settings_fields(cast(Hashable, kind.settings_class)).keys()
    return sum(key in known or key in kind.header_keys for key in value) * 2 > len(value)


def _other_kind(value: Mapping[Any, Any], kind: Kind) -> Kind | None:
    """The only kind that knows every key, where this one knows half of them at most."""
    if len(value) < _FEWEST or _is_mostly(value, kind):
        return None
    fitting = [other for other in KINDS.values() if all(is_setting(key, other) for key in value)]
    return fitting[0] if len(fitting) == 1 else None


def _refuse_other_program(source: YamlSource) -> None:
    if isinstance(source.value, dict) and (program := program_of(source.value)):
        file = "FILE" if source.name == STDIN else shlex.quote(source.name)
        instead = f"`models config import {file}` translates it"
        if source.name == STDIN:
            instead = f"save it in a file: {instead}"
        _refuse_file_of(source.name, source.where(), called(program), "its keys mean", instead)
    elif other := find_other_file(source.value):
        _refuse_file_of(source.name, source.where(), other.called, "its keys mean", other.instead)


def _refuse_file_of(name: str, where: str, what: str, means: str, instead: str | None) -> NoReturn:
    finding = Diagnostic(
        message=f"this is {what}, and {means} nothing here",
        where=where,
        hint=instead or "keep it out of configs/",
        code="other-program",
    )
    raise ProblemsFound(f"{name} is {what}", [finding])


def _refuse_strange(source: YamlSource, kind: Kind) -> None:
    """Refuse a file of whose keys hardly one is known, or like one that is."""
    known = [key for key in source.value if is_setting(key, kind)]
    strange = [
        key
        for key in source.value
        if key not in known and meant_key(kind.settings_class, (key,)) is None
    ]
    if (
        len(strange) < _FEWEST_STRANGE
        or len(strange) < 2 * len(known)
        or _other_kind(source.value, kind)
    ):
        return
    from modelyard.secrets.values import shorten_masked

    shown = shorten_masked(", ".join(map(str, strange)), _LONGEST_SHOWN)
    _refuse(
        source,
        Diagnostic(
            message=f"this is no {kind.noun}: nothing here is called {shown}",
            where=source.where(),
            hint="it looks like a file of another program: keep it out of configs/; the keys of a "
            f"{kind.noun} are those of `models config schema {kind.name}`",
            code="other-program",
        ),
    )


def _refuse_no_mapping(source: YamlSource) -> NoReturn:
    if isinstance(source.value, str):
        refuse_other_text(source.text, source.name)
    value, hint = source.value, None
    message = "a config is a mapping of keys to values"
    if value is None:
        message = "the file is empty"
    elif isinstance(value, list):
        message += ", and this is a list"
        hint = "write `KEY: VALUE`, without `- ` before the keys"
    else:
        from modelyard.secrets.values import shorten_masked  # only where something is wrong

        shown = shorten_masked(" ".join(str(value).split()), _LONGEST_SHOWN)
        message += f", and YAML reads this as one value: {shown}"
        hint = _advice(str(value))
    _refuse(
        source,
        Diagnostic(message=message, where=source.where(), hint=hint, code="not-a-mapping"),
    )


def _advice(text: str) -> str:
    """How a text that was meant as keys and values is written."""
    for letter, name in (*INVISIBLE.items(), ("\uff1a", "a wide colon")):
        if letter in text:
            return f"there is {name} (U+{ord(letter):04X}) in it: type it again"
    if _NO_SPACE.match(text):
        return "a space follows each colon: `KEY: VALUE`"
    if _ASSIGNMENT.match(text):
        return "this looks like TOML, INI or .env; in YAML it is `KEY: VALUE`"
    return "write `KEY: VALUE`"


def _refuse(source: YamlSource, problem: Diagnostic, *, summary: str | None = None) -> NoReturn:
    raise ProblemsFound(summary or f"{source.name} is not valid", [problem])
