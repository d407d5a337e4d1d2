"""The fields of a settings class (keys, types, docstrings), and settings as plain mappings."""

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

from modelyard.settings.marks import quantity_of


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
        quantity = quantity_of(hint)
        key = field.name.removesuffix(quantity.suffix if quantity else "")
        required = field.default is field.default_factory is dataclasses.MISSING
        found[key] = SettingsField(name=field.name, key=key, hint=hint, required=required)
    return found


@lru_cache
def field_docs(settings: type) -> Mapping[str, str]:
    """The docstring line under each field of a settings class, those it inherits included."""
    docs: dict[str, str] = {}
    for owner in filter(dataclasses.is_dataclass, reversed(settings.__mro__)):
        tree = ast.parse(textwrap.dedent(inspect.getsource(owner)))
        for statement, following in pairwise(cast(ast.ClassDef, tree.body[0]).body):
            match (statement, following):
                case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                    docs[name] = inspect.cleandoc(text)
    return docs


def settings_mapping(settings: Any) -> dict[str, Any]:
    """The settings as nested plain mappings, lists instead of tuples: what YAML and JSON hold."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return value

    return cast(dict[str, Any], plain(dataclasses.asdict(settings)))


def flatten_settings(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted names, such as `lora.rank`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten_settings(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
