"""Overlays that say nothing: what stands there changes nothing, and is mostly a slip."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from modelyard.configs.checking.meaning.mistake import Mistake, warning
from modelyard.configs.reading.document import Document
from modelyard.core.errors import KeyPath, dotted


def check_overlays(document: Document) -> Iterator[Mistake]:
    """Overlays that are empty, and values that are those of the base."""
    written = document.source.value
    if "environments" in written and not written["environments"]:
        message = "'environments' is empty, so that every environment is the same"
        yield warning(("environments",), "empty-overlay", message, hint="leave it out")
    for environment, overlay in document.overlays.items():
        path: KeyPath = ("environments", environment)
        if not overlay:
            message = f"'{dotted(path)}' is empty, and changes nothing"
            yield warning(path, "empty-overlay", message, hint="leave it out")
        else:
            yield from _check_group(overlay, written, path)


def _check_group(
    above: Mapping[str, Any], below: Mapping[str, Any], path: KeyPath
) -> Iterator[Mistake]:
    for key, value in above.items():
        if key not in below or key in ("name", "environments"):
            continue
        under, spot = below[key], (*path, key)
        if isinstance(value, dict) and isinstance(under, dict):
            if value:
                yield from _check_group(value, under, spot)
            else:
                message = f"'{dotted(spot)}' is empty, and changes nothing"
                yield warning(spot, "empty-overlay", message, hint="leave it out")
        elif type(value) is type(under) and value == under:
            yield warning(
                spot,
                "same-as-base",
                f"'{dotted(spot)}' says what holds without it",
                hint="leave it out, so that a change of the base reaches this environment too",
            )
