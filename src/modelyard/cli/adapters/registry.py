"""`models adapters push` and `pull`: versions to and from a central registry."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.job_progress import showing_progress
from modelyard.cli.options import DryRun, Json, Wait
from modelyard.cli.render import print_json, print_text
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import find_project
from modelyard.core.wording import counted, megabytes
from modelyard.records.provenance import Origin

if TYPE_CHECKING:
    from modelyard.adapters.registry.push import Push
    from modelyard.adapters.registry.record import RemoteVersion
    from modelyard.adapters.registry.registry import Registry
    from modelyard.adapters.versions import AdapterVersion
    from modelyard.core.layout import Project


@dataclass(frozen=True, kw_only=True)
class UploadedFile:
    """A file that was sent, or would be."""

    file: str
    """Its path in the version."""
    sha256: str
    """The SHA-256 of its bytes, in hex."""
    size_bytes: int
    """Its size."""


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """A version that was stored in a registry, or would be."""

    adapter: str
    """The adapter."""
    version: int
    """The number of the version."""
    remote: str
    """The registry."""
    changed: bool
    """Whether anything was sent or moved; in a dry run, whether it would be."""
    dry_run: bool
    """Whether nothing was changed."""
    added: bool
    """Whether the registry did not have the version before."""
    digest: str
    """`sha256:<hex>` of its manifest there."""
    uploaded: tuple[UploadedFile, ...]
    """The files that were sent, or would be."""
    uploaded_bytes: int
    """Their size."""
    size_bytes: int
    """The size of all files of the version."""
    tags: Mapping[str, int]
    """The tags that moved, each with the number of the version that it points to."""
    figures: int
    """How many evaluations recorded since it was registered were sent, or would be."""


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """A version that was fetched from a registry, or would be."""

    adapter: str
    """The adapter."""
    version: int
    """The number of the version."""
    remote: str
    """The registry."""
    changed: bool
    """Whether it was fetched; in a dry run, whether it would be."""
    dry_run: bool
    """Whether nothing was changed."""
    digest: str
    """`sha256:<hex>` of its manifest there."""
    path: str
    """Its folder, from the project's root."""
    org: str | None
    """The organisation whose data it was trained on."""
    size_bytes: int
    """The size of all files of the version."""
    fetched_bytes: int
    """How much was fetched, or is still missing."""
    base: Origin
    """The base it was trained on."""
    base_checked: bool | None
    """Whether it was checked against its base, which must be on this machine; null when nothing
    changed."""
    figures: int
    """How many evaluations recorded since it was registered were taken, or would be."""


