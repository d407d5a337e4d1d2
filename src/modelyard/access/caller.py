"""Who sends a request, and what of it is kept in the audit log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, get_args

Scope = Literal["chat", "search", "feedback", "admin"]
"""chat: answers and vectors. search: the search indexes. feedback: ratings of answers. admin: the
figures of the service, of all organisations."""
SCOPES: frozenset[Scope] = frozenset(get_args(Scope))


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who sends a request."""

    organisation: str | None
    """The organisation of the key; None for the person at this machine, who may name everything."""
    key_id: str | None = None
    """The key; None where there is none: on the Unix socket, and with `--insecure-local`."""
    scopes: frozenset[Scope] = SCOPES
    """What it may do."""
    requests_per_minute: int | None = None
    """Requests that the key may send in any minute; None: as many as the organisation."""
    per_month_usd: float | None = None
    """What its answers may cost in a calendar month (UTC); None: as much as budgets leave."""
    user: str | None = None
    """The user of this machine, on the Unix socket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """What the audit log says of one request."""

    at: str
    """When it came, UTC."""
    organisation: str | None
    """Whose key it had; None: no key."""
    key_id: str | None
    """The key."""
    user: str | None = None
    """The user of this machine, on the Unix socket."""
    route: str
    """`POST /v1/chat/completions`."""
    model: str | None = None
    """The model that was named, where the organisation has one of that name."""
    adapter_digest: str | None = None
    """`sha256:<hex>` of the manifest of the adapter that answered."""
    status: int
    """The HTTP status; 499: the client had gone."""
    input_tokens: int | None = None
    """Tokens of the input; None: not known, or none were counted."""
    output_tokens: int | None = None
    """Tokens of the answer."""
    latency_s: float
    """Seconds from the request to the end of its answer."""
    answer_id: str | None = None
    """The id of the answer."""
    prompt: str | None = None
    """What was asked, with secrets masked, where `service.audit_prompts` says so."""


class Audit(Protocol):
    """Where the entries go; threads may share it."""

    def append(self, entry: AuditEntry) -> int:
        """Add an entry, and return its number when a crash or a power cut cannot lose it."""
