"""Settings as plain nested mappings, and flat ones with dotted names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, cast


def settings_mapping(settings: Any) -> dict[str, Any]:
    """The settings as nested plain mappings, lists instead of tuples: what YAML and JSON hold."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(one) for one in value]
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
