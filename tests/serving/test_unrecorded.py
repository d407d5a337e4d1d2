"""What cannot be written into the audit log is not answered."""

from __future__ import annotations

import json
from http.client import HTTPConnection

import pytest

from modelyard.access.audit import AuditLog
from modelyard.core.layout import Project
from served import serving
from served_project import ANSWER


@pytest.mark.parametrize("stream", [False, True])
def test_without_an_audit_log_nobody_gets_an_answer(talking: Project, stream: bool) -> None:
    with serving(talking) as running:
        key = running.key("acme")
        assert isinstance(running.service.audit, AuditLog)
        running.service.audit.close()  # as on a disk that is full: nothing can be added
        for model in ("talking", "nothing"):
            connection = HTTPConnection(running.url.removeprefix("http://"), timeout=60)
            question = [{"role": "user", "content": "Hi"}]
            body = {"model": model, "messages": question, "max_tokens": 20, "stream": stream}
            headers = {"Authorization": f"Bearer {key}"}
            connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
            response = connection.getresponse()
            said = response.read().decode()
            connection.close()
            if stream and model == "talking":  # the pieces were sent, and the end is an error
                assert "unavailable" in said and "[DONE]" not in said
            else:
                assert response.status == 503
                assert ANSWER not in said and json.loads(said)["error"]["code"] == "unavailable"
