"""A service of the same project that runs on this machine, asked over its Unix socket.

It has the base in memory, so a command that finds one answers at once and takes no memory of its
own.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any

from modelyard.core.errors import ModelyardError
from modelyard.core.json_reading import InvalidJson, parse_json
from modelyard.core.layout import Project

_CONNECT_S = 2.0
_ORGANISATION = "modelyard-organisation"
_LONGEST_PATH = 100


class _UnixConnection(HTTPConnection):
    """HTTP over a Unix socket that is connected already."""

    def __init__(self, connected: socket.socket) -> None:
        super().__init__("localhost")
        self.sock = connected


class RunningService:
    """The service of an environment."""

    def __init__(self, project: Project, environment: str) -> None:
        self._project, self._environment = project, environment

    def connect(self) -> socket.socket | None:
        """A connection; None where no service of this user answers."""
        path = self._project.service_socket(self._environment)
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connected.settimeout(_CONNECT_S)
        try:
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                short = len(os.fsencode(path)) < _LONGEST_PATH
                connected.connect(str(path) if short else f"/proc/self/fd/{folder}/{path.name}")
            finally:
                os.close(folder)
        except OSError:
            connected.close()
            return None
        connected.settimeout(None)
        return connected

    @property
    def is_there(self) -> bool:
        """Whether one answers now."""
        connected = self.connect()
        if connected is not None:
            connected.close()
        return connected is not None

    def get(self, path: str) -> dict[str, Any] | None:
        """The JSON object at a path; None where no service answers with one in two seconds."""
        connected = self.connect()
        if connected is None:
            return None
        connected.settimeout(_CONNECT_S)
        with closing(_UnixConnection(connected)) as connection:
            try:
                connection.request("GET", path)
                response = connection.getresponse()
                found = parse_json(response.read()) if response.status == 200 else None
            except (OSError, HTTPException, InvalidJson):
                return None
        return found if isinstance(found, dict) else None

    @contextmanager
    def post(
        self, path: str, body: Any, *, organisation: str | None
    ) -> Iterator[Iterator[dict[str, Any]]]:
        """Send a request, and give each line of JSON of its answer as it comes.

        The answer is cancelled when the block is left before its end. Raises ModelyardError when
        the service has gone or breaks off.
        """
        import json

        connected = self.connect()
        if connected is None:
            raise _gone("it does not answer any more")
        headers = {"Content-Type": "application/json"}
        if organisation is not None:
            headers[_ORGANISATION] = organisation
        with closing(_UnixConnection(connected)) as connection:
            try:
                connection.request("POST", path, json.dumps(body).encode(), headers)
                response = connection.getresponse()
            except (OSError, HTTPException) as error:
                raise _gone(str(error) or type(error).__name__) from error
            yield _lines(response)


class AnswerLines:
    """The pieces of an answer of a service as they come, and then how it ended."""

    def __init__(self, lines: Iterator[dict[str, Any]]) -> None:
        self._lines = lines
        self.last: dict[str, Any] = {}
        """The line after the pieces, which has an `error` or what the route tells of the whole."""

    def __iter__(self) -> Iterator[str]:
        """The pieces. Raises ModelyardError when the service breaks off."""
        for line in self._lines:
            if "piece" not in line:
                self.last = line
                return
            yield line["piece"]
        raise ModelyardError("the running service broke off its answer", hint="ask again")


def _lines(response: HTTPResponse) -> Iterator[dict[str, Any]]:
    while True:
        try:
            line = response.readline()
        except (OSError, HTTPException) as error:
            raise _gone(str(error) or type(error).__name__) from error
        if not line:
            return
        try:
            value = parse_json(line)
        except InvalidJson as error:
            raise _gone(f"it sent no JSON: {error.message}") from error
        if isinstance(value, dict):
            yield value


def _gone(reason: str) -> ModelyardError:
    return ModelyardError(
        f"the running service broke off: {reason}",
        hint="ask again; without a service, the command answers itself",
    )
