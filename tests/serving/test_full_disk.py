"""On a disk that is full nothing is answered that is not recorded, and all goes on after it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection

import pytest

from modelyard.access.audit_reading import export_audit, verify_audit
from modelyard.core.layout import Project
from served import Running, serving
from small_disk import mounted_disk

MOST = 400
"""Requests, at most, until the room that the log has already is used up."""


@pytest.fixture
def small(talking: Project) -> Iterator[Project]:
    """The project, with its local state on a disk of 3 MB."""
    state = talking.root / ".models"
    kept = talking.root / "kept"
    state.rename(kept)
    with mounted_disk(state, "3m"):
        shutil.copytree(kept, state, dirs_exist_ok=True, symlinks=True)
        yield talking


def ask(running: Running, key: str, *, stream: bool) -> tuple[int, str]:
    body = {"model": "acme-talk", "messages": [{"role": "user", "content": "Hi"}]}
    with closing(HTTPConnection(running.url.removeprefix("http://"), timeout=60)) as connection:
        asked = json.dumps(body | {"max_tokens": 2, "stream": stream})
        headers = {"Authorization": f"Bearer {key}"}
        connection.request("POST", "/v1/chat/completions", asked, headers)
        response = connection.getresponse()
        return response.status, response.read().decode()


def test_a_full_disk_under_the_audit_log(small: Project) -> None:
    filler = small.root / ".models/filler"
    with serving(small) as running:
        key, whole = running.key("acme"), 0
        assert ask(running, key, stream=False)[0] == 200
        with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(bytes(4096))
        for _ in range(MOST):
            status, said = ask(running, key, stream=False)
            if status != 200:
                break
            whole += 1
        assert status == 503
        for _ in range(5):
            status, said = ask(running, key, stream=False)
            assert status == 503 and json.loads(said)["error"]["code"] == "unavailable"
            assert "choices" not in said
            status, said = ask(running, key, stream=True)
            assert status == 503 or ("unavailable" in said and "[DONE]" not in said)
        filler.unlink()
        assert ask(running, key, stream=True)[1].endswith("[DONE]\n\n")
    rows = [row for row in export_audit(small) if "number" in row]
    assert [row["status"] for row in rows].count(200) == whole + 2
    assert verify_audit(small).count == len(rows)
