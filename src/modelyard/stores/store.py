"""An object store as a registry needs it: objects made once, and files that go there and back.

Knows obstore, its errors and its local folders. Does not know what an adapter is. Credentials come
from the environment alone, and no message shows them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.files import sync_folder

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

SCHEMES = ("file", "s3", "gs", "az")

_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, for a store of your own "
    "also AWS_ENDPOINT_URL",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS or GOOGLE_SERVICE_ACCOUNT_KEY",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_CHUNK_BYTES = 1 << 20
_PART_BYTES = 8 << 20
_PREFIX_OF_SECRETS = ("AWS_", "AZURE_", "GOOGLE_")
_SECRET_NAME = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|SAS|CREDENTIAL")


class RemoteFailed(ModelyardError):
    """The object store refused, cannot be reached, or broke off."""


@dataclass(frozen=True, slots=True)
class Remote:
    """One object store, from one prefix down."""

    url: str
    """Where it is, as the person wrote it."""
    store: ObjectStore
    """The store as obstore gives it."""
    folder: Path | None = None
    """The folder of a `file://` store."""

    def read(self, key: str, *, most_bytes: int) -> bytes | None:
        """A small object's bytes; None when there is none.

        Raises RemoteFailed when it is larger than `most_bytes`; no more than that is fetched.
        """
        with self._errors(key):
            try:
                found = self.store.get(key)
                if found.meta["size"] > most_bytes:
                    raise RemoteFailed(
                        f"holds {found.meta['size']:,} bytes, where at most {most_bytes:,} belong",
                        where=self.show(key),
                    )
                return bytes(found.bytes())
            except FileNotFoundError:
                return None

    def size_bytes(self, key: str) -> int | None:
        """The size of an object; None when there is none."""
        with self._errors(key):
            try:
                return self.store.head(key)["size"]
            except FileNotFoundError:
                return None

    def create(self, key: str, data: bytes) -> bool:
        """Make an object that is not there yet: the one step that two writers cannot both take.

        Returns False when there is one already (perhaps this one, when a reply was lost on the
        way), which then is as it was.
        """
        from obstore.exceptions import AlreadyExistsError, BaseError

        with self._errors(key):
            try:
                self.store.put(key, data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
            except BaseError:
                # S3 answers a conflict of two creations under way with an error of its own.
                if self.size_bytes(key) is None:
                    raise
                return False
            self._settle(key)
            return True

    def overwrite(self, key: str, data: bytes) -> None:
        """Write an object whatever was there."""
        with self._errors(key):
            self.store.put(key, data, use_multipart=False)
            self._settle(key)

    def upload(self, key: str, chunks: Iterator[bytes], size_bytes: int) -> None:
        """Write an object from its chunks, whole or not at all; nothing when `chunks` raises."""
        with self._errors(key):
            if size_bytes <= _PART_BYTES:
                self.store.put(key, b"".join(chunks), use_multipart=False)
            else:
                self.store.put(key, chunks, chunk_size=_PART_BYTES)
            self._settle(key)

    def download(self, key: str, *, offset: int = 0) -> Iterator[bytes]:
        """An object's bytes from `offset` on, in chunks. Raises RemoteFailed when there is none."""
        with self._errors(key):
            try:
                got = self.store.get(key, options={"range": {"offset": offset}} if offset else {})
            except FileNotFoundError as error:
                raise RemoteFailed("is missing", where=self.show(key)) from error
            for chunk in got.stream(min_chunk_size=_CHUNK_BYTES):
                yield bytes(chunk)

    def names(self, prefix: str) -> list[str]:
        """The last part of every object's key directly below `prefix`."""
        with self._errors(prefix):
            objects = self.store.list_with_delimiter(prefix)["objects"]
            return sorted(entry["path"].rpartition("/")[2] for entry in objects)

    def folders(self, prefix: str) -> list[str]:
        """The last part of every prefix directly below `prefix`."""
        with self._errors(prefix):
            found = self.store.list_with_delimiter(prefix)["common_prefixes"]
            return sorted(folder.rstrip("/").rpartition("/")[2] for folder in found)

    def show(self, key: str) -> str:
        """An object as a person would write it."""
        return f"{self.url.rstrip('/')}/{key}"

    def _settle(self, key: str) -> None:
        """Make a written object survive a power cut; obstore's folders do not by themselves."""
        if self.folder is None:
            return
        path = self.folder / key
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        for place in path.parents:
            sync_folder(place)
            if place == self.folder:
                break

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        """Turn obstore's errors into ours, without the secrets and the debug text they carry."""
        from obstore.exceptions import BaseError

        try:
            yield
        except ModelyardError:
            raise
        except (BaseError, OSError, NotImplementedError, ValueError) as error:
            raise RemoteFailed(
                plain_message(error), where=self.show(key), hint=_hint(self.url)
            ) from None


