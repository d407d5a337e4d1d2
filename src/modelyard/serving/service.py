"""What the routes share: the project, what answers, and what the process was started with."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from modelyard.access.caller import Audit, Caller
from modelyard.answering.answer import Answerer
from modelyard.core.layout import Project
from modelyard.serving.answers import Answers
from modelyard.serving.observing import Observer
from modelyard.serving.own_adapters import OwnAdapters

FindCaller = Callable[[str], Caller | None]
"""Who a token belongs to; None for one that is no key, or no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLimits:
    """What the service takes of one client, and of all together."""

    body_bytes: int = 4_000_000
    """The largest body of a request."""
    body_s: float = 60.0
    """How long a body may take to come."""
    read_s: float = 60.0
    """How long a client may take no further piece of an answer that is streamed to it, and how long
    the rest of it when it is computed."""
    connections: int = 4096
    """Connections that are open; a request on another gets 503."""
    answers_at_once: int = 64
    """Answers that are computed; others wait for their turn. One organisation has half at most."""
    waiting: int = 1024
    """Requests that wait for their turn; another is refused with 429. One organisation has half at
    most."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Service:
    """What the routes share."""

    project: Project
    """The project whose models answer."""
    environment: str
    """The environment whose configs decide."""
    answerer: Answerer
    """What answers."""
    answers: Answers
    """The answers that are under way."""
    own_adapters: OwnAdapters
    """Which organisation has which adapters."""
    find_caller: FindCaller
    """Whose a token is."""
    audit: Audit
    """Where each request with a key is recorded."""
    observer: Observer
    """Counts what the service does."""
    without_key: Caller | None = None
    """Who a request without a key is from; None: it is refused."""
    limits: ServiceLimits = ServiceLimits()
    """What it takes."""
    loaded: threading.Event = field(default_factory=threading.Event)
    """Whether the base is in memory: from then on the service is ready."""
