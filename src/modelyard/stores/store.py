"""One object store from a prefix down: read, create once, upload, download, list, delete.

Knows obstore, its errors and its local folders; does not know what is stored. Credentials come only
from the environment, and no message shows them.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.files import sync_path
from modelyard.core.seen_from import without_dots
from modelyard.core.sharing import shared_at
from modelyard.stores.credentials import lacking_credentials

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig
    from obstore.store import ObjectStore as ObstoreStore

SCHEMES = ("file", "s3", "gs", "az")
CREATING_PREFIX = ".creating-"
"""How the names begin of what is being created, in the top folder of a `file://` store."""

_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, for a self-hosted store "
    "also AWS_ENDPOINT_URL",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS or GOOGLE_SERVICE_ACCOUNT_KEY",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_RETRY: RetryConfig = {"max_retries": 5, "retry_timeout": timedelta(seconds=60)}
_CHUNK_BYTES = 1 << 20
_PIECE_BYTES = 4 << 20
_PART_BYTES = 8 << 20
_NO_PARTS = "non-partial response"
_FULL = f"(os error {errno.ENOSPC})"
_FREE_SPACE = "free some space there and run the same command again; what is complete is kept"
_SECRET_NAME = re.compile(r"(AWS|AZURE|GOOGLE)_.*(KEY|SECRET|TOKEN|PASSWORD|SAS|CREDENTIAL)")


class StoreFailed(ModelyardError):
    """The object store refused the request, cannot be reached, or closed the connection."""


class ObjectMissing(StoreFailed):
    """There is no such object, or it was deleted."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What a listing says of an object."""

    key: str
    """Its key, from the store's prefix on."""
    size_bytes: int
    """How many bytes it has."""
    modified_s: float
    """When it was last written, in seconds since 1970, by the clock of the store.

    Times of one store compare with each other, and not with the clock of this machine. Some stores
    cut them to whole seconds.
    """


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """An object store at one address; keys are relative to its prefix."""

    url: str
    """Its address, as the user wrote it."""
    client: ObstoreStore
    """The store as obstore gives it."""
    folder: Path | None = None
    """The folder of a `file://` store."""

    def read(self, key: str, *, most_bytes: int) -> bytes | None:
        """A small object's bytes; None when there is none.

        Raises StoreFailed when it is larger than `most_bytes`; no more than that is fetched.
        """
        with self._errors(key):
            try:
                found = self.client.get(key)
                if found.meta["size"] > most_bytes:
                    raise StoreFailed(
                        f"holds {found.meta['size']:,} bytes, and at most {most_bytes:,} are read",
                        where=self.show(key),
                    )
                return bytes(found.bytes())
            except FileNotFoundError:
                return None

    def read_range(self, key: str, at: int, length: int) -> bytes:
        """`length` bytes of an object from byte `at` on; fewer where it is shorter.

        Raises ObjectMissing when there is none. Of a server that gives no parts, such as rclone's,
        the whole object is fetched.
        """
        from obstore.exceptions import BaseError

        with self._errors(key):
            try:
                if self.folder is not None:
                    return _read_part(self.folder / key, at, length)
                return bytes(self.client.get_range(key, start=at, length=length))
            except FileNotFoundError as error:
                raise ObjectMissing("is missing", where=self.show(key)) from error
            except BaseError as error:
                if _NO_PARTS not in str(error):
                    raise
                return bytes(memoryview(self.client.get(key).bytes())[at:][:length])

    def size_bytes(self, key: str) -> int | None:
        """The size of an object; None when there is none."""
        with self._errors(key):
            try:
                return self.client.head(key)["size"]
            except FileNotFoundError:
                return None

    def create(self, key: str, data: bytes) -> bool:
        """Create an object that does not exist yet; of two writers at once only one succeeds.

        Returns False when it exists already, and leaves it unchanged. That can be this very object,
        when the reply to the first attempt was lost.
        """
        from obstore.exceptions import AlreadyExistsError, BaseError

        with self._errors(key):
            try:
                self.client.put(key, data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
            except BaseError:
                # S3 answers two creations at once with an error of its own.
                if self.size_bytes(key) is None:
                    raise
                return False
            self._settle(key)
            return True

    def overwrite(self, key: str, data: bytes) -> None:
        """Write an object in one request, and replace the one that is there."""
        with self._errors(key):
            self.client.put(key, data, use_multipart=False)
            self._settle(key)

    def upload(self, key: str, chunks: Iterator[bytes], size_bytes: int) -> None:
        """Write a whole object from its chunks; nothing is stored when `chunks` raises."""
        with self._errors(key):
            if size_bytes <= _PART_BYTES:
                self.client.put(key, b"".join(chunks), use_multipart=False)
            else:
                self.client.put(key, chunks, chunk_size=_PART_BYTES)
            self._settle(key)

    def download(self, key: str, *, offset: int = 0) -> Iterator[bytes]:
        """An object's bytes from `offset` on, in chunks. Raises ObjectMissing for none."""
        with self._errors(key):
            try:
                if self.folder is not None:
                    yield from self._pieces(key, offset)
                    return
                got = self.client.get(key, options={"range": {"offset": offset}} if offset else {})
            except FileNotFoundError as error:
                raise ObjectMissing("is missing", where=self.show(key)) from error
            for chunk in got.stream(min_chunk_size=_CHUNK_BYTES):
                yield bytes(chunk)

    def names(self, prefix: str) -> list[str]:
        """The last part of every object's key directly below `prefix`."""
        with self._errors(prefix):
            listed = self.client.list_with_delimiter(prefix)
            return sorted(entry["path"].rpartition("/")[2] for entry in listed["objects"])

    def folders(self, prefix: str) -> list[str]:
        """The last part of every prefix directly below `prefix`."""
        with self._errors(prefix):
            found = self.client.list_with_delimiter(prefix)["common_prefixes"]
            return sorted(folder.rstrip("/").rpartition("/")[2] for folder in found)

    def listing(self, prefix: str = "") -> list[StoredObject]:
        """Every object below `prefix`, in folders too, in the order of their keys.

        prefix: whole folders, such as `packs/`. One request for each 1,000 objects.
        """
        with self._errors(prefix):
            found = [
                StoredObject(entry["path"], entry["size"], entry["last_modified"].timestamp())
                for entries in self.client.list(prefix or None)
                for entry in entries
            ]
        return sorted(found, key=lambda entry: entry.key)

    def delete(self, keys: Collection[str]) -> None:
        """Delete objects; one that is not there is no error.

        When this raises StoreFailed, some may be deleted.
        """
        if self.folder is None:
            with self._errors(next(iter(keys), "")):
                self.client.delete(list(keys))
            return
        for key in keys:
            with self._errors(key), suppress(FileNotFoundError):
                self.client.delete(key)

    def show(self, key: str) -> str:
        """The address of an object, for messages."""
        return f"{self.url.rstrip('/')}/{key}"

    def _pieces(self, key: str, offset: int) -> Iterator[bytes]:
        """A file of a folder in large pieces; obstore's stream asks for 8 KiB at a time."""
        size = self.client.head(key)["size"]
        for start in range(offset, size, _PIECE_BYTES):
            length = min(_PIECE_BYTES, size - start)
            yield bytes(self.client.get_range(key, start=start, length=length))

    def _settle(self, key: str) -> None:
        """Make an object written to a folder survive a power cut, with the mode of its project.

        obstore does neither.
        """
        if self.folder is None:
            return
        written = self.folder / key
        shared = shared_at(self.folder)
        for path in (written, *written.parents):
            if shared is not None:
                shared.follow(path)
            sync_path(path)
            if path == self.folder:
                break

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        """Turn obstore's errors into StoreFailed, without their secrets and debug text."""
        from obstore.exceptions import BaseError

        try:
            yield
        except ModelyardError:
            raise
        except (BaseError, OSError, NotImplementedError, ValueError) as error:
            is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
            message = plain_message(error)
            hint = _FREE_SPACE if is_full or _FULL in message else _hint(self.url)
            raise StoreFailed(message, where=self.show(key), hint=hint) from None


def _read_part(path: Path, at: int, length: int) -> bytes:
    """A part of a file; obstore would copy it twice."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(handle, length, at)
    finally:
        os.close(handle)


def open_store(url: str, *, make: bool = False) -> ObjectStore | None:
    """The store at `url`; None when it is a folder that does not exist and `make` is off.

    Sends no request yet. Raises InvalidInput when `url` has none of the `SCHEMES`, StoreFailed when
    the environment has no credentials for it.
    """
    parts = urlsplit(url)
    named = parts.path.strip("/") if parts.scheme == "file" else parts.netloc
    if parts.scheme not in SCHEMES or not named:
        near = without_dots(Path(url)).as_uri() if not parts.scheme else None
        raise InvalidInput(
            f"'{_without_secrets(url)}' is no object store",
            hint=f"write {near}" if near else "file:///FOLDER, s3://BUCKET/PREFIX, gs://, az://",
        )
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise InvalidInput(
            "the address of a store holds no key, user or option",
            hint=f"in the environment, set {_CREDENTIALS[parts.scheme]}"
            if parts.scheme in _CREDENTIALS
            else None,
        )
    from obstore.exceptions import BaseError
    from obstore.store import from_url

    if parts.scheme != "file" and (lacking := lacking_credentials(parts.scheme)):
        raise StoreFailed(lacking, where=url, hint=_hint(url))
    try:
        if parts.scheme != "file":
            return ObjectStore(url, from_url(url, client_options=_client(), retry_config=_RETRY))
        if parts.netloc not in ("", "localhost"):
            raise InvalidInput(
                f"'{url}' names another machine",
                hint="a folder here has three slashes: file:///FOLDER",
            )
        folder = Path(unquote(parts.path))
        if not folder.is_dir() and not make:
            return None
        from modelyard.stores.folder import FolderStore

        return ObjectStore(url, FolderStore(prefix=folder, mkdir=make), folder)
    except (BaseError, ValueError, OSError) as error:
        raise StoreFailed(plain_message(error), where=url, hint=_hint(url)) from None


def _client() -> ClientConfig:
    """Options that replace those that obstore reads from the environment."""
    return {
        "allow_http": _allows_http(),
        "connect_timeout": timedelta(seconds=10),
        "read_timeout": timedelta(seconds=60),
        "timeout": timedelta(hours=6),  # of a whole transfer; a stalled one fails sooner
    }


def _allows_http() -> bool:
    """Whether the environment allows a self-hosted store without encryption."""
    allowed = os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true", "yes")
    endpoint = os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT") or ""
    if endpoint.startswith("http://") and not allowed:
        raise InvalidInput(
            "AWS_ENDPOINT_URL is http://, which sends what is stored without encryption",
            hint="use https://, or set AWS_ALLOW_HTTP=true in the environment",
        )
    return allowed


def plain_message(error: BaseException) -> str:
    """The error of obstore in one line, without keys, tokens and signed addresses."""
    first = str(error).strip().partition("\n")[0].partition("<")[0]
    line = re.sub(r"\?\S*", "", re.sub(r"^Generic (\w+) error: ", "", first)).strip(" :-")
    line = _without_secrets(line)
    if line[1:2].islower():
        line = line[0].lower() + line[1:]
    return line or type(error).__name__


def _without_secrets(text: str) -> str:
    """`text` with the value of every credential in the environment replaced by `***`."""
    for name, value in os.environ.items():
        if _SECRET_NAME.match(name.upper()) and len(value) >= 4:
            text = text.replace(value, "***")
    return re.sub(r"//[^/@\s]*@", "//***@", text)


def _hint(url: str) -> str:
    if credentials := _CREDENTIALS.get(urlsplit(url).scheme):
        return f"check the address, and in the environment {credentials}"
    return "check the folder and who owns it"
