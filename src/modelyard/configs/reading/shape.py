"""Whether a config has the shape of its kind: known keys, right types, values with units.

The settings class decides: it reports every problem in the words of its fields, and is fast enough
for a thousand files. The published JSON Schema is made from the same class (schema.py); a test
checks that both accept the same configs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from modelyard.configs.reading.document import Document, resolve
from modelyard.configs.reading.given import GIVEN
from modelyard.core.errors import Diagnostic, KeyPath, dotted
from modelyard.settings.build import Parts, build_valid_part, build_whole, rebuild_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Shaped:
    """The settings of a document, and what is wrong with its shape."""

    document: Document
    """The document."""
    settings: Mapping[str, Any]
    """The settings object for each environment asked for; without those that are not valid."""
    problems: tuple[Diagnostic, ...]
    """Everything wrong with its shape, each once."""
    partly: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """By environment, the settings built from the valid values only; where something required is
    missing, one for each of several values in its place, all of which must give a finding."""
    doubtful: Mapping[str, frozenset[KeyPath]] = field(default_factory=dict)
    """By environment, what was left out of these or filled in: no finding may follow from it."""


def check_shape(document: Document, environments: tuple[str, ...] | None = None) -> Shaped:
    """Build the settings of a document: without an overlay, and with those of each environment.

    Without `environments`, of every one that is declared.
    """
    if environments is None:
        environments = document.environments.names
    settings_class = document.kind.settings_class
    own = resolve(document)
    parts: Parts = {}
    base, problems = build_whole(settings_class, own.values, own.where, own.written, parts)
    settings: dict[str, Any] = {}
    values = dict.fromkeys(environments, own.values)
    for environment in environments:
        built = base
        if layers := document.layers(environment):
            merged = resolve(document, environment)
            values[environment] = merged.values
            keys = dict.fromkeys(key for overlay in layers.values() for key in overlay)
            built, wrong = rebuild_settings(
                settings_class, base, merged.values, keys, merged.where, merged.written, parts
            )
            lacking = {problem.path for problem in problems if problem.code == "missing"}
            problems += _say_resets(wrong, lacking, document, environment)
        if built is not None:
            settings[environment] = built
    if not problems and not document.problems:
        return Shaped(document=document, settings=settings, problems=())
    partly: dict[str, Sequence[Any]] = {}
    doubtful: dict[str, frozenset[KeyPath]] = {}
    for environment in environments:
        tops = {("environments", name) for name in document.layers(environment)}
        doubts = {path[2:] if path[:2] in tops else path for path in document.doubtful}
        partly[environment], doubtful[environment] = build_valid_part(
            settings_class, values[environment], doubts, parts
        )
    reported = {document.source.where(path) for path in document.doubtful}
    each_once = {(problem.where, problem.message): problem for problem in problems}
    return Shaped(
        document=document,
        settings={} if document.problems else settings,
        problems=tuple(found for found in each_once.values() if found.where not in reported),
        partly=partly,
        doubtful=doubtful,
    )


def _say_resets(
    problems: Iterable[Diagnostic], lacking: set[KeyPath], document: Document, environment: str
) -> Iterator[Diagnostic]:
    """The problems of an environment, where a required value is missing there because of a null:
    its place, unless the value is `lacking` everywhere."""
    layers = document.layers(environment)
    for problem in problems:
        reset = None
        if problem.code == "missing" and problem.path not in lacking:
            resets = (_reset_at(name, layers[name], problem.path) for name in reversed(layers))
            reset = next(filter(None, resets), None)
        if reset is None:
            yield problem
            continue
        layer, path = reset
        top = () if layer == GIVEN else ("environments", layer)
        yield replace(
            problem,
            message=f"'{dotted((*top, *path))}' is null, and '{dotted(problem.path)}' is required",
            where=document.where_in(layer, path),
            hint="null resets to the default, and this has none: write a value, or leave it out",
        )


def _reset_at(layer: str, overlay: Any, path: KeyPath) -> tuple[str, KeyPath] | None:
    """Where an overlay has null on the way to a path, if it has."""
    for depth, step in enumerate(path):
        if not isinstance(overlay, Mapping) or step not in overlay:
            return None
        overlay = overlay[step]
        if overlay is None:
            return layer, path[: depth + 1]
    return None
