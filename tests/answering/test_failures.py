"""What each class of failure leads to: again, the next model, or the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from asking import COST_USD, Asking, left, only, open_asking, tried
from modelyard.answering.repeated import without_request
from modelyard.answering.request import AnswerFailed
from modelyard.configs.kinds.integration import FallbackStrategy
from modelyard.configs.kinds.language_models import Retries
from provider_server import Step, chat, chat_event, chunk, head, whole

BUSY = whole("503 Service Unavailable", {"error": {"message": "try later"}})
BEGUN = [head(), chunk(chat_event({"content": "Ann lea"})), "reset"]


@pytest.fixture
def asking(tmp_path: Path) -> Iterator[Asking]:
    with open_asking(tmp_path / "project") as opened:
        opened.first.answer(chat("Ann."))
        opened.second.answer(chat("Bob."))
        yield opened


def test_the_first_model_answers_and_the_answer_is_shown_as_it_comes(asking: Asking) -> None:
    asking.first.answer(chat("Ann", " leads."))
    answer = asking.ask()
    assert (answer.text, asking.shown) == ("Ann leads.", ["Ann", " leads."])
    assert (answer.model, answer.ref, answer.finish) == ("first", "model:first", "stop")
    assert (tried(answer), left(answer), answer.degraded) == (["first answered"], [], False)
    assert answer.cost_usd == pytest.approx(COST_USD)
    assert answer.first_token_s is not None
    assert answer.first_token_s <= answer.latency_s
    assert asking.asked() == (1, 0)


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        (whole("400 Bad Request", {"error": {"message": "no such parameter: x"}}), "invalid"),
        (
            whole("422 Unprocessable", {"detail": [{"msg": "wrong", "loc": ["messages"]}]}),
            "invalid",
        ),
    ],
)
def test_a_request_that_is_at_fault_is_final(
    asking: Asking, said: list[Step], outcome: str
) -> None:
    asking.first.answer(said)
    with pytest.raises(AnswerFailed, match="first does not take the request") as failed:
        asking.ask()
    assert [attempt.outcome for attempt in failed.value.attempts] == [outcome]
    assert asking.asked() == (1, 0)


def test_a_context_that_is_too_short_leads_to_the_next_model(asking: Asking) -> None:
    said = {"error": {"message": "too long", "code": "context_length_exceeded"}}
    asking.first.answer(whole("400 Bad Request", said))
    answer = asking.ask()
    assert (answer.text, tried(answer)) == ("Bob.", ["first too_long", "second answered"])


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("401 Unauthorized", "no_access"),
        ("403 Forbidden", "no_access"),
        ("404 Not Found", "no_access"),
        ("429 Too Many Requests", "no_quota"),
    ],
)
def test_what_only_a_person_can_mend_opens_the_breaker_at_once(
    asking: Asking, status: str, outcome: str
) -> None:
    code = {"code": "insufficient_quota"} if outcome == "no_quota" else {}
    asking.first.answer(whole(status, {"error": {"message": "no", **code}}))
    answer = asking.ask(asking.effective(first={"retries": Retries(attempts=3)}))
    assert tried(answer) == [f"first {outcome}", "second answered"]
    assert "first is not called for a while" in answer.notes[0]
    again = asking.ask()
    assert (tried(again), left(again)) == (["second answered"], ["first breaker"])
    assert asking.asked() == (1, 2)


@pytest.mark.parametrize(
    "said",
    [
        whole("408 Request Timeout", {}),
        whole("409 Conflict", {}),
        whole("425 Too Early", {}),
        whole("429 Too Many Requests", {"error": {"code": "rate_limit_exceeded"}}),
        whole("500 Internal Server Error", {}),
        whole("529 Overloaded", {}),
        ["reset"],
    ],
)
def test_a_temporary_failure_is_tried_again(asking: Asking, said: list[Step]) -> None:
    asking.first.answer(said, said, chat("Ann."))
    answer = asking.ask(asking.effective(first={"retries": Retries(attempts=2)}))
    assert (answer.text, len(answer.attempts)) == ("Ann.", 3)
    assert len(asking.waits) == 2


def test_as_often_as_the_settings_say_and_then_the_next_model(asking: Asking) -> None:
    asking.first.answer(BUSY)
    answer = asking.ask(asking.effective(first={"retries": Retries(attempts=1)}))
    assert tried(answer) == ["first busy", "first busy", "second answered"]


def test_a_wait_that_is_asked_for_is_kept_to_where_it_fits(asking: Asking) -> None:
    busy = whole("429 Too Many Requests", {}, "Retry-After: 0.4")
    asking.first.answer(busy, chat("Ann."))
    asking.sleeps = True
    patient = asking.effective(first={"retries": Retries(attempts=2)}, timeout_s=60)
    answer = asking.ask(patient)
    assert (answer.text, tried(answer)) == ("Ann.", ["first busy", "first answered"])
    assert 0.4 <= asking.waits[0] <= 0.9


def test_a_wait_that_does_not_fit_leads_to_the_next_model_at_once(asking: Asking) -> None:
    asking.first.answer(whole("429 Too Many Requests", {}, "Retry-After: 30"))
    answer = asking.ask(asking.effective(first={"retries": Retries(attempts=2)}, timeout_s=10))
    assert (tried(answer), asking.waits) == (["first busy", "second answered"], [])


def test_a_service_that_asks_for_time_gets_it_from_every_request(asking: Asking) -> None:
    asking.first.answer(whole("429 Too Many Requests", {}, "Retry-After: 30"))
    short = asking.effective(timeout_s=5)
    asking.ask(short)
    again = asking.ask(short)
    assert (tried(again), left(again)) == (["second answered"], ["first limit"])
    assert again.left_out[0].wait_s == pytest.approx(30, abs=2)


def test_three_failures_in_a_row_open_the_breaker(asking: Asking) -> None:
    asking.first.answer(BUSY)
    strategy = FallbackStrategy(failure_threshold=3, cool_down_s=60)
    effective = asking.effective(fallback_strategy=strategy)
    answers = [asking.ask(effective) for _ in range(5)]
    assert [tried(answer)[0] for answer in answers[:3]] == ["first busy"] * 3
    assert [left(answer) for answer in answers[3:]] == [["first breaker"]] * 2
    assert "3 failures in a row" in answers[3].left_out[0].reason
    assert asking.asked() == (3, 5)


def test_no_record_of_a_failure_repeats_what_was_asked(asking: Asking) -> None:
    """The next to ask, of any organisation, reads why a model is not called."""
    said = {"error": {"message": "cannot read: who is Ada Lovelace, PIN 4711?"}}
    asking.first.answer(whole("500 Internal Server Error", said))
    strategy = FallbackStrategy(failure_threshold=1, cool_down_s=60)
    effective = asking.effective(fallback_strategy=strategy)
    for question in ("Who is Ada Lovelace, PIN 4711?", "And who is Bob?"):
        reason = asking.ask(effective, question).left_out
    assert reason[0].reason.endswith("1 failure in a row: HTTP 500, in words of the request")
    kept = [path for path in asking.project.traffic_db.parent.rglob("*") if path.is_file()]
    assert kept
    assert not any(b"Lovelace" in path.read_bytes() for path in kept)


@pytest.mark.parametrize(
    ("said", "asked", "is_kept"),
    [
        ("overloaded, try later", ("Who leads sales?",), True),
        ("the model is overloaded", ("Hi",), True),
        ("no answer to Hi", ("Hi",), False),
        ("bad request", ("", " \n"), True),
        ("bad: who is leading\\nthem?", ("Hello there", "Who is leading\nthem?"), False),
        ("unknown patient 20413", ("Is 20413 well?",), False),
        ("不支持：他的密码是什么呢", ("请问他的密码是什么？",), False),
    ],
)
def test_what_a_server_repeats_of_a_request_is_left_out(
    said: str, asked: tuple[str, ...], is_kept: bool
) -> None:
    kept = without_request(f"HTTP 503: {said}", asked)
    assert kept == (f"HTTP 503: {said}" if is_kept else "HTTP 503, in words of the request")


def test_repetitions_end_when_the_breaker_opens(asking: Asking) -> None:
    asking.first.answer(BUSY)
    answer = asking.ask(asking.effective(first={"retries": Retries(attempts=9)}))
    assert tried(answer) == ["first busy"] * 3 + ["second answered"]


def test_what_the_request_is_at_fault_for_does_not_count_against_the_model(
    asking: Asking,
) -> None:
    asking.first.answer(whole("400 Bad Request", {"error": {"message": "no"}}))
    for _ in range(4):
        with pytest.raises(AnswerFailed):
            asking.ask()
    assert asking.asked() == (4, 0)


def test_a_refusal_is_an_answer(asking: Asking) -> None:
    asking.first.answer(chat("I can't help.", finish="content_filter"))
    answer = asking.ask()
    assert (answer.finish, tried(answer)) == ("refused", ["first refused"])
    assert asking.samples()[0].outcome == "refused"


def test_a_refusal_passes_on_where_the_settings_say_so(asking: Asking) -> None:
    filtered = {"error": {"message": "no", "code": "content_filter"}}
    asking.first.answer(whole("400 Bad Request", filtered))
    effective = asking.effective(first={"on_refusal": "next"})
    answer = asking.ask(effective)
    assert (answer.text, tried(answer)) == ("Bob.", ["first refused", "second answered"])
    asking.second.answer(BUSY)
    nobody_else = asking.ask(effective)
    assert (nobody_else.finish, nobody_else.degraded) == ("refused", False)


def test_what_was_shown_is_never_continued_by_another_model(asking: Asking) -> None:
    asking.first.answer(BEGUN)
    with pytest.raises(AnswerFailed, match="the answer of first broke off") as failed:
        asking.ask(asking.effective(first={"retries": Retries(attempts=3)}))
    (attempt,) = failed.value.attempts
    assert (attempt.outcome, asking.shown, asking.asked()) == ("cut_off", ["Ann lea"], (1, 0))
    assert attempt.usage is not None
    assert attempt.usage.is_estimated
    assert attempt.cost_usd is None
    (sample,) = asking.samples()
    assert (sample.outcome, sample.failure, sample.token_source) == (
        "failed",
        "cut_off",
        "estimated",
    )


def test_what_was_not_shown_is_tried_again(asking: Asking) -> None:
    asking.first.answer(BEGUN, chat('{"verdict": "fine"}'))
    effective = asking.effective(first={"retries": Retries(attempts=1)})
    answer = asking.ask(effective, json_schema={"type": "object"})
    assert (answer.text, len(answer.attempts)) == ('{"verdict": "fine"}', 2)
    assert asking.shown == ['{"verdict": "fine"}']


def test_when_all_models_fail_what_search_found_is_quoted(asking: Asking) -> None:
    asking.first.answer(BUSY)
    asking.second.answer(["reset"])
    answer = asking.ask()
    assert (answer.model, answer.degraded) == ("basic_nlp", True)
    assert tried(answer) == ["first busy", "second unreachable"]
    assert "no language model answered: first: HTTP 503" in answer.notes[-1]
    assert asking.shown == [answer.text]
    assert asking.samples()[0].outcome == "degraded"


def test_without_a_fallback_the_failure_is_the_end(asking: Asking) -> None:
    asking.first.answer(BUSY)
    with pytest.raises(AnswerFailed, match="no model answered: first: HTTP 503"):
        asking.ask(use_fallback=False)
    with pytest.raises(AnswerFailed, match="no model answered"):
        asking.ask(only(asking.effective()))
    assert asking.asked()[1] == 0


def test_a_model_without_its_key_is_left_out_and_said(asking: Asking) -> None:
    answer = asking.ask(asking.effective(first={"api_key": "env:NOBODY_HAS_SET_THIS"}))
    assert (left(answer), tried(answer)) == (["first no_key"], ["second answered"])
    assert "NOBODY_HAS_SET_THIS" in answer.left_out[0].reason


def test_a_call_that_takes_too_long_is_ended_and_the_next_model_asked(asking: Asking) -> None:
    asking.first.answer([head(), 30.0])
    answer = asking.ask(asking.effective(first={"timeout_s": 0.3}))
    assert tried(answer) == ["first timeout", "second answered"]
    assert answer.attempts[0].cost_usd is None


def test_the_time_for_the_whole_answer_ends_all_calls(asking: Asking) -> None:
    asking.ask()  # what the first call of a process takes does not count below
    asking.first.answer([head(), 30.0])
    answer = asking.ask(asking.effective(timeout_s=1.0))
    assert (answer.model, answer.degraded) == ("basic_nlp", True)
    assert (tried(answer), left(answer)) == (["first out_of_time"], ["second out_of_time"])
