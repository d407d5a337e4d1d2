"""The key of an encrypted repository: read where a reference leads, and what is done with it.

Each repository has an age identity of its own, made at random, and every object is encrypted to it
alone. `format.json` holds that identity only encrypted: once to the recipients or with the
passphrase of whoever made the repository. So a passphrase costs its scrypt once for each command,
and a recipient that somebody writes into the store can open nothing: who opens a repository takes
the recipient from the identity itself. The format is age, version 1: https://age-encryption.org/v1
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.layout import Project
from modelyard.core.regular_files import read_regular
from modelyard.secrets.references import NoUsableKey, read_key

if TYPE_CHECKING:
    from pyrage.x25519 import Identity

KEY_VARIABLE = "MODELS_BACKUP_KEY"
"""The environment variable with the key, where no reference is given."""
KEY_FILE_VARIABLE = "MODELS_BACKUP_KEY_FILE"
"""The environment variable with the path of a file that holds the key."""
SHORTEST_PASSPHRASE = 12
"""The fewest characters of the passphrase of a new repository."""

_IDENTITY_PREFIX = "AGE-SECRET-KEY-1"
_HINT = (
    f"name it with --key env:NAME or --key file:PATH, or set ${KEY_VARIABLE} or "
    f"${KEY_FILE_VARIABLE}; a key is a passphrase, or an identity as `age-keygen` makes it"
)


class WrongKey(ModelyardError):
    """The key does not open the repository."""


class CannotDecrypt(ModelyardError):
    """An object was not encrypted for this repository, or was changed since."""


@dataclass(frozen=True, slots=True)
class RepositoryKey:
    """The opened identity of one repository; encrypts and decrypts its objects."""

    _identity: Identity = field(repr=False)

    def encrypt(self, data: bytes) -> bytes:
        """An age file of `data`; about 200 bytes longer, and another one each time."""
        import pyrage

        return bytes(pyrage.encrypt(data, [self._identity.to_public()]))

    def decrypt(self, data: bytes, *, where: str) -> bytes:
        """The bytes in an age file; `where` names it in the error.

        Raises CannotDecrypt when a single bit of it was changed.
        """
        import pyrage

        try:
            return bytes(pyrage.decrypt(data, [self._identity]))
        except pyrage.DecryptError:
            raise CannotDecrypt(
                "cannot be decrypted: it was changed, or belongs to another repository",
                where=where,
            ) from None


@dataclass(frozen=True, slots=True)
class Key:
    """What a user opens a repository with: a passphrase, or identities of age."""

    source: str
    """Where it was read, for messages; never the key."""
    passphrase: str | None = field(default=None, repr=False)
    """The passphrase; None where there are identities."""
    identities: tuple[str, ...] = field(default=(), repr=False)
    """Identities, `AGE-SECRET-KEY-1...`; one that fits is enough."""

    def new_repository(
        self, recipients: Sequence[str] = ()
    ) -> tuple[dict[str, Any], RepositoryKey]:
        """The identity of a new repository, as `format.json` keeps it and opened.

        recipients: public keys, `age1...`, whose owners can open it too.
        Raises InvalidInput for a short passphrase or a recipient that is none.
        """
        import pyrage

        identity = pyrage.x25519.Identity.generate()
        secret = str(identity).encode()
        for_whom = [_recipient(text) for text in recipients]
        keys = []
        if self.passphrase is None:
            for_whom += [_identity(text, self.source).to_public() for text in self.identities]
        else:
            if len(self.passphrase) < SHORTEST_PASSPHRASE:
                raise InvalidInput(
                    f"the passphrase of a new repository has at least {SHORTEST_PASSPHRASE} "
                    "characters",
                    where=self.source,
                    hint="who gets hold of the repository can try as many as they like: take six "
                    "words at random",
                )
            keys.append(pyrage.passphrase.encrypt(secret, self.passphrase, armored=True).decode())
        if for_whom:
            keys.append(pyrage.encrypt(secret, for_whom, armored=True).decode())
        return {"keys": keys}, RepositoryKey(identity)

    def open_repository(self, stored: Any, *, where: str) -> RepositoryKey:
        """The opened identity of a repository.

        stored: what `new_repository` gave, as it was read; not trusted.
        Raises WrongKey when this key opens none of it.
        """
        import pyrage

        keys = stored.get("keys") if isinstance(stored, dict) else None
        for text in keys if isinstance(keys, list) else ():
            try:
                secret = self._unlock(text.encode())
                return RepositoryKey(pyrage.x25519.Identity.from_str(secret.decode()))
            except (pyrage.DecryptError, pyrage.IdentityError, AttributeError, ValueError):
                continue
        raise WrongKey(
            f"the key in {self.source} does not open this repository", where=where, hint=_HINT
        )

    def _unlock(self, data: bytes) -> bytes:
        import pyrage

        if self.passphrase is not None:
            return bytes(pyrage.passphrase.decrypt(data, self.passphrase))
        identities = [_identity(text, self.source) for text in self.identities]
        return bytes(pyrage.decrypt(data, identities))


def read_backup_key(reference: str | None, project: Project) -> Key | None:
    """The key that `reference` leads to, else that of the environment; None where none is named.

    reference: `env:NAME` or `file:PATH`; a path that is relative starts at the project.
    Raises NoUsableKey where the place holds no key; the error never repeats it.
    """
    if reference is not None and reference.partition(":")[0] not in ("env", "file"):
        raise InvalidInput("a key is named by its place, and never written out", hint=_HINT)
    if reference is None and os.environ.get(KEY_VARIABLE):
        reference = f"env:{KEY_VARIABLE}"
    if reference is None and (path := os.environ.get(KEY_FILE_VARIABLE)):
        reference = f"file:{path}"
    if reference is None:
        return None
    identities = _identities(reference, project)
    if identities:
        for text in identities:
            _identity(text, reference)
        return Key(reference, identities=identities)
    return Key(reference, passphrase=read_key(reference, project, of="the backups"))


def open_encryption(stored: Any, key: Key | None, *, where: str) -> RepositoryKey | None:
    """The opened identity of a repository; None where it is not encrypted.

    stored: what `format.json` says of it. Raises InvalidInput where a key is missing or needless,
    WrongKey where it does not fit.
    """
    if stored is None:
        if key is not None:
            raise InvalidInput(
                f"a key was given ({key.source}), and this repository is not encrypted",
                where=where,
                hint="leave the key out, or name another repository: encryption is chosen when a "
                "repository is made",
            )
        return None
    if key is None:
        raise InvalidInput(
            "the repository is encrypted, and no key was given", where=where, hint=_HINT
        )
    return key.open_repository(stored, where=where)


def _identities(reference: str, project: Project) -> tuple[str, ...]:
    """The identities at a place; none where it holds a passphrase, or nothing."""
    kind, _, name = reference.partition(":")
    try:
        text = (
            os.environ.get(name, "")
            if kind == "env"
            else read_regular(project.written_path(name)).decode()
        )
    except (OSError, ValueError):
        return ()  # read_key says why
    lines = (line.strip() for line in text.splitlines())
    return tuple(line for line in lines if line.upper().startswith(_IDENTITY_PREFIX))


def _identity(text: str, source: str) -> Identity:
    import pyrage

    try:
        return pyrage.x25519.Identity.from_str(text)
    except pyrage.IdentityError:
        raise NoUsableKey(
            "holds an identity of age that is not whole", where=source, hint=_HINT
        ) from None


def _recipient(text: str) -> Any:
    import pyrage

    try:
        return pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError:
        raise InvalidInput(
            f"'{text}' is no recipient", hint="a recipient is a public key of age, `age1...`"
        ) from None
