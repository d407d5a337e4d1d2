"""The process of a service: its sockets, its beginning, and an end that cuts nothing off.

On SIGTERM or ^C no request is taken any more, and each gets 503 with Retry-After; answers that are
under way come to their end, up to a deadline. A second signal ends them at once.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from starlette.types import ASGIApp

from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.files import follow_sharing, make_folder
from modelyard.serving.connections import (
    Config,
    LocalProtocol,
    Server,
    TimedProtocol,
    connections_that_fit,
)
from modelyard.serving.gate import Gate
from modelyard.serving.service import Service

_POLL_S = 0.05
_CUT_OFF_S = 5.0
"""How long requests that are cut off may take to be recorded."""
_BACKLOG = 2048
_LONGEST_SOCKET_PATH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where a service listens."""

    tcp: socket.socket
    """For clients of the network."""
    local: socket.socket | None = None
    """For the commands of this project, on this machine."""
    certificate: Path | None = None
    """A file with the certificate chain, for TLS."""
    certificate_key: Path | None = None
    """A file with its key."""


def listen(host: str, port: int) -> socket.socket:
    """A socket on an address. Raises ModelyardError when it is taken, InvalidInput for none."""
    try:
        [(family, kind, protocol, _, address), *_] = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        raise InvalidInput(
            f"{host!r} is no address of this machine: {error}", where="--host"
        ) from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ModelyardError(
            f"cannot listen on {host}:{port}: {error.strerror}",
            hint="another program may listen there: choose another --port",
        ) from error
    listener.setblocking(False)
    return listener


def listen_locally(path: Path) -> socket.socket:
    """A Unix socket at a path, in the place of one that a killed service left there.

    Who may change the project may connect, see `core/sharing.py`.

    Call it under the lock of the service: who holds that knows that nobody listens.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    make_folder(path.parent)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(FileNotFoundError):
            path.unlink()
        listener.bind(short_path(path, folder))
        path.chmod(0o600)
        follow_sharing(path, path)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ModelyardError(f"cannot listen on {path}: {error.strerror}") from error
    finally:
        os.close(folder)
    listener.setblocking(False)
    return listener


def short_path(path: Path, folder: int) -> str:
    """The path of a socket in an open folder, short enough for the kernel (108 bytes)."""
    if len(os.fsencode(path)) < _LONGEST_SOCKET_PATH:
        return str(path)
    return f"/proc/self/fd/{folder}/{path.name}"


@dataclass(frozen=True, slots=True)
class Stopping:
    """When a service ends; made and used in its event loop."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    """Take no request any more, and let answers come to their end."""
    kill: asyncio.Event = field(default_factory=asyncio.Event)
    """End them at once."""

    def signalled(self) -> None:
        """The first signal stops, the second one kills."""
        (self.kill if self.stop.is_set() else self.stop).set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a service begins and ends."""

    drain_s: float = 30.0
    """How long answers that are under way may take when it ends."""
    on_start: Callable[[], None] = lambda: None
    """Is called when requests are taken."""
    on_drain: Callable[[int], None] = lambda under_way: None
    """Is told how many answers are under way when no request is taken any more."""


def run(service: Service, app: ASGIApp, listening: Listening, course: Course) -> None:
    """Serve until SIGTERM or ^C."""

    async def until_signalled() -> None:
        stopping = Stopping()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.signalled)
        await serve(service, app, listening, course, stopping)

    asyncio.run(until_signalled())


async def serve(
    service: Service, app: ASGIApp, listening: Listening, course: Course, stopping: Stopping
) -> None:
    """Serve until it is to stop."""
    gate = Gate(app)
    most = connections_that_fit(service.limits.connections)
    servers = [_server(gate, TimedProtocol, listening, most)]
    listeners = [listening.tcp]
    if listening.local is not None:
        servers.append(_server(gate, LocalProtocol, None, most))
        listeners.append(listening.local)
    serving = [
        asyncio.ensure_future(server.serve([listener]))
        for server, listener in zip(servers, listeners, strict=True)
    ]
    while not all(server.started for server in servers):
        await asyncio.sleep(0)
    course.on_start()
    await stopping.stop.wait()
    gate.close(course.drain_s)
    course.on_drain(service.answers.under_way)
    with suppress(TimeoutError):
        async with asyncio.timeout(course.drain_s):
            while gate.under_way and not stopping.kill.is_set():
                await asyncio.sleep(_POLL_S)
    await _cut_off(servers)
    for server in servers:
        server.should_exit = True
        server.force_exit = stopping.kill.is_set()
    await asyncio.gather(*serving)


async def _cut_off(servers: Sequence[Server]) -> None:
    """End what is still under way; each request is recorded, and its client told."""
    tasks = [task for server in servers for task in server.server_state.tasks]
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_CUT_OFF_S)


def _server(
    app: ASGIApp,
    protocol: type[TimedProtocol],
    listening: Listening | None,
    most_connections: int,
) -> Server:
    config = Config(
        app,
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        limit_concurrency=most_connections,
        timeout_graceful_shutdown=1,
        ssl_certfile=listening.certificate if listening else None,
        ssl_keyfile=listening.certificate_key if listening else None,
    )
    return Server(config)
