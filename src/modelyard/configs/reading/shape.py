"""Whether a config has the shape of its kind: known keys, right types, values with units.

The settings class is the judge here: it names every problem in the words of its fields, and it is
fast enough for a thousand files. The published JSON Schema is made from the same class (schema.py);
a test holds both to one verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelyard.configs.kinds import ENVIRONMENTS
from modelyard.configs.reading.document import Document, own_settings, resolve
from modelyard.core.errors import Problem
from modelyard.core.settings import build_settings, rebuild_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Shaped:
    """A document held against its settings class."""

    document: Document
    """The document."""
    settings: Mapping[str, Any]
    """The settings object for each environment asked for; without those that are not valid."""
    problems: tuple[Problem, ...]
    """Everything wrong with its shape, each once."""


def check_shape(document: Document, environments: tuple[str, ...] = ENVIRONMENTS) -> Shaped:
    """Build the settings of a document: without an overlay, and with that of each environment."""
    settings_class = document.kind.settings_class
    own = own_settings(document)
    base, problems = build_settings(settings_class, own.values, own.where)
    settings: dict[str, Any] = {}
    for environment in environments:
        built = base
        if overlay := document.overlays.get(environment):
            resolved = resolve(document, environment)
            built, wrong = rebuild_settings(
                settings_class, base, resolved.values, overlay, resolved.where
            )
            problems += wrong
        if built is not None:
            settings[environment] = built
    each_once = {(problem.where, problem.message): problem for problem in problems}
    return Shaped(document=document, settings=settings, problems=tuple(each_once.values()))
