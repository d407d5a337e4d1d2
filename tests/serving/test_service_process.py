"""A service in a process of its own, under load: killed, stopped, and changed by commands."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from contextlib import ExitStack, closing
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

from marked_service import CHAT, ask, text_of, user, whole
from service_process import ServiceProcess, loaded, service_process, until

from killed import SOAK
from marked_project import Marked, question, said
from modelyard.access.audit_reading import export_audit, verify_audit
from modelyard.access.keys import check_key, create_key

Models = Callable[..., int]
CLIENTS, KILLS = 6, 1 if SOAK == 1 else 3 * SOAK


def make_keys(marked: Marked) -> list[str]:
    organisations = [f"org{number}" for number in range(CLIENTS)]
    return [create_key(marked.project, check_key(each)).token for each in organisations]


def require_recorded(marked: Marked, finished: dict[str, list[int]]) -> int:
    """Every answer that a client got whole has its row, and the chain verifies."""
    rows = {row["answer_id"]: row for row in export_audit(marked.project) if "number" in row}
    assert not [each for each in finished if rows[each]["status"] != 200]
    count = verify_audit(marked.project).count
    assert count >= len(finished)
    return count


def test_a_kill_under_load_loses_no_row_and_a_stop_no_answer(
    marked: Marked, tmp_path: Path
) -> None:
    keys, log, finished = make_keys(marked), tmp_path / "log", dict[str, list[int]]()
    for turn in range(KILLS):
        with service_process(log) as service, loaded(service, keys, max_tokens=5) as load:
            until(lambda turn=turn: len(load.finished) >= 10 + turn % 7)
            assert service.end(signal.SIGKILL) == -signal.SIGKILL
        finished |= load.finished
        require_recorded(marked, finished)

    with service_process(log) as service, loaded(service, keys, max_tokens=250) as load:
        until(lambda: len(load.finished) >= CLIENTS)
        assert service.end(signal.SIGTERM) == 0, log.read_text()
    assert load.cut == []
    assert {(status, code) for status, _, code in load.refused} == {(503, "stopping")}
    assert all(int(retry or 0) > 0 for _, retry, _ in load.refused)
    count = require_recorded(marked, finished | load.finished)
    print(f"{KILLS} kills, {len(finished)} answers before them; {count} rows verify")


def test_what_commands_change_counts_from_the_next_request(
    marked: Marked, tmp_path: Path, models_here: Models
) -> None:
    live = ("--env", "production", "--yes")
    assert models_here("deploy-config", "--all", *live) == 0
    keys = make_keys(marked)
    with ExitStack() as stack:
        service = stack.enter_context(service_process(tmp_path / "log", "--env", "production"))
        first, second = (stack.enter_context(closing(service.connect())) for _ in range(2))
        running = begin(first, keys[0], model="org0", max_tokens=500)
        assert models_here("adapters", "promote", "org0@2", "--force", "--reason", "a test") == 0
        assert says(service, keys[0], "org0") <= set(marked.own(0, second=True))
        later = begin(second, keys[0], model="org0", max_tokens=500)
        assert models_here("adapters", "rollback", "org0") == 0
        assert says(service, keys[0], "org0") <= set(marked.own(0))
        for begun, own in ((running, marked.own(0)), (later, marked.own(0, second=True))):
            words = said(text_of(whole(begun.read().decode())))
            assert len(words) > 400
            assert set(words) <= set(own)

        assert len(says(service, keys[1], "help1", every=True)) == 6
        assert models_here("switch-config", "--domain", "help1", "--profile", "longer", *live) == 0
        assert len(says(service, keys[1], "help1", every=True)) == 12
        domain = marked.project.configs / "specialized_models/help1.yaml"
        domain.write_text(domain.read_text().replace("model: of1", "model: base_alone"))
        assert says(service, keys[1], "help1") <= set(marked.own(1))  # a draft is not live
        assert models_here("deploy-config", "specialized_models/help1", *live) == 0
        assert says(service, keys[1], "help1") <= set(marked.own(None))
        assert models_here("deploy-config", "--rollback", *live) == 0
        assert says(service, keys[1], "help1") <= set(marked.own(1))

        assert models_here("keys", "revoke", keys[1].split("-")[2]) == 0
        with closing(service.connect()) as connection:
            assert ask(connection, keys[1], model="org1", messages=user("3,"))[0] == 401
        assert service.end(signal.SIGTERM) == 0


def begin(connection: HTTPConnection, key: str, **body: Any) -> HTTPResponse:
    """An answer that has begun to be streamed."""
    asked = {"messages": user(question(7, 9)), "stream": True, **body}
    connection.request("POST", CHAT, json.dumps(asked), {"Authorization": f"Bearer {key}"})
    response = connection.getresponse()
    assert response.status == 200
    return response


def says(service: ServiceProcess, key: str, model: str, *, every: bool = False) -> Any:
    """What a model says: the set of its numbers, or all of them."""
    with closing(service.connect()) as connection:
        status, answer = ask(connection, key, model=model, messages=user(question(7, 9, 4)))
    assert status == 200, answer
    words = said(text_of(answer))
    return words if every else set(words)
