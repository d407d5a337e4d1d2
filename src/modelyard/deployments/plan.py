"""A plan: what a deployment would change, and its preconditions.

A plan can be written to a file, reviewed by somebody else, and carried out later. It is refused
when the live revision, the bytes of the files or the resolved contents have changed since.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, cast

from modelyard.configs.compare import SettingChange, compare_settings
from modelyard.configs.explain import is_below
from modelyard.core.errors import Diagnostic, InvalidInput, ModelyardError
from modelyard.core.files import json_text
from modelyard.core.given_paths import write_given_file
from modelyard.core.json_reading import InvalidJson, read_json_object
from modelyard.deployments.effective_settings import compare_effective
from modelyard.deployments.layers import build_effective
from modelyard.deployments.live_domains import live_domains
from modelyard.deployments.revisions import Action
from modelyard.deployments.snapshot import Content, Snapshot, sha256_text
from modelyard.results.json_form import result_of, to_json

_FORMAT = 1
"""Version of the plan file format."""
_MOST_BYTES = 64_000_000
"""A plan of 1,000 configs has 2 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a user asks to change in an environment."""

    action: Action
    """Deploy or remove configs, switch a profile, undo a switch, or roll back to a revision."""
    configs: tuple[str, ...] = ()
    """deploy: the labels of the configs to deploy; those that they name are included.
    remove: the labels of the configs to take out."""
    every_config: bool = False
    """deploy: all configs; those no longer in configs/ are removed. remove: all that are live."""
    settings: tuple[str, ...] = ()
    """deploy: settings that are laid over the one config, as `KEY=VALUE`."""
    profile: str | None = None
    """switch: the performance profile."""
    domain: str | None = None
    """switch: the domain; None is every domain."""
    to: int | None = None
    """rollback: the revision to go back to; None is the one that was live before."""
    keep_variant: Literal["a", "b"] | None = None
    """deploy: the variant that becomes the config, instead of configs; its A/B test ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanPreconditions:
    """What must be unchanged when a plan is carried out."""

    request: Request
    """What was asked for."""
    environment: str
    """The environment that changes."""
    from_revision: int
    """The revision that is live; 0 when nothing is."""
    goes_back_to: int | None
    """undo, rollback: the revision that they go back to."""
    sources: Mapping[str, str]
    """SHA-256 of each file that is read, by its path in the project."""
    contents: Mapping[str, str]
    """SHA-256 of each config's resolved content, by label, as it will be live."""
    profiles: Mapping[str, str]
    """The profile chosen for a domain, by domain, as it will be live."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigChange:
    """The change of one config."""

    config: str
    """Its label."""
    change: Literal["added", "changed", "removed", "unchanged"]
    """The kind of change."""
    named_by: str | None = None
    """The config that names it, when it is included; None when it was asked for."""
    settings: tuple[SettingChange, ...] = ()
    """Every setting that differs, as written."""
    given: tuple[str, ...] = ()
    """Those of them that `--set` gives, and no file."""
    given_before: tuple[str, ...] = ()
    """Those that `--set` had given, and that this deployment takes back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileChange:
    """A changed choice of a profile."""

    domain: str
    """The domain whose profile changes."""
    before: str | None
    """The profile chosen before; None: none was, so the domain's own."""
    after: str | None
    """The profile chosen after."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainEffect:
    """The changed effective settings of a domain."""

    domain: str
    """The domain that answers with them."""
    settings: tuple[SettingChange, ...]
    """Every effective setting that differs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a request would change, shown before it is carried out."""

    preconditions: PlanPreconditions
    """What it was made from; it is stale when one of them has changed."""
    configs: tuple[ConfigChange, ...]
    """The change of each config that changes or was asked for."""
    profiles: tuple[ProfileChange, ...]
    """Every changed choice of a profile."""
    effects: tuple[DomainEffect, ...]
    """The changed effective settings of each domain that is live afterwards."""
    removed_domains: tuple[str, ...]
    """The domains that are live before and not afterwards."""
    after: Snapshot = field(repr=False)
    """Everything that will be live."""

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.profiles) or any(config.change != "unchanged" for config in self.configs)


class StalePlan(ModelyardError):
    """The preconditions of a plan no longer hold."""


def build_plan(
    preconditions: PlanPreconditions,
    before: Snapshot,
    after: Snapshot,
    *,
    named_by: Mapping[str, str] | None = None,
    asked: tuple[str, ...] = (),
) -> Plan:
    """What changes from one snapshot to another; pure."""
    return Plan(
        preconditions=preconditions,
        configs=tuple(_config_changes(before, after, named_by or {}, asked)),
        profiles=profile_changes(before.profiles, after.profiles),
        effects=tuple(_effects(before, after, preconditions.environment)),
        removed_domains=_removed_domains(before, after),
        after=after,
    )


def _config_changes(
    before: Snapshot, after: Snapshot, named_by: Mapping[str, str], asked: tuple[str, ...]
) -> Iterator[ConfigChange]:
    for label in dict.fromkeys((*asked, *sorted(after.configs), *sorted(before.configs))):
        old, new = before.configs.get(label), after.configs.get(label)
        if old and new and old.digest == new.digest:
            if label in asked:
                yield ConfigChange(config=label, change="unchanged")
            continue
        settings = compare_settings(old.values if old else {}, new.values if new else {})
        given = _given_among(settings, new)
        yield ConfigChange(
            config=label,
            change="changed" if old and new else "removed" if old else "added",
            named_by=named_by.get(label),
            settings=settings,
            given=given,
            given_before=tuple(key for key in _given_among(settings, old) if key not in given),
        )


def _given_among(settings: Iterable[SettingChange], content: Content | None) -> tuple[str, ...]:
    """The keys of those changes whose value in a content `--set` gave."""
    given = content.given if content else ()
    return tuple(
        change.key
        for change in settings
        if any(is_below(change.key, key) or is_below(key, change.key) for key in given)
    )


def profile_changes(
    before: Mapping[str, str], after: Mapping[str, str]
) -> tuple[ProfileChange, ...]:
    """Each domain for which the chosen profile differs."""
    return tuple(
        ProfileChange(domain=domain, before=before.get(domain), after=after.get(domain))
        for domain in sorted({*before, *after})
        if before.get(domain) != after.get(domain)
    )


def _effects(before: Snapshot, after: Snapshot, environment: str) -> Iterator[DomainEffect]:
    """The changes of each domain; a new domain is compared with itself without the new profile."""
    try:
        known = live_domains(before)
    except ModelyardError:
        return  # the live configs are not valid for this version, so there is nothing to compare
    new = Snapshot(configs=after.configs, profiles=before.profiles)
    for domain in live_domains(after):
        try:
            now = build_effective(after, environment, 0, domain)
            base = before if domain in known else new
            settings = compare_effective(build_effective(base, environment, 0, domain), now)
        except ModelyardError:
            continue
        if settings:
            yield DomainEffect(domain=domain, settings=settings)


def _removed_domains(before: Snapshot, after: Snapshot) -> tuple[str, ...]:
    try:
        return tuple(domain for domain in live_domains(before) if domain not in live_domains(after))
    except ModelyardError:
        return ()  # the live configs are not valid for this version


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedChanges:
    """What a plan changes, for people and programs; a plan file begins with it."""

    action: Action
    """What was asked for."""
    environment: str
    """The environment that changes."""
    from_revision: int
    """The revision that is live; 0 when nothing is."""
    goes_back_to: int | None
    """undo, rollback: the revision that they go back to."""
    changes: bool
    """Whether there is anything to do."""
    configs: tuple[ConfigChange, ...]
    """The change of each config that changes or was asked for."""
    profiles: tuple[ProfileChange, ...]
    """Every changed choice of a profile."""
    effects: tuple[DomainEffect, ...]
    """The changed effective settings of each domain that is live afterwards."""


def planned_changes(plan: Plan) -> PlannedChanges:
    """What a plan changes, without what it is bound to."""
    return result_of(
        PlannedChanges,
        plan,
        action=plan.preconditions.request.action,
        environment=plan.preconditions.environment,
        from_revision=plan.preconditions.from_revision,
        goes_back_to=plan.preconditions.goes_back_to,
        changes=plan.changes,
    )


def write_plan(path: Path, plan: Plan) -> None:
    """Write a plan in one rename: the changes for people, and the preconditions.

    Raises InvalidInput where something other than a regular file stands at `path`.
    """
    content = {
        "format": _FORMAT,
        **to_json(planned_changes(plan)),
        "bound_to": asdict(plan.preconditions),
    }
    write_given_file(path, json_text({**content, "digest": _digest(content)}))


def load_plan(path: Path) -> PlanPreconditions:
    """The preconditions of a plan file. Raises InvalidInput for another or an edited file."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device may never end
            raise InvalidInput("cannot read: it is not a regular file", where=str(path))
        if status.st_size > _MOST_BYTES:
            raise _no_plan(path)
        content = read_json_object(path)
        digest = content.pop("digest")
    except OSError as error:
        raise InvalidInput(f"cannot read: {error.strerror}", where=str(path)) from error
    except (InvalidJson, KeyError) as error:
        raise _no_plan(path) from error
    if digest != _digest(content):
        raise InvalidInput(
            "was changed after it was written", where=str(path), hint="make a new plan: `--plan`"
        )
    if content.get("format") != _FORMAT:
        raise InvalidInput(
            "was written by another version of modelyard", where=str(path), hint="make a new plan"
        )
    try:
        facts = content["bound_to"]
        request = dict(facts["request"])
        for key in ("configs", "settings"):  # plans of earlier versions have no settings
            request[key] = tuple(request.get(key, ()))
        return PlanPreconditions(**{**facts, "request": Request(**request)})
    except (KeyError, TypeError, ValueError) as error:
        raise _no_plan(path) from error


