"""Connections of the service: how many, how long one may take to ask, and who is at the other end.

Built on uvicorn's own protocol, which has neither a time for the headers of a request nor a notion
of who uses a Unix socket, and which holds connections that never ask against those that do.
"""

from __future__ import annotations

import asyncio
import pwd
import resource
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_TIME_S = 10.0
"""How long the headers of a request may take."""
LOCAL_USER = "local_user"
"""What the state of a request calls the user of this machine who sent it on the Unix socket."""
_OTHER_FILES = 512
"""Files that a service has open besides: weights, databases, calls to hosted models."""
_CREDENTIALS = struct.Struct("3i")


class Config(uvicorn.Config):
    """The settings of a server, and those of its connections that have not asked yet."""

    def __init__(self, app: ASGIApp, **settings: Any) -> None:
        super().__init__(app, **settings)
        self.silent: dict[TimedProtocol, None] = {}
        """They wait for the headers of a request; the one that waits longest is the first."""


class TimedProtocol(H11Protocol):
    """A connection that is closed when the headers of a request do not come in time.

    Where there are as many as there may be, a new one takes the place of the one that has waited
    longest without asking anything.
    """

    config: Config
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        most = self.config.limit_concurrency
        if most is not None and len(self.connections) >= most and self.config.silent:
            next(iter(self.config.silent)).give_way()
        self._wait_for_headers()

    def give_way(self) -> None:
        """Close it, for another."""
        self._stop_waiting()
        self.connections.discard(self)
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Go on waiting until the headers are there."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()
        elif self._timer is None:
            self._wait_for_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait_for_headers(self) -> None:
        self._timer = self.loop.call_later(HEADER_TIME_S, self.transport.close)
        self.config.silent[self] = None

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self.config.silent.pop(self, None)


class LocalProtocol(TimedProtocol):
    """A connection on the Unix socket: the kernel says whose process is at the other end."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Note the user for every request of the connection."""
        end: socket.socket = transport.get_extra_info("socket")
        size = _CREDENTIALS.size
        credentials = end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        user_id = _CREDENTIALS.unpack(credentials)[1]
        self.app_state = {**self.app_state, LOCAL_USER: _user_name(user_id)}
        super().connection_made(transport)


def _user_name(user_id: int) -> str:
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return str(user_id)


def connections_that_fit(wanted: int) -> int:
    """As many connections as wanted, or as this process may have files open for.

    Raises the limit of open files of the process as far as it may be raised.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _OTHER_FILES
    if hard != resource.RLIM_INFINITY:
        needed = min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    return min(wanted, max(1, needed - _OTHER_FILES))


class Server(uvicorn.Server):
    """A server that leaves signals to the process it is in."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield
