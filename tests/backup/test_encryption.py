"""The keys of encrypted repositories: what opens one, and what does not."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyrage
import pytest

from modelyard.backup.encryption import (
    KEY_FILE_VARIABLE,
    KEY_VARIABLE,
    CannotDecrypt,
    Key,
    WrongKey,
    open_encryption,
    read_backup_key,
)
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project
from modelyard.secrets.references import NoUsableKey

PASSPHRASE = "six words at random, of dice"


def new_identity() -> str:
    return str(pyrage.x25519.Identity.generate())


def public(identity: str) -> str:
    return str(pyrage.x25519.Identity.from_str(identity).to_public())


def as_stored(value: Any) -> Any:
    return json.loads(json.dumps(value))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_a_passphrase_opens_its_repository_and_no_other_does() -> None:
    key = Key("env:K", passphrase=PASSPHRASE)
    stored, made = key.new_repository()
    sealed = made.encrypt(b"weights")
    assert b"weights" not in sealed and made.encrypt(b"weights") != sealed
    opened = open_encryption(as_stored(stored), key, where="here")
    assert opened is not None and opened.decrypt(sealed, where="packs/a") == b"weights"
    with pytest.raises(WrongKey, match="env:OTHER does not open"):
        open_encryption(stored, Key("env:OTHER", passphrase=PASSPHRASE + "!"), where="here")


def test_every_recipient_opens_the_repository_and_nobody_else() -> None:
    mine, recovery, stranger = new_identity(), new_identity(), new_identity()
    stored, made = Key("file:k", identities=(mine,)).new_repository([public(recovery)])
    sealed = made.encrypt(b"weights")
    for identity in (mine, recovery):
        opened = Key("file:k", identities=(stranger, identity)).open_repository(stored, where="")
        assert opened.decrypt(sealed, where="") == b"weights"
    with pytest.raises(WrongKey):
        Key("file:k", identities=(stranger,)).open_repository(stored, where="")


def test_a_recipient_written_into_the_store_reads_nothing() -> None:
    mine, thief = new_identity(), new_identity()
    key = Key("file:k", identities=(mine,))
    stored, _ = key.new_repository()
    stored["recipients"] = [public(thief)]
    sealed = key.open_repository(as_stored(stored), where="").encrypt(b"weights")
    with pytest.raises(pyrage.DecryptError):
        pyrage.decrypt(sealed, [pyrage.x25519.Identity.from_str(thief)])


@pytest.mark.parametrize("stored", [{}, [], 3, {"keys": 1}, {"keys": [1, None, "", "\ud800"]}])
def test_what_a_store_says_of_keys_is_not_trusted(stored: Any) -> None:
    with pytest.raises(WrongKey):
        Key("env:K", passphrase=PASSPHRASE).open_repository(stored, where="format.json")


def test_every_flipped_bit_of_an_object_is_found() -> None:
    _, made = Key("file:k", identities=(new_identity(),)).new_repository()
    sealed = made.encrypt(bytes(70_000))
    chance = random.Random(4)
    for _ in range(200):
        spoiled = bytearray(sealed)
        bit = chance.randrange(len(spoiled) * 8)
        spoiled[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CannotDecrypt, match="packs/a"):
            made.decrypt(bytes(spoiled), where="packs/a")
    for length in (0, 10, len(sealed) // 2, len(sealed) - 1):
        with pytest.raises(CannotDecrypt):
            made.decrypt(sealed[:length], where="packs/a")


def test_a_key_is_read_where_a_reference_leads(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = new_identity()
    made_by_age_keygen = f"# created: today\n# public key: {public(identity)}\n{identity}\n"
    (project.root / "backup.key").write_text(made_by_age_keygen)
    assert read_backup_key(None, project) is None
    monkeypatch.setenv(KEY_FILE_VARIABLE, "backup.key")
    found = read_backup_key(None, project)
    assert found is not None and found.identities == (identity,)
    monkeypatch.setenv(KEY_VARIABLE, PASSPHRASE)
    found = read_backup_key(None, project)
    assert found is not None and found.passphrase == PASSPHRASE
    monkeypatch.setenv("OTHER", identity)
    found = read_backup_key("env:OTHER", project)
    assert found is not None and found.identities == (identity,)
    assert identity not in repr(found) and PASSPHRASE not in repr(found)


def test_a_place_without_a_key_is_named_and_a_key_written_out_is_refused(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = new_identity()
    monkeypatch.setenv("CUT", identity[:-3])
    for reference in ("env:NOWHERE", "file:nowhere", "file:.", "env:CUT"):
        with pytest.raises(NoUsableKey) as refused:
            read_backup_key(reference, project)
        assert refused.value.where == reference
        assert identity[:-3] not in str(refused.value)
    with pytest.raises(InvalidInput) as written:
        read_backup_key(identity, project)
    assert identity not in str(written.value)


def test_a_key_that_is_missing_needless_or_weak_is_said() -> None:
    key = Key("env:K", passphrase=PASSPHRASE)
    assert open_encryption(None, None, where="here") is None
    with pytest.raises(InvalidInput, match="no key was given"):
        open_encryption({"keys": []}, None, where="here")
    with pytest.raises(InvalidInput, match="not encrypted"):
        open_encryption(None, key, where="here")
    with pytest.raises(InvalidInput, match="at least 12"):
        Key("env:K", passphrase="short").new_repository()
    with pytest.raises(InvalidInput, match="is no recipient"):
        key.new_repository(["age1nobody"])


def test_the_library_is_loaded_only_for_encryption() -> None:
    program = "import sys, modelyard.backup.encryption; print('pyrage' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