Remote = Annotated[
    str,
    typer.Argument(
        metavar="REMOTE",
        help="Where the registry is: file:///FOLDER, s3://BUCKET/PREFIX, gs://, az://; push and "
        "pull also take hf://OWNER/NAME.",
    ),
]


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Let ^C end the process at once, as a kill would; both are safe.

    Python would wait for the call to the store to return: a minute when a server is silent.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def push(
    adapter: Annotated[
        str, typer.Argument(metavar="NAME[@V]", help="A version; without @V, the active one.")
    ],
    remote: Remote,
    force: Annotated[
        bool, typer.Option("--force", help="Send every file again; repairs damaged ones there.")
    ] = False,
    single_writer: Annotated[
        bool,
        typer.Option(
            "--single-writer",
            help="For a store without conditional writes: state that nobody else pushes meanwhile.",
        ),
    ] = False,
    wait: Wait = 0.0,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Store a version in a central registry.

    Sends only files that the store does not have; an interrupted push continues. Without @V it
    pushes the active version, which becomes the one that `models adapters pull NAME` fetches.
    Credentials come from the environment: AWS_*, GOOGLE_*, AZURE_STORAGE_*.

    To a repository of the Hugging Face hub, made private if there is none, it is one commit on main
    and the tag v3; PEFT loads it from there. The token is that of `hf auth login`, or HF_TOKEN.

    \b
    models adapters push techcorp-demo s3://models/registry
    models adapters push techcorp-demo@3 hf://techcorp/demo
    models adapters push techcorp-demo@3 file:///srv/registry --dry-run
    """
    from modelyard.adapters.registry.hub import SCHEME, push_to_hub
    from modelyard.adapters.versions import resolve_version

    project = find_project()
    version = resolve_version(project, adapter)
    if remote.startswith(SCHEME):
        if force or single_writer:
            raise InvalidInput(
                f"{'--force' if force else '--single-writer'} is for registries, and the hub "
                "needs none",
                hint="leave it out",
            )
        with ending_at_once(), showing_progress() as progress:
            done = push_to_hub(project, version, remote, progress=progress, dry_run=dry_run)
    else:
        done = _push_to_registry(
            project, version, remote, "@" not in adapter, force, single_writer, wait, dry_run
        )
    if as_json:
        print_json(
            Pushed(
                adapter=version.adapter,
                version=version.number,
                remote=remote,
                changed=done.changed,
                dry_run=dry_run,
                added=done.added,
                digest=f"sha256:{done.version.digest}",
                uploaded=tuple(
                    UploadedFile(file=name, sha256=entry.sha256, size_bytes=entry.size_bytes)
                    for name, entry in done.uploads.items()
                ),
                uploaded_bytes=done.uploaded_bytes,
                size_bytes=done.version.size_bytes,
                tags=done.tags,
                figures=len(done.figures),
            )
        )
        return
    if not done.changed:
        print_text(f"{version.name} is already in {remote}")
        return
    sent = (
        f"{len(done.uploads)} of {counted(len(done.version.manifest.files), 'file')}, "
        f"{megabytes(done.uploaded_bytes)} of {megabytes(done.version.size_bytes)}"
    )
    if dry_run:
        print_text(f"Would push {version.name} to {remote}: {sent}")
    else:
        print_text(f"{version.name} is in {remote}: sent {sent}")
    for tag, number in done.tags.items():
        print_text(
            f"  {tag} {'would point' if dry_run else 'points'} to {version.adapter}@{number}"
        )
    _print_figures(len(done.figures))


def _push_to_registry(
    project: Project,
    version: AdapterVersion,
    remote: str,
    active: bool,
    force: bool,
    single_writer: bool,
    wait_s: float,
    dry_run: bool,
) -> Push:
    from urllib.parse import unquote, urlsplit

    from modelyard.adapters.export import require_outside
    from modelyard.adapters.registry.push import plan_push, push_version
    from modelyard.adapters.registry.registry import open_registry

    parts = urlsplit(remote)
    if parts.scheme == "file":
        require_outside(project, Path(unquote(parts.path)))
    registry = open_registry(remote, make=not dry_run, single_writer=single_writer)
    with ending_at_once(), showing_progress() as progress:
        if dry_run or registry is None:
            return plan_push(project, registry, version, active=active, force=force)
        return push_version(
            project,
            version,
            registry,
            progress=progress,
            active=active,
            force=force,
            wait_s=wait_s,
        )


@contextmanager
def _remote_version(reference: str, remote: str) -> Iterator[tuple[Registry, RemoteVersion]]:
    """The version that a reference means in a registry or in a repository of the hub."""
    from modelyard.adapters.registry.hub import SCHEME, hub_registry
    from modelyard.adapters.registry.registry import find_remote_version, open_registry

    if remote.startswith(SCHEME):
        with hub_registry(reference, remote) as found:
            yield found
        return
    registry = open_registry(remote)
    if registry is None:
        raise InvalidInput("there is no such folder", where=remote)
    yield registry, find_remote_version(registry, reference)


def _print_figures(number: int) -> None:
    if number:
        print_text(f"  with {counted(number, 'evaluation')} recorded since it was registered")


def pull(
    adapter: Annotated[
        str,
        typer.Argument(
            metavar="NAME[@V]",
            help="A version there; without @V, the one marked active, else the latest.",
        ),
    ],
    remote: Remote,
    wait: Wait = 0.0,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Fetch a version from a central registry, and verify it.

    It appears only when every file is the one that was pushed, and fits its base where that is
    available locally. An interrupted pull continues. The active version does not change:
    `models adapters promote` does that. Credentials come from the environment: AWS_*, GOOGLE_*,
    AZURE_STORAGE_*.

    \b
    models adapters pull techcorp-demo s3://models/registry
    models adapters pull techcorp-demo@3 file:///srv/registry --dry-run
    models adapters pull techcorp-demo@3 hf://techcorp/demo
    """
    from modelyard.adapters.registry.pull import plan_pull, pull_version

    project = find_project()
    with (
        ending_at_once(),
        showing_progress() as progress,
        _remote_version(adapter, remote) as (registry, version),
    ):
        if dry_run:
            done = plan_pull(project, registry, version, progress)
        else:
            done = pull_version(project, registry, version, progress=progress, wait_s=wait)
    trained_on = version.manifest.base
    if as_json:
        print_json(
            Pulled(
                adapter=version.adapter,
                version=version.number,
                remote=remote,
                changed=done.changed,
                dry_run=dry_run,
                digest=f"sha256:{version.digest}",
                path=project.show(done.path),
                org=version.manifest.org,
                size_bytes=version.size_bytes,
                fetched_bytes=done.fetched_bytes,
                base=trained_on,
                base_checked=done.base is not None if done.changed else None,
                figures=len(done.figures),
            )
        )
        return
    if not done.changed:
        print_text(f"{version.name} is already here: {project.show(done.path)}")
        _print_figures(len(done.figures))
        return
    sizes = f"{megabytes(done.fetched_bytes)} of {megabytes(version.size_bytes)}"
    if dry_run:
        print_text(
            f"Would pull {version.name} from {remote}: {sizes}, to {project.show(done.path)}"
        )
        return
    print_text(f"{version.name} is here, {sizes} fetched: {project.show(done.path)}")
    print_text(
        f"  every file as it was pushed{', and it fits ' + trained_on.name if done.base else ''}"
    )
    _print_figures(len(done.figures))
    print_text(f"Make it active with `models adapters promote {version.name}`.")
