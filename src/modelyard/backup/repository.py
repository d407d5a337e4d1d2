"""A repository of snapshots in one object store; docs/backup-format.md draws it.

    format.json                 marks a repository, names its format, and says who can read it
    packs/ab/<sha256>           the bytes of blobs
    indexes/<sha256>            which packs hold which blobs
    snapshots/<time>-<8 hex>    one state of a project

Every object is written once and never changed, under the name of its own bytes. Packs are written
before the index that names them, and that before the snapshot which needs them: whatever is
interrupted leaves at most packs that nobody needs. Nothing read from here is trusted before it is
checked.
"""

from __future__ import annotations

import errno
import hashlib
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

from modelyard.backup.blob_index import BlobIndex, IndexPart, Location, index_bytes, parse_index
from modelyard.backup.compression import compress, decompress
from modelyard.backup.encryption import Key, RepositoryKey, open_encryption
from modelyard.backup.format_file import DamagedRepository as DamagedRepository
from modelyard.backup.format_file import new_format, parse_format
from modelyard.backup.index_loading import IndexGone, load_parts
from modelyard.backup.manifest import SNAPSHOT_ID, Snapshot, parse_snapshot, snapshot_bytes
from modelyard.core.errors import InvalidInput, ModelyardError, NoData, did_you_mean
from modelyard.core.files import disk_errors, make_folder
from modelyard.core.layout import Project
from modelyard.core.sharing import shared_at
from modelyard.stores.store import CREATING_PREFIX, ObjectStore, StoreFailed, open_store

LATEST = "latest"

_FORMAT_KEY = "format.json"
_NO_MODES = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP)
"""What file systems without modes say of a change of them."""
_OWN_FOLDERS = frozenset({"packs", "indexes", "snapshots", "leases", "pending", "lost+found"})
_MOST_FORMAT_BYTES = 100_000
_MOST_STORED_BYTES = 128 << 20
"""Of an object: a pack has 32 MiB at most; indexes and snapshots are compressed JSON."""
_MOST_JSON_BYTES = 256 << 20
_SALT_BYTES = 16
_DAMAGED_HINT = (
    "`models backup verify` says what it touches; an earlier snapshot may be whole: "
    "`models backup list`"
)
_TRIES = 10
_TIME = "%Y%m%dT%H%M%SZ"
_TIME_LENGTH = 16
_MOST_AHEAD = timedelta(minutes=1)
"""By more, the newest snapshot is from a clock that was wrong."""
_PACK_KEY = re.compile(r"packs/[0-9a-f]{2}/([0-9a-f]{64})")
_INDEX_KEY = re.compile(r"indexes/([0-9a-f]{64})")


