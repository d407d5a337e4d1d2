"""What a file is that is no config of its kind: one line instead of a finding for each key."""

from __future__ import annotations

import re
import shlex
from collections.abc import Hashable, Mapping
from typing import Any, NoReturn, cast

from modelyard.configs.kinds import KINDS, Kind
from modelyard.configs.reading.programs import called, find_other_file, program_of
from modelyard.core.errors import Diagnostic, ProblemsFound
from modelyard.settings.fields import settings_fields
from modelyard.settings.yaml_files import YamlSource
from modelyard.settings.yaml_scalars import INVISIBLE

HOLDER = "x-"
"""What a key at the top begins with that holds anchors for the rest of the file, as in compose
files; it is no setting."""

_FEWEST = 2
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


def is_setting(key: Any, kind: Kind) -> bool:
    """Whether a key at the top of a file is one that a kind knows, its header included."""
    known = settings_fields(cast(Hashable, kind.settings_class))
    return key in known or key in kind.header_keys


def _is_mostly(value: Any, kind: Kind) -> bool:
    """Whether more than half of the keys at the top are those of the kind."""
    if not isinstance(value, dict):
        return False
    return sum(is_setting(key, kind) for key in value) * 2 > len(value)


def _other_kind(value: Mapping[Any, Any], kind: Kind) -> Kind | None:
    """The only kind that knows every key, where this one knows half of them at most."""
    if len(value) < _FEWEST or _is_mostly(value, kind):
        return None
    fitting = [other for other in KINDS.values() if all(is_setting(key, other) for key in value)]
    return fitting[0] if len(fitting) == 1 else None


def _refuse_other_program(source: YamlSource) -> None:
    if isinstance(source.value, dict) and (program := program_of(source.value)):
        what = called(program)
        instead: str | None = f"`models config import {shlex.quote(source.name)}` translates it"
    elif other := find_other_file(source.value):
        what, instead = other.called, other.instead
    else:
        return
    _refuse(
        source,
        Diagnostic(
            message=f"this is {what}, and its keys mean nothing here",
            where=source.where(),
            hint=instead or "keep it out of configs/",
            code="other-program",
        ),
        summary=f"{source.name} is {what}",
    )


def _refuse_no_mapping(source: YamlSource) -> NoReturn:
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
