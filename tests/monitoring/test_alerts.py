"""An alert begins and ends when judgements have said so for long enough, and never without data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.core.layout import Project
from modelyard.monitoring.alerts import Alert, step_alert
from modelyard.monitoring.measures import Verdict, threshold_to_clear
from modelyard.monitoring.traffic_db import TRAFFIC, read_traffic

VERDICTS: dict[str, Verdict] = {"b": "breach", "o": "ok", "?": "cannot_tell", " ": "no_data"}


def course(verdicts: str, *, for_s: float) -> str:
    """`!` where the alert is on, after each judgement; there is one every minute."""
    alert, shown = Alert(threshold=5.0), ""
    for minute, verdict in enumerate(verdicts):
        alert = step_alert(
            alert, VERDICTS[verdict], 5.0, now_ms=minute * 60_000, for_s=for_s, clear_after_s=for_s
        )
        shown += "!" if alert.is_on else "."
    return shown


@pytest.mark.parametrize(
    ("for_s", "verdicts", "expected"),
    [
        (0, "obbo", ".!!."),
        (180, "bbbbb", "...!!"),
        (180, "bbobbbb", "......!"),
        (180, "bb?bbbb", "......!"),
        (180, "bb  b", "....!"),
        (180, "bbbb      ", "...!!!!!!!"),
        (180, "bbbb??????", "...!!!!!!!"),
        (180, "bbbbooooo", "...!!!!.."),
        (180, "bbbboo ooo", "...!!!!!!!"),
        (180, "bbbboobooo", "...!!!!!!!"),
        (180, "bobobobobo", ".........."),
    ],
)
def test_the_course_of_an_alert(for_s: float, verdicts: str, expected: str) -> None:
    assert course(verdicts, for_s=for_s) == expected


def test_another_threshold_begins_the_time_again_and_ends_no_alert() -> None:
    waiting = Alert(threshold=5.0, since_ms=0)
    again = step_alert(waiting, "breach", 6.0, now_ms=300_000, for_s=300, clear_after_s=300)
    assert (again.is_on, again.since_ms) == (False, 300_000)
    on = Alert(threshold=5.0, is_on=True, since_ms=0)
    assert step_alert(on, "ok", 6.0, now_ms=300_000, for_s=300, clear_after_s=300).is_on


def test_an_alert_ends_after_its_own_time_and_by_its_margin() -> None:
    on = Alert(threshold=5.0, is_on=True)
    times = {"for_s": 0.0, "clear_after_s": 120.0}
    on = step_alert(on, "ok", 5.0, now_ms=0, **times)
    on = step_alert(on, "ok", 5.0, now_ms=119_000, **times)
    assert on.is_on
    assert not step_alert(on, "ok", 5.0, now_ms=120_000, **times).is_on
    assert threshold_to_clear(5.0, 0.1, least=False) == pytest.approx(4.5)
    assert threshold_to_clear(0.85, 0.2, least=True) == pytest.approx(0.88)
    assert threshold_to_clear(0.85, 0.0, least=True) == 0.85


def test_a_clock_that_goes_back_makes_nothing_wait_for_it() -> None:
    alert = Alert(threshold=5.0, since_ms=10_000_000)
    alert = step_alert(alert, "breach", 5.0, now_ms=0, for_s=60, clear_after_s=60)
    assert not alert.is_on
    assert step_alert(alert, "breach", 5.0, now_ms=60_000, for_s=60, clear_after_s=60).is_on


def test_alerts_of_an_earlier_version_stay_and_what_was_not_told_begins_again(
    tmp_path: Path,
) -> None:
    place = Project(tmp_path / "project")
    with replace(TRAFFIC, migrations=TRAFFIC.migrations[:5]).open(place) as traffic:
        rows = [("told", None, 1, 1), ("not told", None, 1, 0), ("soon", 7, 0, 0)]
        traffic.executemany("INSERT INTO alerts VALUES ('production', '', ?, 5.0, ?, ?, ?)", rows)
    found = read_traffic(place, "SELECT measure, since_ms, is_on FROM alerts")
    assert {tuple(row) for row in found} == {
        ("told", None, 1),
        ("not told", None, 0),
        ("soon", 7, 0),
    }
