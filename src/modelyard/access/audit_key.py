"""The key of an audit log: a file outside the project, made once."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.files import disk_errors, exclusive_lock, write_atomic
from modelyard.core.layout import Project, shared_lock
from modelyard.core.regular_files import require_regular

_LEAST_CHARACTERS = 32
_MOST_BYTES = 4096
_LOCK_WAIT_S = 60.0


class NoAuditKey(ModelyardError):
    """The key of an audit log is not on this machine, or may not be read."""


def key_path(log_id: str) -> Path:
    """Where the key of a log lies: `$MODELS_AUDIT_KEY`, else among the user's settings."""
    if named := os.environ.get("MODELS_AUDIT_KEY"):
        return Path(named).absolute()
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home).absolute() / "modelyard" / "audit" / f"{log_id}.key"


def make_key(project: Project, log_id: str) -> None:
    """Make the key of a new log, unless one is there: whole, or not at all."""
    path = _outside(project, log_id)
    lock = shared_lock("audit-key")
    with exclusive_lock(lock, what="keys of audit logs", wait_s=_LOCK_WAIT_S):
        if os.path.lexists(path):
            return
        try:
            with disk_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomic(path, f"{secrets.token_hex(32)}\n", mode=0o600)
        except OSError as error:
            raise _cannot_make(path, error.strerror or str(error)) from error


def require_key_possible(project: Project) -> None:
    """Raise what making the key of a first log would raise, as far as that can be seen."""
    path = _outside(project, "new")
    if os.environ.get("MODELS_AUDIT_KEY") and os.path.lexists(path):
        load_key(project, "new")
        return
    above = next(folder for folder in path.parents if os.path.lexists(folder))
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise _cannot_make(path, f"no file can be made in {above}")


def _cannot_make(path: Path, why: str) -> NoAuditKey:
    return NoAuditKey(
        f"the key of the audit log cannot be made: {why}",
        where=str(path),
        hint="make it yourself (`openssl rand -hex 32 > FILE`, readable by who runs this alone), "
        "and name it in MODELS_AUDIT_KEY",
    )


def load_key(project: Project, log_id: str) -> bytes:
    """The key of a log. Raises ModelyardError when it is not there, or is none."""
    path = _outside(project, log_id)
    try:
        require_regular(path)
        with path.open("rb") as file:
            key = file.read(_MOST_BYTES).strip()
    except FileNotFoundError as error:
        raise NoAuditKey(
            "the key of the audit log is not there",
            where=str(path),
            hint="put it back, or name another place in MODELS_AUDIT_KEY; without it no row can be "
            "added or verified",
        ) from error
    except OSError as error:
        raise NoAuditKey(
            f"the key of the audit log cannot be read: {error.strerror}",
            where=str(path),
            hint="let who runs this read it, or name another place in MODELS_AUDIT_KEY",
        ) from error
    if len(key) < _LEAST_CHARACTERS:
        raise ModelyardError(
            "holds no key of an audit log: 64 hex digits belong there",
            where=str(path),
            hint="restore the file from where you keep it",
        )
    return key


def _outside(project: Project, log_id: str) -> Path:
    """The place of the key. Raises InvalidInput where it is in the project."""
    path = key_path(log_id)
    if path.resolve().is_relative_to(project.root.resolve()):
        raise InvalidInput(
            "lies in the project, and who may write there must not have the key of its audit log",
            where=str(path),
            hint="name a file elsewhere in MODELS_AUDIT_KEY",
        )
    return path
