"""API keys: made, listed, revoked, exchanged, and found again by what a client sends.

A key is `sk-my-ID-SECRET`. The secret has 192 random bits and is shown once; state.db holds a
salted SHA-256 of it, which for such a secret is as good as a slow hash and takes microseconds.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from modelyard.access.caller import SCOPES, Caller, Scope
from modelyard.core.clock import utc_now
from modelyard.core.database import transaction
from modelyard.core.errors import InvalidInput, did_you_mean
from modelyard.core.layout import Project, check_name
from modelyard.core.state import open_state, read_state

_FORM = re.compile(r"sk-my-([0-9a-f]{12})-([0-9a-f]{48})")
_NANO = 1_000_000_000
DEFAULT_SCOPES: tuple[Scope, ...] = ("chat", "feedback", "search")
_ABSENT_SALT = "0" * 32
"""Hashed for a key that does not exist, so that it takes as long as one that does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key, without its secret."""

    id: str
    """Its id, which is part of it."""
    organisation: str
    """Whose it is."""
    name: str | None
    """What it is for."""
    scopes: tuple[Scope, ...]
    """What it may do."""
    created_at: str
    """When, UTC."""
    expires_at: str | None
    """When it stops working; None: never."""
    revoked_at: str | None
    """When it was revoked, or will be: one that was exchanged may work a little longer."""
    requests_per_minute: int | None
    """Requests in any minute; None: as many as the organisation may send."""
    per_month_usd: float | None
    """What its answers may cost in a calendar month (UTC); None: no budget of its own."""

    def works_at(self, now: str) -> bool:
        """Whether it is valid at a time, as `utc_now` writes it."""
        ends = [end for end in (self.expires_at, self.revoked_at) if end is not None]
        return all(now < end for end in ends)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key that was made; its secret is not stored."""

    token: str
    """What clients send."""
    key: ApiKey
    """The key."""


def check_key(
    organisation: str,
    *,
    name: str | None = None,
    scopes: Iterable[str] = DEFAULT_SCOPES,
    expires_s: float | None = None,
    requests_per_minute: int | None = None,
    per_month_usd: float | None = None,
) -> ApiKey:
    """A key as `create_key` makes it. Raises InvalidInput for a name or a scope there is not."""
    check_name(organisation, "organisation")
    now = datetime.now(UTC)
    return ApiKey(
        id=secrets.token_hex(6),
        organisation=organisation,
        name=name,
        scopes=_checked_scopes(scopes),
        created_at=_written(now),
        expires_at=None if expires_s is None else _written(now + timedelta(seconds=expires_s)),
        revoked_at=None,
        requests_per_minute=requests_per_minute,
        per_month_usd=per_month_usd,
    )


def create_key(project: Project, key: ApiKey) -> NewKey:
    """Store a key that `check_key` made, with a new secret."""
    with open_state(project) as state, transaction(state):
        return _insert(state, key)


def list_keys(project: Project, organisation: str | None = None) -> tuple[ApiKey, ...]:
    """The keys of an organisation, or all, oldest first."""
    rows = read_state(
        project,
        f"SELECT {_COLUMNS} FROM api_keys WHERE :organisation IS NULL "
        "OR organisation = :organisation ORDER BY created_at, id",
        {"organisation": organisation},
    )
    return tuple(map(_key, rows))


def find_key(project: Project, key_id: str) -> ApiKey:
    """The key of an id. Raises InvalidInput when there is none."""
    keys = {key.id: key for key in list_keys(project)}
    if key_id in keys:
        return keys[key_id]
    raise InvalidInput(
        f"there is no key {key_id!r}{did_you_mean(key_id, list(keys))}",
        hint="`models keys list` shows their ids: the part of a key between `sk-my-` and the next "
        "`-`",
    )


def require_working(key: ApiKey) -> None:
    """Raise InvalidInput for a key that does not work any more: nothing can take its place."""
    if not key.works_at(utc_now()):
        raise InvalidInput(
            f"the key {key.id} does not work any more, so there is nothing to exchange",
            hint=f"`models keys create --org {key.organisation}` makes a new one",
        )


