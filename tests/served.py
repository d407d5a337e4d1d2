"""A service that runs in this process, on a free port of the loopback address."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from modelyard.access.caller import Caller
from modelyard.access.keys import check_key, create_key
from modelyard.answering.outside_engine import OutsideEngine
from modelyard.core.layout import Project
from modelyard.inference.engine_limits import EngineLimits
from modelyard.serving.app import build_app
from modelyard.serving.opening import open_service
from modelyard.serving.process import (
    Course,
    Listening,
    Stopping,
    listen,
    listen_locally,
    serve,
)
from modelyard.serving.service import Service, ServiceLimits


@dataclass(frozen=True)
class Running:
    """A service that answers."""

    url: str
    service: Service
    project: Project
    signal: Callable[[], None]
    """What SIGTERM does: no request is taken any more; again, and answers are cut off."""
    is_draining: threading.Event
    """Is set when no request is taken any more."""

    def key(self, organisation: str, **settings: object) -> str:
        """A new key of an organisation."""
        return create_key(self.project, check_key(organisation, **settings)).token  # type: ignore[arg-type]


@contextmanager
def serving(
    project: Project,
    *,
    environment: str = "development",
    limits: ServiceLimits | None = None,
    without_key: Caller | None = None,
    drain_s: float = 5.0,
    engine: EngineLimits | None = None,
    outside: OutsideEngine | None = None,
) -> Iterator[Running]:
    """A service of the project until the block is left; answers then come to their end."""
    with open_service(
        project,
        environment,
        engine=engine or EngineLimits(),
        limits=limits or ServiceLimits(),
        without_key=without_key,
        note=lambda text: None,
        outside=outside,
    ) as service:
        listener = listen("127.0.0.1", 0)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        started, draining = threading.Event(), threading.Event()
        ends: list[tuple[asyncio.AbstractEventLoop, Stopping]] = []

        async def until_stopped() -> None:
            stopping = Stopping()
            ends.append((asyncio.get_running_loop(), stopping))
            course = Course(
                drain_s=drain_s, on_start=started.set, on_drain=lambda under_way: draining.set()
            )
            local = listen_locally(project.service_socket(environment))
            listening = Listening(tcp=listener, local=local)
            await serve(service, build_app(service), listening, course, stopping)

        thread = threading.Thread(target=lambda: asyncio.run(until_stopped()))
        thread.start()
        assert started.wait(30)
        [(loop, stopping)] = ends

        def signal() -> None:
            loop.call_soon_threadsafe(stopping.signalled)

        try:
            yield Running(url, service, project, signal, draining)
        finally:
            if not draining.is_set():
                signal()
            thread.join(30)
