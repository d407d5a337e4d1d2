"""Whether a config has the shape of its kind: known keys, right types, values with units.

The settings class is the judge here: it names every problem in the words of its fields, and it is
fast enough for a thousand files. The published JSON Schema is made from the same class (schema.py);
a test holds both to one verdict.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from modelyard.configs.kinds import ENVIRONMENTS
from modelyard.configs.reading.document import (
    Document,
    merge,
    own_settings,
    written_numbers,
    written_where,
)
from modelyard.core.errors import Diagnostic, KeyPath
from modelyard.settings.build import build_settings, build_valid_part, rebuild_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Shaped:
    """A document held against its settings class."""

    document: Document
    """The document."""
    settings: Mapping[str, Any]
    """The settings object for each environment asked for; without those that are not valid."""
    problems: tuple[Diagnostic, ...]
    """Everything wrong with its shape, each once."""
    partly: Mapping[str, Any] = field(default_factory=dict)
    """By environment, the settings of what is valid where not all of it is; without those that lack
    something required."""
    doubtful: Mapping[str, frozenset[KeyPath]] = field(default_factory=dict)
    """By environment, what had to be left out of these, so that nothing follows from its lack."""


def check_shape(document: Document, environments: tuple[str, ...] = ENVIRONMENTS) -> Shaped:
    """Build the settings of a document: without an overlay, and with that of each environment."""
    settings_class = document.kind.settings_class
    own = own_settings(document)
    written = written_numbers(document)
    base, problems = build_settings(settings_class, own.values, own.where, written=written)
    settings: dict[str, Any] = {}
    for environment in environments:
        built = base
        if overlay := document.overlays.get(environment):
            values, where = merge(own.values, overlay), written_where(document, environment)
            numbers = written and written_numbers(document, environment)
            built, wrong = rebuild_settings(settings_class, base, values, overlay, where, numbers)
            problems += wrong
        if built is not None:
            settings[environment] = built
    each_once = {(problem.where, problem.message): problem for problem in problems}
    if not each_once and not document.problems:
        return Shaped(document=document, settings=settings, problems=())
    return _partly_shaped(document, environments, settings, each_once.values())


def _partly_shaped(
    document: Document,
    environments: tuple[str, ...],
    settings: dict[str, Any],
    problems: Iterable[Diagnostic],
) -> Shaped:
    """What can be said of a document that is not valid, without a second word at one place."""
    partly: dict[str, Any] = {}
    doubtful: dict[str, frozenset[KeyPath]] = {}
    own = own_settings(document).values
    for environment in environments:
        overlay = document.overlays.get(environment)
        values = merge(own, overlay) if overlay else own
        doubts = set(document.doubtful)
        top = ("environments", environment)
        doubts |= {path[2:] for path in document.doubtful if path[:2] == top}
        built, left_out = build_valid_part(document.kind.settings_class, values, doubts)
        doubtful[environment] = left_out
        if built is not None:
            partly[environment] = built
    said = {document.source.where(path) for path in document.doubtful}
    return Shaped(
        document=document,
        settings={} if document.problems else settings,
        problems=tuple(problem for problem in problems if problem.where not in said),
        partly=partly,
        doubtful=doubtful,
    )
