"""How a model is named: one grammar for commands, configs, feedback and records.

    NAME                a base, an adapter or a language model: the project says which
    base:NAME           a base
    OWNER/NAME          a base, by its repository on the Hugging Face hub; also base:OWNER/NAME
    adapter:NAME        an adapter in its active version
    NAME@VERSION        one version of an adapter; also adapter:NAME@VERSION
    model:NAME          a language model of the configs, by its name or an alias
    domain:NAME         whatever answers for a domain
    custom/NAME         a custom model

Says what a text names, not whether there is such a model: `modelyard.modelrefs` does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from modelyard.core.errors import InvalidInput, did_you_mean
from modelyard.core.layout import check_name, is_name

ModelKind = Literal["base", "adapter", "model", "domain", "custom"]

KIND_WORDS: Mapping[ModelKind, str] = {
    "base": "base model",
    "adapter": "adapter",
    "model": "language model",
    "domain": "domain",
    "custom": "custom model",
}
"""What a message calls a model of each kind."""

_CUSTOM = "custom/"
_PREFIXES = [kind for kind in KIND_WORDS if kind != "custom"]
_REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_FORMS = (
    "write NAME, NAME@VERSION, base:NAME, adapter:NAME, model:NAME, domain:NAME or custom/NAME, "
    "where NAME has up to 64 of a-z, 0-9, '.', '_' and '-'"
)


@dataclass(frozen=True, slots=True)
class ModelRef:
    """The name of a model; `str()` writes it as `parse` reads it."""

    kind: ModelKind | None
    """What it names; None for a bare name, which may be of several kinds."""
    name: str
    """Its name among those of its kind; of a base also its repository, `OWNER/NAME`."""
    version: int | None = None
    """The version of an adapter; None for the active one, and for all other kinds."""

    def __str__(self) -> str:
        if self.version is not None:
            return f"{self.name}@{self.version}"
        if self.kind == "custom":
            return f"{_CUSTOM}{self.name}"
        return f"{self.kind}:{self.name}" if self.kind else self.name

    @classmethod
    def parse(cls, text: str, *, kind: ModelKind | None = None) -> ModelRef:
        """The reference that a text is.

        `kind` is the one kind that may stand there: a bare name is of it, and others are refused.
        Raises InvalidInput for a text that is no reference, or one of another kind.
        """
        found, rest = _split_kind(text)
        name, at, number = rest.partition("@")
        if found is None and _REPOSITORY.fullmatch(name):
            found = "base"
        if at and (found or kind or "adapter") != "adapter":
            raise InvalidInput(
                f"{text!r} names a version, and only adapters have versions",
                hint="leave the @ and what follows out",
            )
        found = found or ("adapter" if at else kind)
        if kind and found != kind:
            raise InvalidInput(
                f"{text!r} names {_a(found)}, where {_a(kind)} belongs", hint="name another"
            )
        if found is None and not is_name(name):
            raise InvalidInput(f"{text!r} is not the name of a model", hint=_FORMS)
        if found != "base" or not _REPOSITORY.fullmatch(name):
            check_name(name, KIND_WORDS[found] if found else "model")
        version = version_number(number)
        if at and version is None:
            raise InvalidInput(
                f"{text!r} names no version: a version is a number from 1",
                hint=f"such as {name}@1; without @, the active version is meant",
            )
        return cls(found, name, version)


def version_number(text: str) -> int | None:
    """The number of a version, as it is written after an @ and in the name of its folder."""
    return int(text) if _VERSION.fullmatch(text) else None


def _split_kind(text: str) -> tuple[ModelKind | None, str]:
    """The kind that a text begins with, if it does, and what follows."""
    if text.startswith(_CUSTOM):
        return "custom", text.removeprefix(_CUSTOM)
    prefix, colon, rest = text.partition(":")
    if not colon:
        return None, text
    if prefix not in _PREFIXES:
        near = f" (did you mean '{_CUSTOM}{rest}'?)" if prefix == "custom" else ""
        near = near or did_you_mean(prefix, _PREFIXES)
        raise InvalidInput(f"'{prefix}:' in {text!r} is no kind of model{near}", hint=_FORMS)
    return cast(ModelKind, prefix), rest


def _a(kind: ModelKind | None) -> str:
    words = KIND_WORDS[kind] if kind else "model"
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"