def _no_plan(path: Path) -> InvalidInput:
    return InvalidInput(
        "is not a plan", where=str(path), hint="`--plan --plan-file FILE` writes one"
    )


def _digest(content: Mapping[str, Any]) -> str:
    return sha256_text(json.dumps(content, ensure_ascii=False, sort_keys=True))


def require_current(bound: PlanPreconditions, now: PlanPreconditions) -> None:
    """Return if the preconditions still hold. Raises StalePlan with everything that differs."""
    if bound == now:
        return
    # When the environment moved on, other configs may be included: that needs no message.
    if bound.from_revision != now.from_revision:
        bound, now = _in_both(bound, now), _in_both(now, bound)
    problems = tuple(
        Diagnostic(message=message, code="stale-plan")
        for field in fields(PlanPreconditions)
        for message in _differences(
            field.name, getattr(bound, field.name), getattr(now, field.name)
        )
    )
    raise StalePlan(
        f"the plan for {bound.environment} is stale",
        hint="make a new plan and review it: `--plan`",
        problems=problems,
    )


def _in_both(bound: PlanPreconditions, others: PlanPreconditions) -> PlanPreconditions:
    """The preconditions with only those files and configs that the others name too."""
    return replace(
        bound,
        sources={path: bound.sources[path] for path in bound.sources if path in others.sources},
        contents={
            label: bound.contents[label] for label in bound.contents if label in others.contents
        },
    )


_WORDS = {
    "sources": ("file", "has changed"),
    "contents": ("config", "resolves to other content"),
    "profiles": ("domain", "would get another profile"),
}


def _differences(name: str, bound: Any, now: Any) -> Iterator[str]:
    if bound == now:
        return
    if name in _WORDS:
        thing, change = _WORDS[name]
        for key in sorted({*bound, *now}):
            if name != "profiles" and key not in now:
                yield f"the {thing} {key} would no longer be part of it"
            elif name != "profiles" and key not in bound:
                yield f"the {thing} {key} would be part of it, and was not"
            elif bound.get(key) != now.get(key):
                yield f"the {thing} {key} {change}"
    elif name == "from_revision":
        yield f"revision {now} is live, and the plan starts from {bound or 'nothing'}"
    elif name == "goes_back_to":
        yield f"it would go back to revision {now}, not to {bound}"
    else:
        yield f"the {name} differs: {_words(now)}, not {_words(bound)}"


def _words(value: Any) -> str:
    return value if isinstance(value, str) else cast(str, value.action)
