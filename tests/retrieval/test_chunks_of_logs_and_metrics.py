"""Logs become templates, and metrics series."""

from __future__ import annotations

import io
import os
import random
import string
import tracemalloc

from chunk_reading import count_words, read
from modelyard.configs.kinds.embedding_models import IndexSettings
from modelyard.retrieval.reading.chunks import read_chunks

SOAK = int(os.environ.get("MODELYARD_SOAK", "1"))


LOG_LINES = 8_000 if SOAK == 1 else 20_000 * SOAK


def test_a_log_becomes_its_templates_with_count_and_times() -> None:
    lines = [
        f"2026-01-0{1 + n // 500} 10:00:00,123 INFO served request {n} in {n * 3} ms"
        for n in range(1000)
    ]
    lines.insert(500, "2026-01-02 09:00:00,000 ERROR out of memory while loading model qwen")
    found = read("\n".join(lines), "a.log")
    assert [finding.facts["count"] for finding in found] == ["1000", "1"]
    assert found[0].facts["first_seen"].startswith("2026-01-01")
    assert found[0].facts["last_seen"].startswith("2026-01-02")
    assert found[1].facts["level"] == "ERROR"
    assert found[1].first_line == 501
    assert found[0].text.startswith("INFO served request <*> in <*> ms")


def test_a_log_is_embedded_once_however_often_a_message_comes_again() -> None:
    once, twice = read("job 1 done\n", "a.log"), read("job 1 done\njob 2 done\n", "a.log")
    assert [item.facts["count"] for item in (*once, *twice)] == ["1", "2"]
    assert once[0].digest == twice[0].digest


def test_a_long_log_is_read_in_little_memory() -> None:
    picked = random.Random(1)
    words = ["".join(picked.choices(string.ascii_lowercase, k=6)) for _ in range(400)]
    lines = (
        f"2026-01-01T00:00:00Z INFO {' '.join(picked.choices(words, k=picked.randrange(3, 12)))}"
        for _ in range(LOG_LINES)
    )
    file = io.BytesIO("\n".join(lines).encode())
    chosen = IndexSettings(description="x", sources=("*",), chunker="logs")
    tracemalloc.start()
    try:
        found = read_chunks(file, "a.log", chosen, count_words)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found) <= 1001
    assert sum(int(finding.facts["count"]) for finding in found) == LOG_LINES
    assert peak < 40_000_000


def test_metrics_become_series_with_what_they_come_to() -> None:
    prom = '# HELP up Whether it is up.\n# TYPE up gauge\nup{host="a b"} 1\nup{host="a b"} 0\n'
    (up,) = read(prom, "a.prom")
    assert up.title == 'up{host="a b"}'
    assert "Whether it is up." in up.text
    assert (up.facts["count"], up.facts["mean"], up.facts["last"]) == ("2", "0.5", "0")
    assert (up.first_line, up.last_line) == (3, 4)
    assert [item.title for item in read("time,loss,name\n1,2.5,a\n2,1.5,b\n", "a.csv")] == ["loss"]
    rows = '{"step": 1, "eval": {"loss": 2}}\n{"step": 2, "eval": {"loss": 1}}\n'
    assert [item.title for item in read(rows, "m.jsonl", "metrics")] == ["step", "eval.loss"]


def test_a_sample_is_what_prometheus_says() -> None:
    text = (
        "# HELP http_requests_total How many\\nthere were.\n"
        "# TYPE http_requests_total counter\n"
        'http_requests_total{method="post",code="200",} 1027 1395066363000\n'
        'http_requests_total { method = "post" , code = "200" } 3 # {trace_id="x"} 1\n'
        'http_requests_total{path="a\\\\b\\"c, d"} 2\n'
        '{"my.metric", unit="s"} 4\n'
        "# TYPE wait histogram\n# HELP wait Until it began.\n"
        'wait_bucket{le="+Inf"} 5\nwait_sum 7\n'
    )
    found = {one.title: one for one in read(text, "a.prom")}
    assert list(found) == [
        'http_requests_total{method="post",code="200"}',
        r'http_requests_total{path="a\\b\"c, d"}',
        'my.metric{unit="s"}',
        'wait_bucket{le="+Inf"}',
        "wait_sum",
    ]
    first, *_, last = found.values()
    assert first.text.startswith("How many there were.\ncounter\ncount 2")
    assert (first.first_line, first.last_line) == (3, 4)
    assert last.text == "Until it began.\nhistogram\nvalue 7"


def test_a_bad_line_costs_only_itself() -> None:
    bad = [
        'a{b="c} 1',
        "a{b=c} 1",
        'a{b="1",b="2"',
        "# TYPE up nonsense",
        "# HELP 9 x",
        "a",
        "{} 1",
    ]
    bad += ['x{a="' + "b" * 30_000 + '"} 1', "# HELP", "#", "a 1 2 3 4", "a{,,} 1", "a 1_000"]
    reported: list[str] = []
    chosen = IndexSettings(description="x", sources=("**",), chunker="auto")
    text = "\n".join(["up 1", *(f"{line}\nup 1" for line in bad)])
    found = read_chunks(text.encode(), "a.prom", chosen, count_words, report=reported.append)
    assert {one.title: one.facts["count"] for one in found}["up"] == str(len(bad) + 1)
    assert reported == ["lines that are no samples"]
    (lenient,) = read("jvm.memory.used 5\n", "a.prom")  # refused by Prometheus, and yet a sample
    assert lenient.title == "jvm.memory.used"


def test_a_series_of_one_sample_is_a_value() -> None:
    (found,) = read('# HELP up Whether it is up.\nup{job="a"} 1\n', "x.prom")
    assert found.text == "Whether it is up.\nvalue 1"


def test_samples_that_are_no_number_are_counted_and_lines_that_are_no_samples_reported() -> None:
    reported: list[str] = []
    chosen = IndexSettings(description="x", sources=("**",), chunker="auto")
    text = b"up NaN\nup 3\ndown +Inf\nnot a sample at all\nhalf 12abc\n  indented 4\n"
    found = read_chunks(text, "a.prom", chosen, count_words, report=reported.append)
    assert [(finding.title, finding.facts.get("not_finite")) for finding in found] == [
        ("up", "1"),
        ("down", "1"),
        ("indented", None),
    ]
    assert (found[0].facts["count"], found[0].facts["mean"]) == ("1", "3")
    assert reported == ["lines that are no samples"]
