"""What differs between a project and the items of a snapshot, and what of it is put back.

A version is one whole folder, since it never changes; everything else is compared file by file.
What the project has and the snapshot has not stays, but for configs: they work together, so those
of the snapshot are all that there are afterwards.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from modelyard.access.audit_reading import Relation, compare_audit, has_key_of, read_head
from modelyard.access.audit_rows import AuditHead
from modelyard.adapters.manifest import MANIFEST_NAME, DamagedVersion, parse_manifest
from modelyard.adapters.versions import highest_number
from modelyard.backup.chosen_items import Chosen, is_in
from modelyard.backup.manifest import DamagedSnapshot, Item, content_blobs
from modelyard.backup.read_blobs import BlobReader
from modelyard.backup.swap import BESIDE
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.files import STAGING_PREFIX, disk_errors, require_free_space, sha256_file
from modelyard.core.forgotten import Forgotten
from modelyard.core.json_reading import InvalidJson, parse_json
from modelyard.core.layout import Project

_OWN = ("configs", "datasets", "experiments", "models", ".models")
_VERSION = re.compile(r"models/versions/([^/]+)/[^/]+")
_UNIT = re.compile(rf"{_VERSION.pattern}|\.models/deployed/\.revisions/[^/]+")
_HOSTED_JOB = "hosted.json"
_HIGHEST_NUMBER = ".highest-number"
_MOST_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPlace:
    """Something of the snapshot that is not put back."""

    path: str
    """From the project's root."""
    reason: str
    """Why what is there stays."""


@dataclass(slots=True)
class Differences:
    """What has to move so that the project is as the snapshot says."""

    replaced: list[str] = field(default_factory=list)
    """What gets what the snapshot holds: files, links, folders of versions."""
    removed: list[str] = field(default_factory=list)
    """What only goes."""
    kept: list[KeptPlace] = field(default_factory=list)
    """What is not put back."""
    audit_head: AuditHead | None = None
    """The head of the audit log that is replaced, as long as it is this one; None: it stays."""
    moved: list[tuple[str, str]] = field(default_factory=list)
    """What gets another name in the project, and which: an audit log of another chain."""


def compare(
    project: Project, chosen: Chosen, reader: BlobReader, forgotten: Forgotten
) -> Differences:
    """What differs from the chosen items; state.db is left to whoever merges its rows.

    Raises InvalidInput where a link leads to a place that would be written to, DamagedSnapshot for
    an item that is no part of a project.
    """
    found = Differences()
    units = _units(project, chosen)
    gone = _forgotten_versions(units, reader, forgotten)
    gone |= _forgotten_texts(project, units, reader, forgotten)
    for path, items in units.items():
        _require_place(project, path, found)
        if _is_same(project, path, items):
            continue
        if project.root / path == project.audit_log and project.audit_log.exists():
            _compare_audit(project, path, items[0], reader, found)
        elif reason := _reason_to_keep(project, path, items[0], reader, gone):
            found.kept.append(KeptPlace(path=path, reason=reason))
        else:
            found.replaced.append(path)
            if project.root / path == project.audit_log:
                found.audit_head = read_head(project)
            if items[0].kind == "sqlite":
                found.removed.extend(_beside(project, path))
    found.removed.extend(_other_configs(project, chosen))
    return found


def _units(project: Project, chosen: Chosen) -> dict[str, list[Item]]:
    """The items by the path that moves with all that is below it; that item is the first."""
    units: dict[str, list[Item]] = defaultdict(list)
    parents = {item.path.rpartition("/")[0] for item in chosen.items}
    for item in chosen.items:
        if item.path.split("/")[0] not in _OWN:
            raise DamagedSnapshot("holds what is no part of a project", where=ascii(item.path))
        if match := _UNIT.match(item.path):
            units[match[0]].append(item)
        elif project.root / item.path != project.state_db and (
            item.kind != "folder" or item.path not in parents
        ):
            units[item.path].append(item)
    return units


def _forgotten_versions(
    units: dict[str, list[Item]], reader: BlobReader, forgotten: Forgotten
) -> set[str]:
    """The versions in the snapshot that were removed for good since they were made."""
    gone = set()
    for path, items in units.items():
        match = _VERSION.fullmatch(path)
        manifests = [item for item in items if item.path == f"{path}/{MANIFEST_NAME}"]
        if match and manifests:
            data = _content(manifests[0], reader)
            with suppress(DamagedVersion):  # `models adapters verify` reports it
                made_at = parse_manifest(data, where=path).created_at
                if forgotten.covers("adapter", match[1], made_at):
                    gone.add(path)
    return gone


def _forgotten_texts(
    project: Project, units: dict[str, list[Item]], reader: BlobReader, forgotten: Forgotten
) -> set[str]:
    """The texts of feedback in the snapshot whose organisation was removed since they were made."""
    gone = set()
    for path, items in units.items():
        if (project.root / path).parent == project.feedback_texts("x").parent:
            with suppress(InvalidJson, KeyError, TypeError):  # read as no texts
                written = parse_json(_content(items[0], reader))
                if forgotten.covers("organisation", written["org"], written["recorded_at"]):
                    gone.add(path)
    return gone


def _require_place(project: Project, path: str, found: Differences) -> None:
    """Refuse a path that a link in the project leads elsewhere; a file in the way has to go."""
    parts = path.split("/")
    for count in range(1, len(parts)):
        parent = "/".join(parts[:count])
        place = project.root / parent
        if place.is_symlink():
            raise InvalidInput(
                "is a link, and what it leads to is not restored over",
                where=project.show(place),
                hint="restore into a new folder with --to, and copy what you need",
            )
        if os.path.lexists(place) and not place.is_dir() and parent not in found.removed:
            found.removed.append(parent)


