"""`models adapters registry ...`: what a central registry holds, and its tags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.adapters.registry.listing import RemoteAdapter, RemoteTag, list_registry, list_tags
from modelyard.adapters.registry.registry import find_remote_version, open_registry
from modelyard.cli.adapters.registry import Remote, ending_at_once
from modelyard.cli.options import DryRun, Json
from modelyard.cli.render import print_json, print_pairs, print_table, print_text, print_title
from modelyard.core.errors import InvalidInput
from modelyard.core.wording import counted, day_and_time, megabytes
from modelyard.records.provenance import Origin

if TYPE_CHECKING:
    from modelyard.adapters.registry.registry import Registry

Tag = Annotated[str, typer.Argument(metavar="TAG", help="The tag, such as in-use or approved.")]


@dataclass(frozen=True, kw_only=True)
class RemoteVersionShown:
    """One version in a registry."""

    adapter: str
    """The adapter."""
    version: int
    """The number of the version."""
    digest: str
    """`sha256:<hex>` of its manifest."""
    created_at: str
    """When it was registered, UTC."""
    org: str | None
    """The organisation whose data it was trained on."""
    base: Origin
    """The base it fits."""
    size_bytes: int
    """The size of its files."""
    files: tuple[str, ...]
    """Its files."""
    tags: tuple[RemoteTag, ...]
    """The tags that point to it."""


@dataclass(frozen=True, kw_only=True)
class TagMoved:
    """A tag after its move, or after the one that would be."""

    adapter: str
    """The adapter."""
    tag: str
    """The tag."""
    version: int | None
    """The number of the version it points to; null when it was removed."""
    changed: bool
    """Whether it moved; in a dry run, whether it would."""
    dry_run: bool
    """Whether nothing was changed."""


def registry() -> None:
    """Show a central registry, move its tags, delete versions.

    \b
    models adapters registry list s3://models/registry
    models adapters registry tag techcorp-demo@3 approved s3://models/registry
    """
    raise InvalidInput(
        "nothing was named to do", hint="say list, show, tag, untag, delete or prune"
    )


def open_remote(remote: str) -> Registry:
    """The registry at an address. Raises InvalidInput when there is none."""
    found = open_registry(remote)
    if found is None:
        raise InvalidInput("there is no such folder", where=remote)
    if not found.is_there():
        raise InvalidInput(
            "there is no registry here",
            where=remote,
            hint="`models adapters push NAME REMOTE` makes one; check the address",
        )
    return found


def list_remote(remote: Remote, as_json: Json = False) -> None:
    """List the adapters of a registry, and their tags.

    \b
    models adapters registry list s3://models/registry
    """
    with ending_at_once():
        adapters: tuple[RemoteAdapter, ...] = list_registry(open_remote(remote))
    if as_json:
        print_json(list(adapters))
    elif not adapters:
        print_text(f"There are no adapters in {remote}.")
    else:
        rows = [
            (each.name, ", ".join(_versions(each)) or "none left", _tags(each.tags))
            for each in adapters
        ]
        print_table(("adapter", "versions", "tags"), rows)


def show_remote(
    name: Annotated[
        str, typer.Argument(metavar="NAME[@V]", help="A version there; without @V, as pull takes.")
    ],
    remote: Remote,
    as_json: Json = False,
) -> None:
    """Show a version of a registry without fetching it.

    \b
    models adapters registry show techcorp-demo@3 s3://models/registry
    """
    with ending_at_once():
        opened = open_remote(remote)
        version = find_remote_version(opened, name)
        tags = tuple(
            tag for tag in list_tags(opened, version.adapter) if tag.version == version.number
        )
    manifest = version.manifest
    if as_json:
        print_json(
            RemoteVersionShown(
                adapter=version.adapter,
                version=version.number,
                digest=f"sha256:{version.digest}",
                created_at=manifest.created_at,
                org=manifest.org,
                base=manifest.base,
                size_bytes=version.size_bytes,
                files=tuple(sorted(manifest.files)),
                tags=tags,
            )
        )
        return
    print_title(version.name)
    pairs = [
        ("base", f"{manifest.base.name} ({manifest.base.fingerprint[:19]})"),
        ("organisation", manifest.org or "none"),
        ("registered", day_and_time(manifest.created_at)),
        ("size", f"{megabytes(version.size_bytes)} in {counted(len(manifest.files), 'file')}"),
        ("digest", f"sha256:{version.digest}"),
        ("tags", ", ".join(tag.name for tag in tags) or "none"),
    ]
    print_pairs(pairs)


def tag_remote(
    name: Annotated[str, typer.Argument(metavar="NAME@V", help="A version in the registry.")],
    tag: Tag,
    remote: Remote,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Point a tag of a registry to a version.

    Repairs a tag whose last move is damaged. `in-use` is what `models adapters pull NAME` takes,
    `latest` what it takes where that is missing.

    \b
    models adapters registry tag techcorp-demo@3 in-use s3://models/registry
    """
    if "@" not in name:
        raise InvalidInput(f"{name!r} names no version", hint=f"write {name}@V")
    with ending_at_once():
        opened = open_remote(remote)
        version = find_remote_version(opened, name)
        _move(opened, remote, version.adapter, tag, version.number, dry_run, as_json)


def untag_remote(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An adapter in the registry.")],
    tag: Tag,
    remote: Remote,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Remove a tag from a registry.

    \b
    models adapters registry untag techcorp-demo approved s3://models/registry
    """
    from modelyard.adapters.versions import named_adapter

    adapter = named_adapter(name)
    with ending_at_once():
        opened = open_remote(remote)
        tags = opened.tags(adapter)
        if tag not in tags:
            raise InvalidInput(
                f"{adapter} has no tag {tag!r}",
                where=remote,
                hint=f"it has: {', '.join(tags)}" if tags else None,
            )
        _move(opened, remote, adapter, tag, None, dry_run, as_json)


def _move(
    opened: Registry,
    remote: str,
    adapter: str,
    tag: str,
    number: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    from modelyard.core.layout import check_name

    check_name(tag, "tag")
    changed = (
        opened.would_move(adapter, tag, number)
        if dry_run
        else opened.move_tag(adapter, tag, number, mend=True)
    )
    if as_json:
        moved = TagMoved(adapter=adapter, tag=tag, version=number, changed=changed, dry_run=dry_run)
        print_json(moved)
        return
    done = f"points to {adapter}@{number}" if number else "is removed"
    if not changed:
        print_text(f"{tag} {done} already; nothing to do")
    else:
        print_text(f"{'in a real run, ' if dry_run else ''}{tag} {done} in {remote}")


def _versions(adapter: RemoteAdapter) -> list[str]:
    return [f"{n} (damaged)" if n in adapter.damaged else str(n) for n in adapter.versions]


def _tags(tags: tuple[RemoteTag, ...]) -> str:
    return ", ".join(
        f"{tag.name} @{tag.version}" if tag.version else f"{tag.name} (damaged)" for tag in tags
    )
