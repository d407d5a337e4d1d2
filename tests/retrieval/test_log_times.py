"""Times of log lines are read in the forms programs write; colours and dates split no template."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from io import BytesIO

import pytest

from modelyard.retrieval.chunk import Chunk
from modelyard.retrieval.reading.logs import read_log

WRITTEN = datetime(2025, 3, 1, 12, tzinfo=UTC)


def count_words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) + 2 for text in texts]


def read(text: str, written: datetime = WRITTEN) -> list[Chunk]:
    return read_log(
        BytesIO(text.encode()),
        limit=220,
        redact=True,
        count_tokens=count_words,
        file_written=written,
    )


@pytest.mark.parametrize(
    ("line", "iso"),
    [
        ("2015-07-29 19:04:12,394 - INFO  [main] - Started", "2015-07-29T19:04:12.394000"),
        ("2024-05-16T00:00:00.5Z Started", "2024-05-16T00:00:00.500000+00:00"),
        ("2024-05-16T00:00:00-0700 Started", "2024-05-16T00:00:00-07:00"),
        ("<165>1 2003-10-11T22:14:15.003Z host app - Started", "2003-10-11T22:14:15.003000+00:00"),
        (
            "nova.log.1.2017-05-16_13:53:08 2017-05-16 00:00:00.008 1 x",
            "2017-05-16T00:00:00.008000",
        ),
        ("- R0 2005-06-03-15.42.53.276129 RAS KERNEL INFO error", "2005-06-03T15:42:53.276129"),
        ("081109 203807 222 INFO dfs.DataNode: ended", "2008-11-09T20:38:07"),
        ("17/06/09 20:10:40 INFO spark: Changing", "2017-06-09T20:10:40"),
        ("20171223-22:15:29:615|Step|x|began", "2017-12-23T22:15:29.615000"),
        ("2023/10/11 14:32:52 [error] 1#1: closed", "2023-10-11T14:32:52"),
        ("[Sun Dec 04 04:47:44 2005] [error] in state 6", "2005-12-04T04:47:44"),
        ("[Wed Oct 11 14:32:52.1234 2023] [core:error] x", "2023-10-11T14:32:52.123400"),
        ("Sun Dec  4 04:47:44 UTC 2005 began", "2005-12-04T04:47:44+00:00"),
        ('1.2.3.4 - me [10/Oct/2000:13:55:36 -0700] "GET /a"', "2000-10-10T13:55:36-07:00"),
        ("[10-Oct-2000 13:55:36 UTC] PHP Warning: x", "2000-10-10T13:55:36+00:00"),
        ("Sun, 04 Dec 2005 04:47:44 +0100 mail", "2005-12-04T04:47:44+01:00"),
        ("- 1131566461 2005.11.09 dn228 began", "2005-11-09T20:01:01+00:00"),
        ("type=X msg=audit(1364481363.25:24287): began", "2013-03-28T14:36:03.250000+00:00"),
        ("Jan  5 15:16:02 combo sshd[1]: began", "2025-01-05T15:16:02"),
        ("Mar  2 01:00:00 combo sshd[1]: of tomorrow's zone", "2025-03-02T01:00:00"),
        ("Dec 31 23:59:60 combo sshd[1]: of last year", "2024-12-31T23:59:59"),
        ("Feb 29 10:00:00 combo sshd[1]: of a leap year", "2024-02-29T10:00:00"),
        ("03-17 16:13:38.819  1702 D Power: acquired", "2024-03-17T16:13:38.819000"),
        ("[10.30 16:49:06] chrome.exe - closed", "2024-10-30T16:49:06"),
        ("I0102 15:04:05.123456       1 main.go:12] began", "2025-01-02T15:04:05.123456"),
        ("10:11:12 began without a date", "10:11:12"),
        ("2024-19-39 10:11:12 no such day", None),
        ('1.2.3.4 - - [31/Feb/2024:10:11:12 +0000] "GET /"', None),
        ("2024-01-02T10:11:12+99:99 no such zone", None),
    ],
)
def test_the_time_of_a_line_is_read(line: str, iso: str | None) -> None:
    (found,) = read(line)
    assert found.facts.get("last_seen") == iso


@pytest.mark.parametrize(
    ("row", "iso", "level"),
    [
        ({"ts": 1131566461.25, "msg": "began"}, "2005-11-09T20:01:01.250000+00:00", ""),
        (
            {"time": 1131566461250, "level": 50, "msg": "x"},
            "2005-11-09T20:01:01.250000+00:00",
            "ERROR",
        ),
        (
            {"__REALTIME_TIMESTAMP": "1131566461250000", "PRIORITY": "4", "MESSAGE": "began"},
            "2005-11-09T20:01:01.250000+00:00",
            "WARNING",
        ),
        (
            {"t": {"$date": "2024-05-16T00:00:00.5Z"}, "msg": "x"},
            "2024-05-16T00:00:00.500000+00:00",
            "",
        ),
        ({"asctime": "2024-05-16 00:00:00,5", "message": "x"}, "2024-05-16T00:00:00.500000", ""),
        ({"time": "tomorrow, perhaps", "message": "x"}, None, ""),
    ],
)
def test_times_and_levels_of_json_lines_are_read(
    row: dict[str, object], iso: str | None, level: str
) -> None:
    (found,) = read(json.dumps(row))
    assert (found.facts.get("last_seen"), found.title) == (iso, level)


def test_days_months_and_colours_split_no_template() -> None:
    lines = [
        "Sun Dec 04 04:47:44 2005 job of Sunday ended on Mon Dec 5",
        "\x1b[1;31mFri Mar 11 04:47:44 2005\x1b[0m job of Friday ended on Sat Nov 6",
        "#033[32mMon Jan 10 04:47:44 2005#033[0m job of Monday ended on Tue Jan 7",
    ]
    (found,) = read("\n".join(lines))
    assert found.facts["count"] == "3"
    assert "\x1b" not in found.text and "[" not in found.text
    (found,) = read(json.dumps({"msg": "\x1b[31mred\x1b[0m words", "ts": 5}))
    assert "31m" not in found.text


def test_names_of_days_and_months_that_are_words_stay() -> None:
    (found,) = read("May the Sun of Mar-a-Lago shine on the Apr sales of Jan and Sat")
    assert "May the Sun of" in found.text.split("\n")[0]
