"""`models serve` in a process of its own, which can be sent signals, and clients that load it."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from marked_service import CHAT, text_of, user, whole

from killed import fork
from marked_project import said
from modelyard.cli.app import main

_LISTENING = re.compile(r"listening on http://(\S+)")


@dataclass
class ServiceProcess:
    """A service in a process; its stderr is in a file."""

    process: int
    address: str
    log: Path

    def connect(self) -> HTTPConnection:
        """A connection to it; nothing is sent yet."""
        return HTTPConnection(self.address, timeout=120)

    def end(self, number: signal.Signals) -> int:
        """Send a signal and wait for its end; returns the exit code, negative for a signal."""
        os.kill(self.process, number)
        return self.wait()

    def wait(self) -> int:
        """The exit code when it has ended."""
        code = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
        self.process = 0
        return code


@contextmanager
def service_process(log: Path, *words: str) -> Iterator[ServiceProcess]:
    """`models serve WORDS` on a free port, until the block is left; it is ready to answer."""
    log.unlink(missing_ok=True)

    def serve() -> None:
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout = sys.stderr = os.fdopen(handle, "w", buffering=1)
        sys.argv = ["models", "serve", "--port", "0", *words]
        try:
            main()
        except SystemExit as ended:
            os._exit(ended.code if isinstance(ended.code, int) else 1)

    service = ServiceProcess(fork(serve), "", log)
    try:
        until(lambda: log.exists() and bool(_LISTENING.search(log.read_text())))
        found = _LISTENING.search(log.read_text())
        assert found
        service.address = found[1]
        until(lambda: "is loaded" in log.read_text())
        yield service
    finally:
        if service.process:
            service.end(signal.SIGKILL)


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds; it fails after a minute."""
    limit = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < limit
        time.sleep(0.005)


@dataclass
class Load:
    """What clients saw of a service: each asks again and again until it gets nothing more."""

    finished: dict[str, list[int]] = field(default_factory=dict)
    """By the id of each answer that came whole: the numbers that it said."""
    refused: list[tuple[int, str | None, str]] = field(default_factory=list)
    """Status, Retry-After and code of each request that got another answer."""
    cut: list[str] = field(default_factory=list)
    """Responses that began and did not come to their end."""
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def loaded(service: ServiceProcess, keys: Sequence[str], **body: Any) -> Iterator[Load]:
    """A client for each key, which asks until the service is gone; the block ends after them."""
    load = Load()
    clients = [
        threading.Thread(target=_ask_on, args=(service, number, key, load, body))
        for number, key in enumerate(keys)
    ]
    for client in clients:
        client.start()
    try:
        yield load
    finally:
        for client in clients:
            client.join(120)


def _ask_on(
    service: ServiceProcess, number: int, key: str, load: Load, body: dict[str, Any]
) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    times = 0
    while True:
        times += 1
        stream = (number + times) % 2 == 0
        asked = {"model": f"org{number}", "messages": user(f"{3 + times % 50},"), **body}
        connection = service.connect()
        try:
            connection.request("POST", CHAT, json.dumps(asked | {"stream": stream}), headers)
            response = connection.getresponse()
        except (OSError, HTTPException):
            return  # nothing was answered
        status, retry = response.status, response.getheader("Retry-After")
        try:
            content = response.read().decode()
        except (OSError, HTTPException) as error:
            with load.lock:
                load.cut.append(f"{status}: {error!r}")
            continue
        finally:
            connection.close()
        with load.lock:
            if status != 200:
                load.refused.append((status, retry, json.loads(content)["error"]["code"]))
                if status == 503:
                    return
                continue
            try:
                answer = whole(content)
                text = text_of(answer)
            except (AssertionError, ValueError, LookupError) as error:
                load.cut.append(f"{content[-200:]!r}: {error!r}")
            else:
                load.finished[answer["id"].removeprefix("chatcmpl-")] = said(text)