def revoke_key(project: Project, key_id: str) -> None:
    """End a key at once: the next request with it is refused. Again, it changes nothing.

    Raises InvalidInput when there is no such key.
    """
    find_key(project, key_id)
    with open_state(project) as state, transaction(state):
        state.execute(
            "UPDATE api_keys SET revoked_at = :now "
            "WHERE id = :id AND (revoked_at IS NULL OR revoked_at > :now)",
            {"now": utc_now(), "id": key_id},
        )


def rotate_key(project: Project, key_id: str, *, overlap_s: float = 0.0) -> NewKey:
    """A new key with all that the old one may do; the old one works for `overlap_s` more.

    Raises InvalidInput when there is no such key, or when it does not work any more.
    """
    old = find_key(project, key_id)
    require_working(old)
    now = datetime.now(UTC)
    expires_at = None
    if old.expires_at is not None:  # as long as the old one was made for
        expires_at = _written(now + (_read(old.expires_at) - _read(old.created_at)))
    key = replace(old, id=secrets.token_hex(6), created_at=_written(now), expires_at=expires_at)
    ends = _written(now + timedelta(seconds=overlap_s))
    with open_state(project) as state, transaction(state):
        state.execute(
            "UPDATE api_keys SET revoked_at = :ends "
            "WHERE id = :id AND (revoked_at IS NULL OR revoked_at > :ends)",
            {"ends": ends, "id": key_id},
        )
        return _insert(state, replace(key, revoked_at=None))


def find_caller(project: Project, token: str) -> Caller | None:
    """Who a token belongs to; None for one that is no key, or that does not work any more.

    One read of one row: a key that another process revokes is refused with the next request.
    """
    form = _FORM.fullmatch(token)
    key_id, secret = (form[1], form[2]) if form else ("", token)
    rows = read_state(
        project, f"SELECT {_COLUMNS}, salt, hash FROM api_keys WHERE id = ?", (key_id,)
    )
    salt, expected = (rows[0]["salt"], rows[0]["hash"]) if rows else (_ABSENT_SALT, "")
    is_same = hmac.compare_digest(_hash(salt, secret), expected)
    if not rows or not is_same:
        return None
    key = _key(rows[0])
    if not key.works_at(utc_now()):
        return None
    return Caller(
        organisation=key.organisation,
        key_id=key.id,
        scopes=frozenset(key.scopes),
        requests_per_minute=key.requests_per_minute,
        per_month_usd=key.per_month_usd,
    )


_COLUMNS = (
    "id, organisation, name, scopes, created_at, expires_at, revoked_at, requests_per_minute, "
    "per_month_nano_usd"
)


def _insert(state: sqlite3.Connection, key: ApiKey) -> NewKey:
    """Store a key with a new secret."""
    secret, salt = secrets.token_hex(24), secrets.token_hex(16)
    money = key.per_month_usd
    state.execute(
        f"INSERT INTO api_keys ({_COLUMNS}, salt, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            key.id,
            key.organisation,
            key.name,
            " ".join(key.scopes),
            key.created_at,
            key.expires_at,
            key.revoked_at,
            key.requests_per_minute,
            None if money is None else round(money * _NANO),
            salt,
            _hash(salt, secret),
        ),
    )
    return NewKey(token=f"sk-my-{key.id}-{secret}", key=key)


def _key(row: Any) -> ApiKey:
    nano = row["per_month_nano_usd"]
    return ApiKey(
        id=row["id"],
        organisation=row["organisation"],
        name=row["name"],
        scopes=cast("tuple[Scope, ...]", tuple(row["scopes"].split())),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        requests_per_minute=row["requests_per_minute"],
        per_month_usd=None if nano is None else nano / _NANO,
    )


def _checked_scopes(scopes: Iterable[str]) -> tuple[Scope, ...]:
    chosen = sorted(set(scopes))
    for scope in chosen:
        if scope not in SCOPES:
            raise InvalidInput(
                f"there is no scope {scope!r}{did_you_mean(scope, sorted(SCOPES))}",
                hint=f"scopes are {', '.join(sorted(SCOPES))}",
            )
    if not chosen:
        raise InvalidInput("a key without a scope may do nothing", hint="name one: chat")
    return cast("tuple[Scope, ...]", tuple(chosen))


def _hash(salt: str, secret: str) -> str:
    return hashlib.sha256(f"{salt}{secret}".encode(errors="surrogatepass")).hexdigest()


def _written(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _read(text: str) -> datetime:
    return datetime.fromisoformat(text)
