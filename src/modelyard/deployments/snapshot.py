"""Everything that is live in an environment at once: resolved configs, and profiles by domain."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, cast

from modelyard.configs.kinds import KINDS
from modelyard.configs.kinds.language_models import models_named
from modelyard.configs.reading.given import GIVEN
from modelyard.configs.reading.references import ConfigReference, references
from modelyard.core.errors import Diagnostic, ProblemsFound, dotted
from modelyard.core.json_reading import parse_json
from modelyard.settings.build import build_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """The resolved settings of one config in one environment."""

    text: str
    """Its settings as JSON, in the order in which they were written."""
    digest: str
    """SHA-256 of the settings, independent of the order of their keys."""
    origins: str | None = field(default=None, compare=False, repr=False)
    """Where each setting was written when it was deployed, as `render_origins` gives it; None for
    what is not deployed, or was by a version of modelyard that kept no lines."""

    @property
    def values(self) -> dict[str, Any]:
        """The settings as written: `5 seconds`."""
        return cast(dict[str, Any], parse_json(self.text))

    @property
    def given(self) -> tuple[str, ...]:
        """The dotted keys of the settings that `--set` gave when it was deployed."""
        return given_keys(self.origins)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything that is live in an environment at once."""

    configs: Mapping[str, Content] = field(default_factory=dict)
    """Each config's settings, by its label KIND/NAME."""
    profiles: Mapping[str, str] = field(default_factory=dict)
    """The performance profile that `models switch-config` chose, by domain."""
    of_drafts: bool = False
    """Whether these are the files under `configs/` as they are now; no part of the identity."""

    @property
    def digests(self) -> dict[str, str]:
        """The digest of each config, by its label."""
        return {label: self.configs[label].digest for label in sorted(self.configs)}

    @property
    def digest(self) -> str:
        """SHA-256 of all of it."""
        return snapshot_digest(self.digests, self.profiles)

    def names(self, kind: str) -> list[str]:
        """The names of the configs of a kind."""
        return [name for found, name in map(split_label, sorted(self.configs)) if found == kind]

    def settings(self, label: str) -> Any:
        """The settings object of a config; None when it is not live.

        Raises ProblemsFound when it is not valid for this version of modelyard.
        """
        content = self.configs.get(label)
        if content is None:
            return None
        built, problems = _build(label, content.text)
        if not problems:
            return built
        if self.of_drafts:
            raise ProblemsFound(
                f"{label} is not valid", problems, hint="`models validate-config` shows each line"
            )
        raise ProblemsFound(f"{label}, as deployed, is not valid", problems)


def snapshot_facts(digests: Mapping[str, str], profiles: Mapping[str, str]) -> str:
    """The identity of a snapshot as JSON: digests by config, profiles by domain."""
    return _canonical({"configs": dict(digests), "profiles": dict(profiles)})


def snapshot_digest(digests: Mapping[str, str], profiles: Mapping[str, str]) -> str:
    """SHA-256 of a snapshot with these digests by config, and profiles by domain."""
    return sha256_text(snapshot_facts(digests, profiles))


def content_of(values: Mapping[str, Any], origins: str | None = None) -> Content:
    """Resolved settings as content."""
    text = json.dumps(values, ensure_ascii=False)
    return Content(text=text, digest=sha256_text(_canonical(values)), origins=origins)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a deployed setting was written."""

    layer: str
    """`base`, the environment whose overlay sets it, or `--set`."""
    where: str
    """`file:line:col` in the project, as the file was when it was deployed; or `--set KEY`."""


def render_origins(file: str, origins: Mapping[str, Origin]) -> str:
    """The origins of a config's settings by dotted key, as JSON; `file` is written once."""
    places = {
        key: (origin.layer, origin.where.removeprefix(f"{file}:"))
        for key, origin in origins.items()
    }
    return _canonical({"file": file, "settings": places})


def parse_origins(text: str | None) -> dict[str, Origin]:
    """The origins by dotted key that `render_origins` wrote; empty without any."""
    if text is None:
        return {}
    kept = parse_json(text, where="the origins of a deployed config")
    return {
        key: Origin(layer, place if layer == GIVEN else f"{kept['file']}:{place}")
        for key, (layer, place) in kept["settings"].items()
    }


def given_keys(text: str | None) -> tuple[str, ...]:
    """The dotted keys that `--set` gave, in a text of `render_origins`."""
    if text is None or GIVEN not in text:
        return ()
    return tuple(key for key, origin in parse_origins(text).items() if origin.layer == GIVEN)


def split_label(label: str) -> tuple[str, str]:
    """Kind and name of a label; the one integration config has its kind's name."""
    kind, _, name = label.partition("/")
    return kind, name or kind


def sha256_text(text: str) -> str:
    """The SHA-256 of a text, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical(values: Any) -> str:
    return json.dumps(values, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


@lru_cache(maxsize=1024)
def _build(label: str, text: str) -> tuple[Any, Sequence[Diagnostic]]:
    """The settings object of a config, and what is wrong with it."""
    kind, _ = split_label(label)
    return build_settings(
        KINDS[kind].settings_class,
        parse_json(text, where=label),
        lambda path: f"{label}, {dotted(path)}" if path else label,
    )


def names_missing_config(reference: ConfigReference, snapshot: Snapshot) -> bool:
    """Whether a reference names a config, or a part of one, that is not live.

    False for a reference to something else: a base model, an adapter, a dataset.
    """
    if reference.to != "search_domains":
        return (
            reference.to in KINDS and f"{reference.to}/{reference.target}" not in snapshot.configs
        )
    group, _, domain = reference.target.rpartition("/")
    groups = [group] if group else snapshot.names("embedding_models")
    settings = (snapshot.settings(f"embedding_models/{name}") for name in groups)
    return not any(found is not None and domain in found.domains for found in settings)


def require_distinct_names(snapshot: Snapshot, environment: str) -> None:
    """Return if no two live language models claim one name. Raises ProblemsFound otherwise."""
    names = snapshot.names("language_models")
    models = {name: snapshot.settings(f"language_models/{name}") for name in names}
    problems = [
        Diagnostic(
            message=f"'{alias}' would be a name of {' and '.join(claimants)}",
            where=f"language_models/{name}, aliases",
            hint=f"deploy {' and '.join(claimants)} together, with the name on one of them",
            code="name-taken",
        )
        for name, model in models.items()
        for alias in model.aliases
        if len(claimants := models_named(alias, models)) > 1
    ]
    if problems:
        raise ProblemsFound(f"two models in {environment} would share a name", problems)


def require_closed(snapshot: Snapshot, environment: str) -> None:
    """Return if every config that a live one names is live too. Raises ProblemsFound otherwise."""
    problems = [
        Diagnostic(
            message=f"names {reference.target}, which would not be live",
            where=f"{label}, {dotted(reference.path)}",
            hint=f"deploy {label} as well",
            code="not-live",
        )
        for label in sorted(snapshot.configs)
        for reference in references(snapshot.settings(label))
        if names_missing_config(reference, snapshot)
    ]
    if problems:
        raise ProblemsFound(f"{environment} would be incomplete", problems)
