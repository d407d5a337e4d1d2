"""A plan: what a deployment would change, and what that was concluded from.

A plan can be written to a file, looked at by somebody else, and carried out later. It is bound to
the revision that was live, to the bytes of the files and to the resolved contents; when any of them
is another, it is refused.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, cast

from modelyard.configs.compare import SettingChange, compare_settings
from modelyard.core.errors import Diagnostic, InvalidInput, ModelyardError
from modelyard.core.files import write_json
from modelyard.deployments.effective import build_effective, compare_effective, live_domains
from modelyard.deployments.revisions import Action
from modelyard.deployments.snapshot import Snapshot, sha256_text

_FORMAT = 1
"""Version of the form of plan files."""
_MOST_BYTES = 64_000_000
"""No plan is larger: a plan of 1,000 configs has 2 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked for."""

    action: Action
    """Deploy configs, switch a profile, undo a switch, or roll back to a revision."""
    configs: tuple[str, ...] = ()
    """deploy: the labels of the configs."""
    every_config: bool = False
    """deploy: make the environment what configs/ says, and take out what is no longer there."""
    profile: str | None = None
    """switch: the performance profile."""
    domain: str | None = None
    """switch: the domain; None is every domain."""
    to: int | None = None
    """rollback: the revision to go back to; None is the one that was live before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """What a plan holds for, and for nothing else."""

    request: Request
    """What was asked for."""
    environment: str
    """Where."""
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
    """What becomes of one config."""

    config: str
    """Its label."""
    change: Literal["added", "changed", "removed", "unchanged"]
    """What becomes of it."""
    named_by: str | None
    """The config that names it, when it goes along; None when it was asked for."""
    settings: tuple[SettingChange, ...]
    """Every setting that differs, as written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileChange:
    """Another choice of a profile."""

    domain: str
    """The domain."""
    before: str | None
    """The profile chosen before; None: none, so its own."""
    after: str | None
    """The profile chosen after."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainEffect:
    """What really changes for a domain."""

    domain: str
    """The domain."""
    settings: tuple[SettingChange, ...]
    """Every effective setting that differs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would change."""

    binding: Binding
    """What it was concluded from."""
    configs: tuple[ConfigChange, ...]
    """What becomes of each config that changes or was asked for."""
    profiles: tuple[ProfileChange, ...]
    """Every other choice of a profile."""
    effects: tuple[DomainEffect, ...]
    """What really changes for each domain that is live before and after."""
    after: Snapshot = field(repr=False)
    """Everything that will be live."""

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.profiles) or any(one.change != "unchanged" for one in self.configs)


class StalePlan(ModelyardError):
    """What a plan was concluded from is no longer so."""

    def __init__(self, message: str, *, problems: tuple[Diagnostic, ...], hint: str) -> None:
        super().__init__(message, hint=hint)
        self.problems = problems


def build_plan(
    binding: Binding,
    before: Snapshot,
    after: Snapshot,
    *,
    named_by: Mapping[str, str] | None = None,
    asked: tuple[str, ...] = (),
) -> Plan:
    """What changes from one snapshot to another; pure."""
    return Plan(
        binding=binding,
        configs=tuple(_config_changes(before, after, named_by or {}, asked)),
        profiles=tuple(_profile_changes(before, after)),
        effects=tuple(_effects(before, after, binding.environment)),
        after=after,
    )


def _config_changes(
    before: Snapshot, after: Snapshot, named_by: Mapping[str, str], asked: tuple[str, ...]
) -> Iterator[ConfigChange]:
    for label in dict.fromkeys((*asked, *sorted(after.configs), *sorted(before.configs))):
        old, new = before.configs.get(label), after.configs.get(label)
        if old is None:
            change: Literal["added", "changed", "removed", "unchanged"] = "added"
        elif new is None:
            change = "removed"
        else:
            change = "unchanged" if old.digest == new.digest else "changed"
        if change == "unchanged" and label not in asked:
            continue
        yield ConfigChange(
            config=label,
            change=change,
            named_by=named_by.get(label),
            settings=compare_settings(old.values if old else {}, new.values if new else {})
            if change != "unchanged"
            else (),
        )


def _profile_changes(before: Snapshot, after: Snapshot) -> Iterator[ProfileChange]:
    for domain in sorted({*before.profiles, *after.profiles}):
        old, new = before.profiles.get(domain), after.profiles.get(domain)
        if old != new:
            yield ProfileChange(domain=domain, before=old, after=new)


