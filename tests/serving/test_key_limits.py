"""Limits of a key: how many requests, and what its answers may cost; both are told as 429."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx2
import pytest

from modelyard.access.audit_reading import export_audit, verify_audit
from modelyard.access.keys import revoke_key
from modelyard.answering.money.key_report import report_keys
from modelyard.answering.money.pricing import NANO
from modelyard.core.layout import Project
from modelyard.core.state import read_state
from served import Running, serving

BODY = {"model": "talking", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture
def talking(talking: Project) -> Project:
    """An hour of the machine costs something, so that local answers do."""
    path = talking.configs / "integration.yaml"
    path.write_text(path.read_text() + "  local_cost_per_hour: $3600\n")
    return talking


@pytest.fixture
def running(talking: Project) -> Iterator[Running]:
    """A service of that project alone."""
    with serving(talking) as service:
        yield service


def ask(running: Running, key: str, **more: object) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {key}"}
    url = f"{running.url}/v1/chat/completions"
    return httpx2.post(url, json=BODY | more, headers=headers, timeout=60)


def spent_usd(running: Running) -> dict[str, float]:
    rows = read_state(running.project, "SELECT key_id, nano_usd FROM key_spending")
    return {row["key_id"]: row["nano_usd"] / NANO for row in rows}


def test_what_cannot_be_recorded_is_not_answered(running: Running) -> None:
    key = running.key("acme")
    running.service.audit.close()  # type: ignore[attr-defined]
    refused = ask(running, key)
    assert refused.status_code == 503
    assert "choices" not in refused.json()


def test_a_client_does_not_wait_for_the_minute_of_its_organisation(talking: Project) -> None:
    path = talking.configs / "integration.yaml"
    limits = "  rate_limits: {requests_per_minute_per_organisation: 1}\n"
    path.write_text(path.read_text() + limits)
    with serving(talking) as running:
        key = running.key("acme")
        assert ask(running, key, max_tokens=2).status_code == 200
        refused = ask(running, key, max_tokens=2)
        assert ask(running, running.key("zeta"), max_tokens=2).status_code == 200
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert 30 <= int(refused.headers["retry-after"]) <= 62


def test_a_key_is_limited_in_requests_and_in_money(running: Running) -> None:
    few = running.key("acme", requests_per_minute=2)
    poor = running.key("acme", per_month_usd=0.000001)
    rich = running.key("acme", per_month_usd=1e6)
    ids = [key.split("-")[2] for key in (few, poor, rich)]

    assert [ask(running, few).status_code, ask(running, few, messages=3).status_code] == [200, 400]
    refused = ask(running, few)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert 1 <= int(refused.headers["retry-after"]) <= 62

    refused = ask(running, poor)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "insufficient_quota")
    assert "one answer could cost more than the budget" in refused.json()["error"]["message"]
    assert "retry-after" not in refused.headers
    assert ids[1] not in spent_usd(running)

    assert ask(running, rich).status_code == 200
    once = spent_usd(running)[ids[2]]
    assert once > 0
    reports = {
        each.key.id: each for each in report_keys(running.project, "acme", now_s=time.time())
    }
    assert [reports[each].spent_this_month_usd for each in ids[1:]] == [0, once]
    assert reports[ids[2]].unknown_this_month == 0
    headers = {"Authorization": f"Bearer {rich}"}
    url, body = f"{running.url}/v1/chat/completions", BODY | {"stream": True}
    with httpx2.stream("POST", url, json=body, headers=headers, timeout=60) as streamed:
        assert next(streamed.iter_lines()).startswith("data:")
    for _ in range(500):  # until the generation that its client left has ended
        if spent_usd(running)[ids[2]] > once:
            break
        time.sleep(0.01)
    assert spent_usd(running)[ids[2]] > once

    revoke_key(running.project, ids[2])
    assert ask(running, rich).status_code == 401
    rows = [row for row in export_audit(running.project) if "number" in row]
    assert {(row["key_id"], row["status"]) for row in rows} >= {
        (ids[0], 200),
        (ids[0], 400),
        (ids[0], 429),
        (ids[1], 429),
        (ids[2], 200),
    }
    assert verify_audit(running.project).count == len(rows)
