"""Connections that never ask anything keep nobody out."""

from __future__ import annotations

import json
import resource
import socket
import time
from contextlib import ExitStack, closing
from http.client import HTTPConnection

import pytest

from killed import run_whole
from modelyard.core.layout import Project
from modelyard.serving.connections import connections_that_fit
from modelyard.serving.service import ServiceLimits
from served import serving

MORE, MOST = 60, 20


@pytest.mark.parametrize(
    ("silent", "most", "asked"),
    [(MORE, MOST, 5), pytest.param(3000, 2000, 200, marks=pytest.mark.soak)],
)
def test_who_asks_is_answered_beside_more_silent_connections_than_there_may_be(
    talking: Project, silent: int, most: int, asked: int
) -> None:
    with serving(talking, limits=ServiceLimits(connections=most)) as running, ExitStack() as stack:
        host, port = running.url.removeprefix("http://").split(":")
        key, seconds = running.key("acme"), list[float]()

        def hold(count: int) -> None:
            for number in range(count):
                held = stack.enter_context(socket.create_connection((host, int(port)), 30))
                if number % 2:
                    held.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Slow: ")

        hold(silent)
        body = json.dumps({"model": "talking", "messages": [{"role": "user", "content": "Hi"}]})
        for _ in range(asked):
            hold(1)
            began = time.perf_counter()
            with closing(HTTPConnection(host, int(port), timeout=60)) as connection:
                headers = {"Authorization": f"Bearer {key}"}
                connection.request("POST", "/v1/chat/completions", body, headers)
                assert connection.getresponse().status == 200
            seconds.append(time.perf_counter() - began)
        print(f"{silent} silent connections, {most} at most; slowest answer {max(seconds):.2f} s")


def test_as_many_connections_fit_as_files_may_be_open() -> None:
    def in_a_process_of_its_own() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (600, 1000))
        assert connections_that_fit(100) == 100
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (612, 1000)
        assert connections_that_fit(4096) == 488
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (1000, 1000)

    run_whole(in_a_process_of_its_own)