def _effects(before: Snapshot, after: Snapshot, environment: str) -> Iterator[DomainEffect]:
    """What changes for each domain; a new one is compared with itself before its profile."""
    try:
        known = live_domains(before)
    except ModelyardError:
        return  # what was live is not valid for this version: nothing to compare with
    new = Snapshot(configs=after.configs, profiles=before.profiles)
    for domain in live_domains(after):
        now = build_effective(after, environment, 0, domain)
        try:
            base = before if domain in known else new
            settings = compare_effective(build_effective(base, environment, 0, domain), now)
        except ModelyardError:
            continue
        if settings:
            yield DomainEffect(domain=domain, settings=settings)


def plan_facts(plan: Plan) -> dict[str, Any]:
    """A plan as JSON holds it."""
    binding = plan.binding
    return {
        "action": binding.request.action,
        "environment": binding.environment,
        "from_revision": binding.from_revision,
        "goes_back_to": binding.goes_back_to,
        "changes": plan.changes,
        "configs": [asdict(one) for one in plan.configs],
        "profiles": [asdict(one) for one in plan.profiles],
        "effects": [asdict(one) for one in plan.effects],
    }


def write_plan(path: Path, plan: Plan) -> None:
    """Write a plan in one rename: what would change, for people, and what it is bound to."""
    content = {"format": _FORMAT, **plan_facts(plan), "bound_to": asdict(plan.binding)}
    write_json(path, {**content, "digest": _digest(content)})


def load_plan(path: Path) -> Binding:
    """What a plan is bound to. Raises InvalidInput when the file is none, or was changed."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device may never end
            raise InvalidInput("cannot read: it is not a regular file", where=str(path))
        if status.st_size > _MOST_BYTES:
            raise _no_plan(path)
        content = json.loads(path.read_text(encoding="utf-8"))
        digest = content.pop("digest")
    except OSError as error:
        raise InvalidInput(f"cannot read: {error.strerror}", where=str(path)) from error
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
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
        return _as_binding(content["bound_to"])
    except (KeyError, TypeError, ValueError) as error:
        raise _no_plan(path) from error


def _no_plan(path: Path) -> InvalidInput:
    return InvalidInput("is no plan", where=str(path), hint="`--plan --plan-file FILE` writes one")


def _as_binding(facts: Mapping[str, Any]) -> Binding:
    request = {**facts["request"], "configs": tuple(facts["request"]["configs"])}
    return Binding(**{**facts, "request": Request(**request)})


def _digest(content: Mapping[str, Any]) -> str:
    return sha256_text(json.dumps(content, ensure_ascii=False, sort_keys=True))


def require_current(bound: Binding, now: Binding) -> None:
    """Return if a plan made now is bound to the same. Raises StalePlan with all that differs."""
    if bound == now:
        return
    # Where the environment moved on, other configs have a part in it: that is no reason of its own.
    moved = bound.from_revision != now.from_revision
    if moved:
        bound, now = _in_both(bound, now), _in_both(now, bound)
    problems = tuple(
        Diagnostic(message=message, code="stale-plan")
        for one in fields(Binding)
        for message in _differences(one.name, getattr(bound, one.name), getattr(now, one.name))
    )
    raise StalePlan(
        f"the plan for {bound.environment} no longer holds",
        hint="make a new one, and look at it again: `--plan`",
        problems=problems,
    )


def _in_both(one: Binding, other: Binding) -> Binding:
    """A binding with only those files and configs that another one names too."""
    return replace(
        one,
        sources={path: one.sources[path] for path in one.sources if path in other.sources},
        contents={label: one.contents[label] for label in one.contents if label in other.contents},
    )


_WORDS = {
    "sources": ("file", "has changed"),
    "contents": ("config", "comes to another content"),
    "profiles": ("domain", "would get another profile"),
}


def _differences(name: str, bound: Any, now: Any) -> Iterator[str]:
    if bound == now:
        return
    if name in _WORDS:
        thing, said = _WORDS[name]
        for key in sorted({*bound, *now}):
            if name != "profiles" and key not in now:
                yield f"the {thing} {key} would have no part in it any more"
            elif name != "profiles" and key not in bound:
                yield f"the {thing} {key} would have a part in it, and had none"
            elif bound.get(key) != now.get(key):
                yield f"the {thing} {key} {said}"
    elif name == "from_revision":
        yield f"revision {now} is live, and the plan starts from {bound or 'nothing'}"
    elif name == "goes_back_to":
        yield f"it would go back to revision {now}, and not to {bound}"
    else:
        yield f"the {name} is another: {_words(now)}, and not {_words(bound)}"


def _words(value: Any) -> str:
    return value if isinstance(value, str) else cast(str, value.action)