def open_remote(url: str, *, make: bool = False) -> Remote | None:
    """The store at `url`; None when it is a folder that is not there and `make` is off.

    Nothing is asked of a distant store yet. Raises InvalidInput when `url` is none of `SCHEMES`.
    """
    parts = urlsplit(url)
    named = parts.path.strip("/") if parts.scheme == "file" else parts.netloc
    if parts.scheme not in SCHEMES or not named:
        near = Path(url).absolute().as_uri() if not parts.scheme else None
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
    if parts.scheme == "file":
        return _open_folder(url, make=make)
    from obstore.exceptions import BaseError
    from obstore.store import from_url

    # Options given here take the place of those that obstore reads from the environment.
    client: ClientConfig = {
        "allow_http": _allows_http(),
        "connect_timeout": timedelta(seconds=10),
        "read_timeout": timedelta(seconds=60),
        "timeout": timedelta(hours=6),  # of a whole transfer; a stalled one ends sooner
    }
    retry: RetryConfig = {"max_retries": 5, "retry_timeout": timedelta(seconds=60)}
    try:
        return Remote(url, from_url(url, client_options=client, retry_config=retry))
    except (BaseError, ValueError) as error:
        raise RemoteFailed(plain_message(error), where=url, hint=_hint(url)) from None


def _open_folder(url: str, *, make: bool) -> Remote | None:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise InvalidInput(
            f"'{url}' names another machine", hint="a folder here has three slashes: file:///FOLDER"
        )
    folder = Path(unquote(parts.path))
    if not folder.is_dir() and not make:
        return None
    from obstore.exceptions import BaseError
    from obstore.store import LocalStore

    try:
        return Remote(url, LocalStore(prefix=folder, mkdir=make), folder)
    except (BaseError, ValueError, OSError) as error:
        raise RemoteFailed(plain_message(error), where=url) from None


def _allows_http() -> bool:
    """Whether the environment allows a store of one's own that is reached without encryption."""
    allowed = os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true", "yes")
    endpoint = os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT") or ""
    if endpoint.startswith("http://") and not allowed:
        raise InvalidInput(
            "AWS_ENDPOINT_URL is http://, which sends what is stored without encryption",
            hint="use https://, or allow it with AWS_ALLOW_HTTP=true in the environment",
        )
    return allowed


def plain_message(error: BaseException) -> str:
    """What obstore says in one line, without keys, tokens and signed addresses."""
    first = str(error).strip().partition("\n")[0].partition("<")[0]
    line = re.sub(r"\?\S*", "", re.sub(r"^Generic (\w+) error: ", "", first)).strip(" :-")
    line = _without_secrets(line)
    if line[1:2].islower():
        line = line[0].lower() + line[1:]
    return line or type(error).__name__


def _without_secrets(text: str) -> str:
    """`text` with the value of every variable that holds a credential blotted out."""
    for name, value in os.environ.items():
        secret = name.upper().startswith(_PREFIX_OF_SECRETS) and _SECRET_NAME.search(name.upper())
        if secret and len(value) >= 4:
            text = text.replace(value, "***")
    return re.sub(r"//[^/@\s]*@", "//***@", text)


def _hint(url: str) -> str:
    scheme = urlsplit(url).scheme
    if scheme == "file":
        return "check the folder and who owns it"
    return f"check the address, and in the environment {_CREDENTIALS[scheme]}"
