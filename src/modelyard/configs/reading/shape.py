"""Whether a config has the shape of its kind: known keys, right types, values with units.

The settings class decides: it reports every problem in the words of its fields, and is fast enough
for a thousand files. The published JSON Schema is made from the same class (schema.py); a test
checks that both accept the same configs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modelyard.configs.reading.document import Document, resolve
from modelyard.core.errors import Diagnostic, KeyPath
from modelyard.settings.build import build_settings, build_valid_part, rebuild_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Shaped:
    """The settings of a document, and what is wrong with its shape."""

    document: Document
    """The document."""
    settings: Mapping[str, Any]
    """The settings object for each environment asked for; without those that are not valid."""
    problems: tuple[Diagnostic, ...]
    """Everything wrong with its shape, each once."""
    partly: Mapping[str, Any] = field(default_factory=dict)
    """By environment, the settings built from the valid values only; without those that lack
    something required."""
    doubtful: Mapping[str, frozenset[KeyPath]] = field(default_factory=dict)
    """By environment, what was left out of these: no finding may follow from its absence."""


def check_shape(document: Document, environments: tuple[str, ...] | None = None) -> Shaped:
    """Build the settings of a document: without an overlay, and with those of each environment.

    Without `environments`, of every one that is declared.
    """
    if environments is None:
        environments = document.environments.names
    settings_class = document.kind.settings_class
    own = resolve(document)
    base, problems = build_settings(settings_class, own.values, own.where, written=own.written)
    settings: dict[str, Any] = {}
    for environment in environments:
        built = base
        if layers := document.layers(environment):
            merged = resolve(document, environment)
            keys = dict.fromkeys(key for overlay in layers.values() for key in overlay)
            built, wrong = rebuild_settings(
                settings_class, base, merged.values, keys, merged.where, merged.written
            )
            problems += wrong
        if built is not None:
            settings[environment] = built
    if not problems and not document.problems:
        return Shaped(document=document, settings=settings, problems=())
    partly: dict[str, Any] = {}
    doubtful: dict[str, frozenset[KeyPath]] = {}
    for environment in environments:
        tops = {("environments", name) for name in document.layers(environment)}
        doubts = {path[2:] if path[:2] in tops else path for path in document.doubtful}
        values = resolve(document, environment).values
        built, doubtful[environment] = build_valid_part(settings_class, values, doubts)
        if built is not None:
            partly[environment] = built
    reported = {document.source.where(path) for path in document.doubtful}
    each_once = {(problem.where, problem.message): problem for problem in problems}
    return Shaped(
        document=document,
        settings={} if document.problems else settings,
        problems=tuple(found for found in each_once.values() if found.where not in reported),
        partly=partly,
        doubtful=doubtful,
    )