class NoRepository(NoData):
    """There is no repository at the address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What one listing of the store says is there."""

    packs: Mapping[str, int]
    """The size of every pack as stored, by its name."""
    indexes: tuple[str, ...]
    """The names of the index objects."""
    snapshots: tuple[str, ...]
    """The ids of the snapshots, from the oldest to the newest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """The repository in one object store; frozen, and safe to use from several threads."""

    store: ObjectStore
    """The object store."""
    id: str
    """Random, drawn when it was made."""
    cipher: RepositoryKey | None = None
    """Encrypts and decrypts its objects; None: nothing in it is encrypted."""

    def listing(self) -> Listing:
        """All packs, indexes and snapshots: one request for each 1,000 objects."""
        packs, indexes, snapshots = {}, [], []
        for entry in self.store.listing():
            if found := _PACK_KEY.fullmatch(entry.key):
                packs[found[1]] = entry.size_bytes
            elif found := _INDEX_KEY.fullmatch(entry.key):
                indexes.append(found[1])
            elif entry.key.startswith("snapshots/"):
                name = entry.key.removeprefix("snapshots/")
                if SNAPSHOT_ID.fullmatch(name):
                    snapshots.append(name)
        return Listing(packs=packs, indexes=tuple(indexes), snapshots=tuple(sorted(snapshots)))

    def put_pack(self, data: bytes) -> tuple[str, int]:
        """Store a pack and read it back in full; its name, and its size as stored.

        Random bytes are added at its end, so that of packs with equal blobs each has its own name:
        what prune found unused and deletes is never what another run stored again meanwhile.

        Raises StoreFailed, and DamagedRepository when what is read is not what was written.
        """
        return self.put_salted_pack(data + pack_salt())

    def put_salted_pack(self, data: bytes) -> tuple[str, int]:
        """The same of a pack that ends in its `pack_salt` already; copies nothing."""
        stored = self._encrypted(data)
        name = hashlib.sha256(stored).hexdigest()
        self._put(pack_key(name), stored)
        return name, len(stored)

    def read_pack(self, name: str) -> bytes:
        """A whole pack, checked against its name, and decrypted.

        Raises DamagedRepository when it is missing or was changed.
        """
        return self._decrypted(self._read(pack_key(name), name), pack_key(name))

    def put_index(self, part: IndexPart) -> str:
        """Store an index object; its name."""
        stored = self._encrypted(compress(index_bytes(part)))
        name = hashlib.sha256(stored).hexdigest()
        self._put(f"indexes/{name}", stored)
        return name

    def read_index(self, name: str) -> IndexPart:
        """One index object. Raises DamagedRepository, DamagedData or DamagedIndex."""
        key = f"indexes/{name}"
        where = self.store.show(key)
        data = self._decrypted(self._read(key, name), key)
        return parse_index(decompress(data, most_bytes=_MOST_JSON_BYTES, where=where), where=where)

    def load_index(
        self,
        listing: Listing | None = None,
        *,
        on_damage: Callable[[str, ModelyardError], None] | None = None,
    ) -> BlobIndex:
        """Where every blob is, from all index objects of the listing (None: of a new one).

        A blob of a pack that is missing or too short is found in another one, if it was stored
        again. on_damage: called for each index that cannot be read, with its name; None: it is
        raised. Indexes that a prune merges meanwhile are read again.
        """
        for _ in range(_TRIES):
            listing = listing or self.listing()
            with suppress(IndexGone):
                return load_parts(listing.indexes, listing.packs, self._read_part, on_damage)
            listing = None  # a prune has merged some of them meanwhile
        raise StoreFailed(
            f"its indexes changed each of the {_TRIES} times that they were read",
            where=self.store.show("indexes"),
            hint="run the same command again",
        )

    def _read_part(self, name: str) -> IndexPart:
        """One index object. Raises IndexGone where it is not there any more."""
        try:
            return self.read_index(name)
        except DamagedRepository as error:
            if self.store.size_bytes(f"indexes/{name}") is None:
                raise IndexGone from error
            raise

    def snapshots(self) -> tuple[str, ...]:
        """The ids of all snapshots, from the oldest to the newest."""
        return tuple(name for name in self.store.names("snapshots/") if SNAPSHOT_ID.fullmatch(name))

    def put_snapshot(
        self, snapshot: Snapshot, *, after: str | None = None, copy_of: str | None = None
    ) -> Snapshot:
        """Store a snapshot, whose blobs are all in an index already; returns it with its id.

        after: the newest there is; of two that are made in one second, the id of the second says
        the next one, so that their order is that of their ids. copy_of: the id of the same snapshot
        elsewhere, whose time the new id keeps, so that copies have the order of what was copied.
        """
        stored = self._encrypted(compress(snapshot_bytes(snapshot)))
        made = datetime.fromisoformat(snapshot.created_at)
        if copy_of is not None:
            made = datetime.strptime(copy_of[:_TIME_LENGTH], _TIME).replace(tzinfo=UTC)
        if after is not None:
            next_second = datetime.strptime(after[:_TIME_LENGTH], _TIME) + timedelta(seconds=1)
            behind = next_second.replace(tzinfo=UTC) - made
            if timedelta(0) < behind <= _MOST_AHEAD:
                made += behind
        id = f"{made.strftime(_TIME)}-{hashlib.sha256(stored).hexdigest()[:8]}"
        self._put(f"snapshots/{id}", stored)
        return replace(snapshot, id=id)

    def load_snapshot(self, name: str) -> Snapshot:
        """The snapshot with this id, or one that only it begins with, or `latest`.

        Raises NoData when there is none at all, InvalidInput when none has that name, and
        DamagedRepository, DamagedData or DamagedSnapshot when it is damaged.
        """
        return self.read_snapshot(self._find_snapshot(name))

    def read_snapshot(self, id: str) -> Snapshot:
        """The snapshot of this id. Raises as `load_snapshot` does when it is damaged or missing."""
        key = f"snapshots/{id}"
        where = self.store.show(key)
        data = self._decrypted(self._read(key, id.rpartition("-")[2]), key)
        return parse_snapshot(decompress(data, most_bytes=_MOST_JSON_BYTES, where=where), id)

    def _find_snapshot(self, name: str) -> str:
        known = self.snapshots()
        if not known:
            raise NoData(
                "there is no snapshot",
                where=self.store.url,
                hint="make one: `models backup`; if there was one, `models backup list` says "
                "whether it is missing",
            )
        if name == LATEST:
            return known[-1]
        begun = [id for id in known if id.startswith(name)]
        if name in known:
            return name
        if len(begun) == 1:
            return begun[0]
        what = f"{len(begun)} snapshots begin with" if begun else "there is no snapshot"
        raise InvalidInput(
            f"{what} '{name}'{did_you_mean(name, (*known, LATEST))}",
            where=self.store.url,
            hint=f"there are: {', '.join((begun or list(known))[-5:])}, and `{LATEST}`",
        )

    def _put(self, key: str, stored: bytes) -> None:
        """Store an object under the hash of its bytes, and read it back."""
        self.store.overwrite(key, stored)
        at = 0
        for chunk in self.store.download(key):
            if stored[at : at + len(chunk)] != chunk:
                break
            at += len(chunk)
        if at != len(stored):
            with suppress(StoreFailed):
                self.store.delete([key])  # nothing names it yet
            raise DamagedRepository(
                "what was read back is not what was written",
                where=self.store.show(key),
                hint="check the disk or the store, then run the same command again",
            )

    def _read(self, key: str, sha256: str) -> bytes:
        """The bytes of an object, whose SHA-256 begins with `sha256`."""
        where = self.store.show(key)
        stored = self.store.read(key, most_bytes=_MOST_STORED_BYTES)
        if stored is None:
            raise DamagedRepository("is missing", where=where, hint=_DAMAGED_HINT)
        if not hashlib.sha256(stored).hexdigest().startswith(sha256):
            raise DamagedRepository(
                "was changed: its SHA-256 differs from its name", where=where, hint=_DAMAGED_HINT
            )
        return stored

    def _encrypted(self, data: bytes) -> bytes:
        return self.cipher.encrypt(data) if self.cipher else data

    def _decrypted(self, data: bytes, key: str) -> bytes:
        return self.cipher.decrypt(data, where=self.store.show(key)) if self.cipher else data


def pack_salt() -> bytes:
    """The random bytes at the end of a pack."""
    return secrets.token_bytes(_SALT_BYTES)


def pack_key(name: str) -> str:
    """The key of a pack in the store."""
    return f"packs/{name[:2]}/{name}"


def open_frame(stored: bytes, place: Location, *, where: str) -> bytes:
    """The decompressed bytes of a frame. Raises DamagedData when they cannot be right."""
    if place.encoding == "raw":
        return stored
    return decompress(stored, most_bytes=place.frame_size, where=where)


def repository_url(url: str | None, project: Project) -> str:
    """The address of a repository; that of the project itself for None."""
    return project.backups.absolute().as_uri() if url is None else url


def _require_own_folder(url: str) -> None:
    """Raise InvalidInput where a new repository would lie among files of something else."""
    folder = _folder_of(url)
    if folder is None or not folder.is_dir() or (folder / _FORMAT_KEY).exists():
        return
    with disk_errors(folder):
        names = sorted({each.name for each in folder.iterdir()} - _OWN_FOLDERS)
    half_written = (_FORMAT_KEY, CREATING_PREFIX)
    others = [name for name in names if not name.startswith(half_written)]
    if others:
        raise InvalidInput(
            f"the folder is no repository, and holds other things, such as {others[0]!r}",
            where=url,
            hint=f"name a new folder, such as {url.rstrip('/')}/backups",
        )


def is_on_disk_of(project: Project, url: str) -> bool:
    """Whether a repository is, or would be, on the disk of the project, and lost with it."""
    folder = _folder_of(url)
    if folder is None:
        return False
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    return existing.stat().st_dev == project.root.stat().st_dev


def _folder_of(url: str) -> Path | None:
    parts = urlsplit(url)
    is_here = parts.scheme == "file" and parts.netloc in ("", "localhost")
    return Path(unquote(parts.path)) if is_here else None


def _make_private_folder(url: str) -> None:
    """A new folder is its owner's alone, since files of that kind are in its packs.

    In a project it is also of those who may change the project.
    """
    folder = _folder_of(url)
    if folder is not None and not folder.exists():
        with disk_errors(folder):
            make_folder(folder)
            if shared_at(folder) is not None:
                return
            try:
                folder.chmod(0o700)
            except OSError as error:
                if error.errno not in _NO_MODES:  # there, everybody may read every file
                    raise


def _require_none_lost(store: ObjectStore, *, can_write_again: bool) -> None:
    """Raise where snapshots are there, and not the object that marks their repository.

    A new one over encrypted snapshots would hide that their key is lost, and is never made
    (DamagedRepository); over others it does no harm, and is made by who may (else NoRepository).
    """
    first = next(iter(store.names("snapshots/")), None)
    if first is None:
        return
    stored = store.read(f"snapshots/{first}", most_bytes=_MOST_STORED_BYTES) or b""
    where = store.show(_FORMAT_KEY)
    if stored.startswith(b"age-encryption.org/"):
        raise DamagedRepository(
            "is missing, and encrypted snapshots are there",
            where=where,
            hint="bring it back from a copy of the repository: it holds what decrypts them",
        )
    if not can_write_again:
        raise NoRepository(
            "is missing, and snapshots are there",
            where=where,
            hint="bring it back from a copy of the repository; `models backup` without a key "
            "writes it again too",
        )


def open_repository(
    url: str | None,
    project: Project,
    *,
    make: bool = False,
    key: Key | None = None,
    recipients: Sequence[str] = (),
) -> Repository:
    """The repository at `url` (None: in the project's .models/backups).

    make: whether one is made where there is none; encrypted when there is a key, and in a new
    folder that only its owner can read. recipients: who else can open it then. Raises NoRepository
    where there is none, InvalidInput for an invalid address, a key that is missing or not needed,
    and recipients of one that is there already, ModelyardError for a newer format and a wrong key.
    """
    address = repository_url(url, project)
    if make:
        _require_own_folder(address)
        _make_private_folder(address)
    store = open_store(address, make=make)
    found = None if store is None else store.read(_FORMAT_KEY, most_bytes=_MOST_FORMAT_BYTES)
    if recipients and (key is None or found is not None):
        raise InvalidInput(
            "recipients are of a new repository, which is encrypted with a key of its maker",
            where=address,
            hint="leave --recipient out; or give --key too, and the address of a new repository",
        )
    if store is not None and found is None:
        _require_none_lost(store, can_write_again=make and key is None)
    if store is not None and found is None and make:
        store.create(_FORMAT_KEY, new_format(key, recipients))
        found = store.read(_FORMAT_KEY, most_bytes=_MOST_FORMAT_BYTES)
    if store is None or found is None:
        raise NoRepository(
            "there is no backup repository here",
            where=address,
            hint="check the address; `models backup` makes one",
        )
    values = parse_format(found, store.show(_FORMAT_KEY))
    cipher = open_encryption(values["encryption"], key, where=address)
    return Repository(store=store, id=values["id"], cipher=cipher)
