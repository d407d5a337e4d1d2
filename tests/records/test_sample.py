from __future__ import annotations

import json
from typing import Any

import pytest

from modelyard.records.sample import FIELDS, LONGEST_LINE, Sample, new_answer_id
from traffic_samples import numbered

WHOLE = Sample(
    answer_id="a1",
    kind="call",
    parent_id="a0",
    answered_at_ms=1_800_000_000_000,
    organisation="techcorp",
    domain="code_analysis",
    profile="balanced",
    language_model="local_llm",
    model="techcorp-demo@3",
    adapter_digest="sha256:ab",
    environment="production",
    config_revision=7,
    prompt_tokens=12,
    output_tokens=0,
    cached_tokens=8,
    cache_write_tokens=0,
    token_source="counted",
    load_s=0.0,
    first_token_s=0.25,
    waited_s=0.5,
    latency_s=1.5,
    cost_usd=0.0,
    calls=1,
    drawn=3,
    agreed=2,
    route="local_llm timeout",
    failure="timeout",
    outcome="failed",
)


@pytest.mark.parametrize("sample", [WHOLE, numbered(1), numbered(2, organisation="Größe 😀")])
def test_a_sample_is_read_from_its_line(sample: Sample) -> None:
    line = sample.to_line()
    assert b"\n" not in line
    assert Sample.from_line(line) == sample


def test_what_is_unknown_is_not_written_and_is_never_zero() -> None:
    said = json.loads(numbered(1).to_line())
    assert "cost_usd" not in said
    assert Sample.from_line(json.dumps(said).encode()).cost_usd is None
    assert json.loads(WHOLE.to_line())["cost_usd"] == 0


def test_the_longest_sample_fits_in_a_line() -> None:
    texts = {name: '"' * 200 for name in FIELDS if isinstance(getattr(WHOLE, name), str)}
    wide = dict.fromkeys(texts, "😀" * 200)
    for longest in (texts, wide):
        values = {name: getattr(WHOLE, name) for name in FIELDS} | longest
        assert len(Sample(**values).to_line()) + 2 < LONGEST_LINE


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", ""),
        ("model", "x" * 201),
        ("model", None),
        ("model", 5),
        ("organisation", "a\nb"),
        ("organisation", "a\0"),
        ("organisation", "\ud800"),
        ("prompt_tokens", -1),
        ("prompt_tokens", True),
        ("prompt_tokens", 2**63),
        ("prompt_tokens", 1.0),
        ("latency_s", float("nan")),
        ("latency_s", float("inf")),
        ("latency_s", -0.1),
        ("latency_s", 10**400),
        ("latency_s", "1"),
        ("answered_at_ms", None),
        ("config_revision", -1),
        ("outcome", ""),
    ],
)
def test_what_no_answer_has_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} of an answer cannot be"):
        numbered(1, **{name: value})
    said = json.loads(numbered(1).to_line()) | {name: value}
    if value is not None:
        with pytest.raises(ValueError):
            Sample.from_line(json.dumps(said).encode())


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        b"\xff\xfe",
        b"\0" * 50,
        b"[" * 10_000,
        b'{"a":' * 10_000,
        b"9" * 10_000,
        numbered(1).to_line()[:-1],
        numbered(1).to_line() + b"x",
        numbered(1).to_line() * 2,
    ],
)
def test_a_line_that_is_no_sample_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError):
        Sample.from_line(line)


def test_a_line_of_another_version_is_read_as_far_as_it_is_known() -> None:
    said = json.loads(numbered(1).to_line()) | {"colour": "red", "outcome": "refused"}
    read = Sample.from_line(json.dumps(said).encode())
    assert (read.answer_id, read.outcome) == ("answer-1", "refused")


def test_two_answers_have_two_ids() -> None:
    assert len({new_answer_id() for _ in range(1000)}) == 1000
