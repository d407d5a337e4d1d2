"""Settings as they may be shown: `****` stands for everything that looks like a secret."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from modelyard.configs.compare import SettingChange
from modelyard.core.errors import Diagnostic
from modelyard.secrets.detection import mask_secrets


def mask_value(key: str, value: Any) -> Any:
    """The value of a setting without secrets; its dotted key says what is one: `api_key`."""
    if isinstance(value, str):
        given = f"{key.rpartition('.')[2].partition('[')[0]}: "
        shown = mask_secrets(given + value)
        return shown.removeprefix(given) if shown.startswith(given) else mask_secrets(value)
    if isinstance(value, Mapping):
        return {mask_secrets(str(name)): mask_value(str(name), one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [mask_value(key, one) for one in value]
    return value


def mask_changes(changes: Iterable[SettingChange]) -> tuple[SettingChange, ...]:
    """Changes of settings without secrets."""
    return tuple(
        replace(
            one,
            key=mask_secrets(one.key),
            before=mask_value(one.key, one.before),
            after=mask_value(one.key, one.after),
        )
        for one in changes
    )


def mask_problems(problems: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Problems that quote no secret."""
    return tuple(
        replace(one, message=mask_secrets(one.message), hint=one.hint and mask_secrets(one.hint))
        for one in problems
    )
