"""The fields of a settings class: their keys, their types, and the words under them."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, cast, get_type_hints

from modelyard.settings.marks import choices_of, unwrap


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsField:
    """One field of a settings class, as a config file sees it."""

    name: str
    """The attribute."""
    key: str
    """The key: the name without its unit."""
    hint: Any
    """Its type, `Annotated` and all."""
    required: bool
    """Whether it has no default."""


@lru_cache
def settings_fields(settings: type) -> Mapping[str, SettingsField]:
    """The fields of a settings class by their keys."""
    hints = get_type_hints(settings, include_extras=True)
    found: dict[str, SettingsField] = {}
    for field in dataclasses.fields(settings):
        hint = hints[field.name]
        key = field.name.removesuffix(_quantity_suffix(hint))
        no_default = field.default is dataclasses.MISSING
        required = no_default and field.default_factory is dataclasses.MISSING
        found[key] = SettingsField(name=field.name, key=key, hint=hint, required=required)
    return found


def _quantity_suffix(hint: Any) -> str:
    outer = unwrap(hint)
    members = (outer, *(unwrap(choice) for choice in choices_of(outer.hint)[0]))
    return next((one.quantity.suffix for one in members if one.quantity), "")


@lru_cache
def field_docs(settings: type) -> Mapping[str, str]:
    """The docstring line under each field of a settings class, those it inherits included."""
    docs: dict[str, str] = {}
    for one in reversed(settings.__mro__):
        if not dataclasses.is_dataclass(one):
            continue
        tree = ast.parse(textwrap.dedent(inspect.getsource(one)))
        body = cast(ast.ClassDef, tree.body[0]).body
        for statement, following in pairwise(body):
            match (statement, following):
                case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                    docs[name] = inspect.cleandoc(text)
    return docs
