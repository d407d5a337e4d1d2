"""What differs between two configs, or between two states of everything that is live.

A side is named by `CONFIG`, `CONFIG@ENVIRONMENT`, `ENVIRONMENT` (what is live there now) or
`ENVIRONMENT@REVISION`. Resolved values are compared, defaults included: `60 seconds` and `1 min`
are the same, and so are a default and the same value written out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from modelyard.configs.compare import (
    Difference,
    SettingChange,
    compare_flat,
    compare_settings,
    mask_changes,
    mask_problems,
    without_empty,
)
from modelyard.configs.environments import did_you_mean_environment
from modelyard.configs.fields import SettingValue, walk_settings
from modelyard.configs.kinds import DEFAULT_ENVIRONMENT, KINDS
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.configs.reading.document import resolve
from modelyard.core.errors import InvalidInput, KeyPath, ProblemsFound, dotted
from modelyard.deployments.revisions import known_environments, load_revision, load_snapshot
from modelyard.deployments.running import running_snapshot
from modelyard.deployments.snapshot import split_label
from modelyard.settings.build import build_settings


@dataclass(frozen=True, slots=True)
class _Config:
    """One config of a side: its resolved values, and how they are written."""

    holds: Mapping[KeyPath, Any]
    written: Mapping[str, Any]
    """By dotted key; a default as it would be written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigDifference:
    """What differs in one config."""

    config: str
    """Its label, KIND/NAME; of two configs that are compared, that of the second."""
    change: Difference
    """Whether it was added, changed or removed."""
    settings: tuple[SettingChange, ...] = ()
    """The settings that differ, when both sides have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigsDiff:
    """What differs between two sides."""

    before: str
    """The first side, in full."""
    after: str
    """The second side, in full."""
    configs: tuple[ConfigDifference, ...]
    """The configs that differ, by label."""
    profiles: tuple[SettingChange, ...] = ()
    """The domains for which `models switch-config` chose different profiles."""


@dataclass(frozen=True, slots=True)
class _Side:
    name: str
    configs: Mapping[str, _Config]
    profiles: Mapping[str, str] | None
    """None for a single config, which has none."""


def diff_configs(
    catalogue: ConfigCatalogue, before: str, after: str, *, environment: str | None = None
) -> ConfigsDiff:
    """Compare two sides; `environment` is that of a config which does not name its own.

    Raises InvalidInput for a side that names nothing and for configs of two kinds, ProblemsFound
    for a config that is not valid, NotDeployed for an environment in which nothing is live.
    """
    if environment is not None:
        catalogue.environments.require(environment)
    first, second = _named(catalogue, before), _named(catalogue, after)
    before_side = first.load(catalogue, environment or second.live_environment)
    after_side = second.load(catalogue, environment or first.live_environment)
    profiles: tuple[SettingChange, ...] = ()
    if before_side.profiles is not None and after_side.profiles is not None:
        configs = _all_configs(before_side.configs, after_side.configs)
        profiles = compare_settings(before_side.profiles, after_side.profiles)
    elif before_side.profiles is None and after_side.profiles is None:
        configs = _two_configs(before_side, after_side)
    else:
        configs = _config_and_live(before_side, after_side)
    return ConfigsDiff(
        before=before_side.name,
        after=after_side.name,
        configs=tuple(configs),
        profiles=profiles,
    )


@dataclass(frozen=True, slots=True)
class _Word:
    """The parsed name of one side."""

    config: str | None
    environment: str | None
    revision: int | None

    @property
    def live_environment(self) -> str | None:
        """The environment whose live configs it names: a config beside it is resolved for it."""
        return self.environment if self.config is None else None

    def load(self, catalogue: ConfigCatalogue, environment: str | None) -> _Side:
        if self.config is not None:
            return _load_config(catalogue, self.config, self.environment or environment)
        assert self.environment is not None
        return _load_live(catalogue, self.environment, self.revision)


def _named(catalogue: ConfigCatalogue, word: str) -> _Word:
    known = known_environments(catalogue.project)
    if word in known:
        return _Word(None, word, None)
    name, at, last = word.rpartition("@")
    if at and name in known:
        if not (last.isascii() and last.isdigit()):
            raise InvalidInput(f"{last!r} is not the number of a revision", where=word)
        return _Word(None, name, int(last))
    if at and last in known:
        return _Word(name, last, None)
    if at and "/" not in last and "." not in last:
        raise InvalidInput(
            f"there is no environment {last!r}{did_you_mean_environment(last, known)}", where=word
        )
    return _Word(word, None, None)


def _load_config(catalogue: ConfigCatalogue, word: str, environment: str | None) -> _Side:
    document = catalogue.read(catalogue.locate(word))
    if environment is not None:
        catalogue.environments.require(environment)
    resolved = resolve(document, environment)
    settings, problems = build_settings(
        document.kind.settings_class, resolved.values, resolved.where
    )
    if problems:
        raise ProblemsFound(f"{document.source.name} is not valid", mask_problems(problems))
    name = document.source.name + (f" in {environment}" if environment else "")
    return _Side(name, {document.label: _config(document.label, settings, resolved.values)}, None)


def _load_live(catalogue: ConfigCatalogue, environment: str, number: int | None) -> _Side:
    if number is None and environment == DEFAULT_ENVIRONMENT:
        name, (_, snapshot) = environment, running_snapshot(catalogue.project, environment)
    else:
        revision = load_revision(catalogue.project, environment, number)
        name = f"{environment}@{revision.number}"
        snapshot = load_snapshot(catalogue.project, environment, revision.number)
    configs = {
        label: _config(label, snapshot.settings(label), content.values)
        for label, content in snapshot.configs.items()
    }
    return _Side(name, configs, snapshot.profiles)


def _config(label: str, settings: Any, values: Mapping[str, Any]) -> _Config:
    owner = KINDS[split_label(label)[0]].settings_class
    places = list(walk_settings(owner, settings))
    return _Config(
        holds={place.path: place.written for place in places},
        written={dotted(place.path): _as_written(place, values) for place in places},
    )


def _as_written(place: SettingValue, values: Any) -> Any:
    for step in place.path:
        try:
            values = values[step]
        except (KeyError, IndexError, TypeError):
            return place.written
    return values


def _two_configs(before_side: _Side, after_side: _Side) -> Iterator[ConfigDifference]:
    (before,), (after,) = before_side.configs, after_side.configs
    kinds = [split_label(label)[0] for label in (before, after)]
    if kinds[0] != kinds[1]:
        raise InvalidInput(
            f"{before_side.name} is of {kinds[0]}, and {after_side.name} of {kinds[1]}",
            hint="compare configs of one kind",
        )
    yield from _changed(after, before_side.configs[before], after_side.configs[after])


def _config_and_live(before_side: _Side, after_side: _Side) -> Iterator[ConfigDifference]:
    """The single config against the live config of its label."""
    (label,) = before_side.configs if before_side.profiles is None else after_side.configs
    live = after_side if before_side.profiles is None else before_side
    if label not in live.configs:
        raise InvalidInput(f"{label} is not deployed in {live.name}")
    yield from _changed(label, before_side.configs[label], after_side.configs[label])


def _all_configs(
    before: Mapping[str, _Config], after: Mapping[str, _Config]
) -> Iterator[ConfigDifference]:
    for label in sorted({*before, *after}):
        if label in before and label in after:
            yield from _changed(label, before[label], after[label])
        else:
            yield ConfigDifference(config=label, change="removed" if label in before else "added")


def _changed(label: str, before: _Config, after: _Config) -> Iterator[ConfigDifference]:
    changes = tuple(
        replace(change, before=before.written.get(change.key), after=after.written.get(change.key))
        for change in compare_flat(before.holds, after.holds)
    )
    if changes:
        said = mask_changes(without_empty(changes))
        yield ConfigDifference(config=label, change="changed", settings=said)
