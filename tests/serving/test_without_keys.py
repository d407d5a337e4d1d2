"""Without keys, a page of another site can neither ask nor read."""

from __future__ import annotations

import json
from http.client import HTTPConnection

from modelyard.access.caller import Caller
from modelyard.core.layout import Project
from served import serving

ASKED: list[tuple[dict[str, str], int]] = [
    ({}, 200),
    ({"Host": "localhost:8091"}, 200),
    ({"Host": "[::1]:8091", "Origin": "http://[::1]:8091"}, 200),
    ({"Host": "models.example"}, 403),
    ({"Host": "localhost.models.example"}, 403),
    ({"Origin": "http://models.example"}, 403),
    ({"Origin": "null"}, 403),
]


def test_only_localhost_and_its_own_pages_are_answered(talking: Project) -> None:
    with serving(talking, without_key=Caller(organisation=None)) as running:
        for headers, status in ASKED:
            connection = HTTPConnection(running.url.removeprefix("http://"), timeout=30)
            connection.request("GET", "/v1/models", headers=headers)
            response = connection.getresponse()
            said = json.loads(response.read())
            connection.close()
            assert response.status == status, headers
            assert status == 200 or said["error"]["code"] == "foreign_origin"