def _reason_to_keep(
    project: Project, path: str, item: Item, reader: BlobReader, gone: set[str]
) -> str | None:
    """Why what is there stays; None when the item is put back."""
    place = project.root / path
    own = (
        *(project.restores, project.restoring, project.backups),
        *(project.lock("x", "x").parent, project.project_file),
    )
    if any(place == each or each in place.parents for each in own):
        return "it belongs to this project and not to a snapshot"
    if place == project.recorded_prompts:
        return "prompts may have been removed since; --to restores them into a new folder"
    spool = project.traffic_segment("x").parent
    if project.traffic_db.exists() and (place == project.traffic_db or spool in place.parents):
        return "the records of answers that are there reach further"
    if place.name == _HOSTED_JOB and project.experiments in place.parents and place.exists():
        return "it records a job at a provider, which would be begun and paid for again"
    leads_to = posixpath.normpath(posixpath.join(posixpath.dirname(path), item.target or ""))
    if path in gone or leads_to in gone:
        return "it was removed for good: `models org forget`"
    if place.name == _HIGHEST_NUMBER and (match := _VERSION.fullmatch(path)):
        with suppress(ModelyardError):
            if highest_number(project, match[1]) >= int(_content(item, reader) or b"0"):
                return "a higher number was used since, and none is used twice"
    return None


def _beside(project: Project, path: str) -> list[str]:
    """What SQLite keeps beside a file."""
    beside = (f"{path}{suffix}" for suffix in BESIDE)
    return [each for each in beside if os.path.lexists(project.root / each)]


_WHY_AUDIT_STAYS = {
    "same log, further": "the audit log that is there has all its rows, or more",
    "another log": "the audit log that is there is another one, and the key of this one is not on "
    "this machine: --to restores it into a new folder",
    "damaged": "the audit log that is there, or the copy, cannot be read, and no row is given "
    "up: --to restores the copy into a new folder",
}


def _compare_audit(
    project: Project, path: str, item: Item, reader: BlobReader, found: Differences
) -> None:
    """Find what becomes of the audit log that is there. No restore takes rows back.

    The copy replaces one that it goes on from. One of another chain is set aside under the name of
    its last row, where the copy can go on in its place: where its key is here.
    """
    relation, has_key = _audit_relation(project, item, reader)
    is_other = relation == "another log" and has_key
    if relation != "same log, behind" and not is_other:
        found.kept.append(KeptPlace(path=path, reason=_WHY_AUDIT_STAYS[relation]))
        return
    found.replaced.append(path)
    found.audit_head = head = read_head(project)
    if is_other:
        aside = project.show(project.audit_log_aside(f"{head.count}-{head.seal[:12]}"))
        moved = (*_beside(project, path), path)
        found.moved = [(each, f"{aside}{each.removeprefix(path)}") for each in moved]
    else:
        found.removed.extend(_beside(project, path))


def _audit_relation(project: Project, item: Item, reader: BlobReader) -> tuple[Relation, bool]:
    """How the audit log stands to the copy, and whether the key of the copy is here."""
    folder = Path(tempfile.gettempdir())
    require_free_space(folder, item.size, "a copy of the audit log to compare with")
    with tempfile.TemporaryDirectory(prefix="modelyard-", dir=folder) as scratch:
        copy = Path(scratch) / "audit.db"
        with disk_errors(copy), copy.open("wb") as file:
            for sha256 in content_blobs(item, reader.read):
                file.write(reader.read(sha256))
        return compare_audit(project, copy), has_key_of(project, copy)


def _is_same(project: Project, path: str, items: Sequence[Item]) -> bool:
    """Whether the project has the items as they are, and in a folder that moves no others."""
    place = project.root / path
    if items[0].kind != "folder" or not _UNIT.fullmatch(path):
        return _is_same_item(place, items[0])
    there = {path} | {project.show(each) for each in place.rglob("*")}
    return there == {item.path for item in items} and all(
        _is_same_item(project.root / item.path, item) for item in items
    )


def _is_same_item(place: Path, item: Item) -> bool:
    try:
        status = place.lstat()
        if item.kind == "link":
            return stat.S_ISLNK(status.st_mode) and str(place.readlink()) == item.target
        if item.kind == "folder":
            return stat.S_ISDIR(status.st_mode)
        return (
            stat.S_ISREG(status.st_mode)
            and status.st_size == item.size
            # What others may do follows from the sharing of the project, now as then.
            and status.st_mode & stat.S_IRWXU == item.mode & stat.S_IRWXU
            and sha256_file(place) == item.sha256
        )
    except OSError:  # it is not there, or cannot be read
        return False


def _other_configs(project: Project, chosen: Chosen) -> list[str]:
    """The files below configs/ that the snapshot has not, where all of the folder was chosen."""
    known = {item.path for item in (*chosen.items, *chosen.rest)}
    return [
        path
        for place in sorted(project.configs.rglob("*"))
        if place.is_symlink() or not place.is_dir()
        if not place.name.startswith(STAGING_PREFIX)
        if (path := project.show(place)) not in known
        and not any(is_in(path, place) for place in chosen.left_out)
        and any(is_in(path, whole) for whole in chosen.whole)
    ]


def _content(item: Item, reader: BlobReader) -> bytes:
    """The content of a small file of the snapshot."""
    if item.size > _MOST_BYTES:
        raise DamagedSnapshot("is larger than such a file can be", where=item.path)
    return b"".join(reader.read(sha256) for sha256 in content_blobs(item, reader.read))
