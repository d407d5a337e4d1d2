"""`models adapters gc`, `pin` and `unpin`: remove old versions, and protect some of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from modelyard.adapters.gc import (
    GarbageCollection,
    collect_garbage,
    load_pins,
    pin_version,
    unpin_version,
)
from modelyard.adapters.versions import list_adapters, named_adapter, resolve_number
from modelyard.cli.options import DryRun, Json, Reason, VersionName, Wait
from modelyard.cli.render import print_json, print_table, print_text
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import find_project
from modelyard.core.os_errors import NoAccess
from modelyard.core.wording import counted, megabytes


@dataclass(frozen=True, kw_only=True)
class Removed:
    """A version that was removed, or would be."""

    version: int
    """Its number."""
    size_bytes: int
    """The size of its files."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A version that is kept."""

    version: int
    """Its number."""
    why: str
    """Why it is kept."""


@dataclass(frozen=True, kw_only=True)
class AdapterCollected:
    """The versions of one adapter."""

    adapter: str
    """Its name."""
    removed: tuple[Removed, ...]
    """The versions that were removed, or would be."""
    kept: tuple[Kept, ...]
    """Those that are needed."""
    left: tuple[Kept, ...]
    """Those that nothing needs and this user may not remove."""


@dataclass(frozen=True, kw_only=True)
class Collected:
    """Old versions that were removed, or would be."""

    dry_run: bool
    """Whether nothing was removed."""
    freed_bytes: int
    """The size of all versions that were removed, or would be."""
    adapters: tuple[AdapterCollected, ...]
    """Each adapter that was looked at."""


@dataclass(frozen=True, kw_only=True)
class PinChange:
    """A version that is pinned or not."""

    name: str
    """The version, as NAME@VERSION."""
    pinned: bool
    """Whether it is pinned now; in a dry run, whether it would be."""
    changed: bool
    """Whether that changed; in a dry run, whether it would."""
    dry_run: bool
    """Whether nothing was changed."""


def gc(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Adapters; by default, all.")
    ] = None,
    keep: Annotated[
        int, typer.Option("--keep", metavar="N", min=1, help="How many of the newest to keep.")
    ] = 3,
    dry_run: DryRun = False,
    wait: Wait = 0.0,
    as_json: Json = False,
) -> None:
    """Remove old versions that nothing needs.

    Keeps the newest versions, the active one, the one that a rollback would go to, and pinned ones.
    The number of a removed version is never used again.

    \b
    models adapters gc --dry-run
    models adapters gc techcorp-demo --keep 2
    """
    project = find_project()
    chosen = list(dict.fromkeys(map(named_adapter, names or list_adapters(project))))
    # Plan all before removing any, so that a bad name removes nothing.
    done = [collect_garbage(project, name, keep=keep, dry_run=True) for name in chosen]
    failure: ModelyardError | None = None
    if not dry_run:
        done = []
        try:
            for name in chosen:
                done.append(collect_garbage(project, name, keep=keep, wait_s=wait))
        except ModelyardError as error:  # what was removed until then is reported all the same
            failure = error
    _print(done, dry_run=dry_run, as_json=as_json)
    if failure is not None:
        raise failure
    if not dry_run:
        _require_nothing_left(done)


def _require_nothing_left(done: list[GarbageCollection]) -> None:
    """Raise NoAccess where a version could not be removed."""
    left = [(each.adapter, *one) for each in done for one in each.left.items()]
    if left:
        adapter, number, error = left[0]
        message = f"{counted(len(left), 'version')} could not be removed: {error.message}"
        raise NoAccess(message, where=f"{adapter}@{number}", hint=error.hint) from error


def _print(done: list[GarbageCollection], *, dry_run: bool, as_json: bool) -> None:
    freed = sum(collection.freed_bytes for collection in done)
    removed = sum(len(collection.removed) for collection in done)
    if as_json:
        adapters = tuple(map(_collected, done))
        print_json(Collected(dry_run=dry_run, freed_bytes=freed, adapters=adapters))
    elif not removed and not any(collection.left for collection in done):
        print_text("There is nothing to remove.")
    else:
        gone = "would go" if dry_run else "removed"
        rows: list[tuple[str, str, str]] = []
        for collection in done:
            outcomes = {v: (megabytes(size), gone) for v, size in collection.removed.items()}
            outcomes |= {v: ("", f"left: {why.hint or why}") for v, why in collection.left.items()}
            if outcomes:
                outcomes |= {v: ("", f"kept: {why}") for v, why in collection.kept.items()}
            rows += [(f"{collection.adapter}@{v}", *outcomes[v]) for v in sorted(outcomes)]
        print_table(("version", ">size", ""), rows)
        print_text(f"{counted(removed, 'version')} {gone}, {megabytes(freed)}.")


def _collected(found: GarbageCollection) -> AdapterCollected:
    return AdapterCollected(
        adapter=found.adapter,
        removed=tuple(Removed(version=v, size_bytes=size) for v, size in found.removed.items()),
        kept=tuple(Kept(version=v, why=why) for v, why in found.kept.items()),
        left=tuple(Kept(version=v, why=str(error)) for v, error in found.left.items()),
    )


def pin(
    name: VersionName,
    reason: Reason = None,
    dry_run: DryRun = False,
    wait: Wait = 0.0,
    as_json: Json = False,
) -> None:
    """Keep a version, whatever `gc` is asked to remove.

    \b
    models adapters pin techcorp-demo@1 --reason "audited in March"
    """
    _set_pin(name, pinned=True, reason=reason, dry_run=dry_run, wait=wait, as_json=as_json)


def unpin(
    name: VersionName, dry_run: DryRun = False, wait: Wait = 0.0, as_json: Json = False
) -> None:
    """Let `gc` remove a version again; removes nothing itself.

    \b
    models adapters unpin techcorp-demo@1
    """
    _set_pin(name, pinned=False, dry_run=dry_run, wait=wait, as_json=as_json)


def _set_pin(
    name: str, *, pinned: bool, reason: str | None = None, dry_run: bool, wait: float, as_json: bool
) -> None:
    project = find_project()
    adapter, number = resolve_number(project, name)
    if dry_run:
        pins = load_pins(project).get(adapter, {})
        changed = pinned != (number in pins) or (reason not in (None, pins.get(number)))
    elif pinned:
        changed = pin_version(project, adapter, number, reason=reason, wait_s=wait)
    else:
        changed = unpin_version(project, adapter, number, wait_s=wait)
    version = f"{adapter}@{number}"
    if as_json:
        print_json(PinChange(name=version, pinned=pinned, changed=changed, dry_run=dry_run))
    elif not changed:
        print_text(f"{version} is {'pinned already' if pinned else 'not pinned'}; nothing to do")
    elif dry_run:
        print_text(f"Would {'pin' if pinned else 'unpin'} {version}")
    else:
        print_text(f"{version} is pinned: gc keeps it" if pinned else f"Unpinned {version}")
