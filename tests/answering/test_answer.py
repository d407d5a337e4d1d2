"""What the configs say of a request is what happens to it, from the rules to the record."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from answer_samples import make_request
from asking import COST_USD, Asking, left, only, open_asking, tried
from modelyard.answering.money.ledger import check_budget
from modelyard.answering.request import (
    AnswerFailed,
    ContextTooLong,
    GivenText,
    NothingFound,
    OverLimit,
)
from modelyard.configs.kinds.integration import (
    Budgets,
    PerformanceMonitoring,
    RecordPrompts,
    ServiceLimits,
)
from modelyard.configs.kinds.language_models import Prices, RateLimits, Retries
from modelyard.configs.kinds.parts import Generation
from modelyard.configs.kinds.performance_profiles import AnswerCache
from modelyard.configs.kinds.specialized_models import InputRules, OutputRules
from modelyard.core.clock import utc_now_ms
from modelyard.core.errors import InvalidInput
from modelyard.deployments.effective_settings import EffectiveRetrieval
from modelyard.monitoring.chosen_answers import choose_answers
from modelyard.monitoring.periods import Period, read_period
from modelyard.monitoring.samples import open_traffic
from provider_server import Step, chat, chat_event, chunk, head, whole

SCHEMA = {"type": "object", "required": ["verdict"], "properties": {"verdict": {"type": "string"}}}
JSON = OutputRules(format="json", json_schema=SCHEMA)
BUSY = whole("503 Service Unavailable", {})


@pytest.fixture
def asking(tmp_path: Path) -> Iterator[Asking]:
    with open_asking(tmp_path / "project") as opened:
        opened.first.answer(chat("Ann."))
        opened.second.answer(chat("Bob."))
        yield opened


def spent(asking: Asking, budget_usd: float, organisation: str | None = None) -> str | None:
    """Why a call of one microdollar would be refused with this budget for a day."""
    return check_budget(
        asking.project,
        environment="development",
        organisation=organisation,
        budgets=Budgets(per_day_usd=budget_usd),
        max_cost_usd=None,
        worst_usd=1e-6,
    )


# What a model is sent.


def test_instructions_files_and_settings_reach_the_model(asking: Asking) -> None:
    effective = asking.effective(
        first={"generation": Generation(temperature=0.5, max_output_tokens=77)}
    )
    asking.ask(effective, system="Be brief.", files=(GivenText(name="a.py", text="x = 1"),))
    body = asking.first.asked[0].body
    assert (body["temperature"], body["model"]) == (0.5, "first-1")
    assert 77 in (body.get("max_tokens"), body.get("max_completion_tokens"))
    system, user = (message["content"] for message in body["messages"])
    assert system == "You answer questions of customers.\n\nBe brief."
    assert "File a.py" in user
    assert user.endswith("Who leads sales?")


def test_what_the_domain_does_not_take_is_refused_before_any_call(asking: Asking) -> None:
    short = asking.effective(input=InputRules(max_tokens=20))
    with pytest.raises(InvalidInput, match="takes at most 20"):
        asking.ask(short, "word " * 100)
    with pytest.raises(InvalidInput, match="organisation name"):
        asking.ask(organisation="../acme")
    with pytest.raises(InvalidInput, match="is no JSON Schema"):
        asking.ask(json_schema={"type": "no such type"})
    assert (asking.asked(), asking.samples()) == ((0, 0), [])


def test_a_domain_that_must_be_grounded_calls_nobody_without_sources(asking: Asking) -> None:
    wanted = EffectiveRetrieval(
        domains=("docs/none",),
        top=3,
        max_tokens=100,
        rerank=False,
        least_similarity=None,
        required=True,
    )
    with pytest.raises(NothingFound):
        asking.ask(asking.effective(retrieval=wanted))
    assert asking.asked() == (0, 0)
    assert [sample.outcome for sample in asking.samples()] == ["nothing_found"]


# JSON.


def test_json_is_checked_and_comes_whole(asking: Asking) -> None:
    asking.first.answer(chat("```json\n", '{"verdict": "fine"}', "\n```"))
    answer = asking.ask(asking.effective(output=JSON))
    assert (answer.text, asking.shown) == ('{"verdict": "fine"}', ['{"verdict": "fine"}'])
    assert asking.first.asked[0].body["response_format"]["json_schema"]["schema"] == SCHEMA


def test_json_that_misses_the_schema_is_repaired_once(asking: Asking) -> None:
    asking.first.answer(chat('{"verdict": 1}'), chat('{"verdict": "fine"}'))
    answer = asking.ask(asking.effective(output=JSON))
    assert (answer.text, len(answer.attempts)) == ('{"verdict": "fine"}', 2)
    repair = asking.first.asked[1].body["messages"]
    assert repair[-2]["content"] == '{"verdict": 1}'
    assert "1 is not of type 'string'" in repair[-1]["content"]


def test_then_the_next_model_is_asked_and_the_builtin_never(asking: Asking) -> None:
    asking.first.answer(chat("Fine!"))
    asking.second.answer(chat("Fine!"), chat('{"verdict": "fine"}'))
    effective = asking.effective(output=JSON)
    answer = asking.ask(effective)
    assert tried(answer) == ["first missed_schema"] * 2 + ["second answered"] * 2
    asking.second.answer(chat('{"verdict": 1}'))
    with pytest.raises(AnswerFailed, match=r"meets the schema.*\$\.verdict: 1 is not of type 'str"):
        asking.ask(effective)
    asking.first.answer(BUSY)
    asking.second.answer(BUSY)
    with pytest.raises(AnswerFailed, match="no model answered"):
        asking.ask(effective)


# Several draws.


def test_of_several_draws_the_one_most_agree_on_is_given(asking: Asking) -> None:
    asking.first.answer(chat("Ann."), chat("Bob."), chat("ann"))
    effective = asking.effective(first={"generation": Generation(seed=7)}, samples=3)
    answer = asking.ask(effective)
    assert (answer.samples, answer.agreed, answer.text.lower()[:3]) == (3, 2, "ann")
    assert asking.shown == [answer.text]
    assert sorted(asked.body["seed"] for asked in asking.first.asked) == [7, 8, 9]
    assert answer.cost_usd == pytest.approx(3 * COST_USD)


def test_draws_that_fail_leave_those_that_came(asking: Asking) -> None:
    asking.first.answer(BUSY, chat("Ann."), chat("Ann."))
    answer = asking.ask(asking.effective(samples=3))
    assert (answer.text, answer.samples, answer.agreed) == ("Ann.", 2, 2)
    assert "2 of 3 answers were drawn by first" in answer.notes


# What was answered before.


def test_the_same_question_is_answered_from_the_cache_of_the_same_organisation(
    asking: Asking,
) -> None:
    effective = asking.effective(cache=AnswerCache(enabled=True))
    first = asking.ask(effective, organisation="acme")
    again = asking.ask(effective, organisation="acme")
    assert (again.text, again.from_cache, again.attempts) == (first.text, True, ())
    assert (again.cost_usd, asking.shown) == (0.0, [first.text])
    asking.ask(effective, organisation="other")
    asking.ask(effective, organisation="acme", use_cache=False)
    asking.ask(effective, "Who leads it now?", organisation="acme")
    assert asking.asked() == (4, 0)
    assert [sample.route for sample in asking.samples()].count("cache") == 1


def test_what_was_kept_is_given_while_its_model_fails(asking: Asking) -> None:
    effective = asking.effective(cache=AnswerCache(enabled=True))
    asking.ask(effective)
    asking.first.answer(whole("401 Unauthorized", {}))
    asking.ask(effective, "Something else")
    assert asking.ask(effective).from_cache


# Money and limits.


def test_what_was_reserved_gives_way_to_what_it_cost(asking: Asking) -> None:
    asking.ask(asking.effective(budgets=Budgets(per_day_usd=1.0)), organisation="acme")
    assert spent(asking, COST_USD + 1e-6) is None
    assert spent(asking, COST_USD) is not None


def test_a_model_whose_worst_case_is_above_the_budget_is_left_out(asking: Asking) -> None:
    tight = asking.effective(
        first={"max_output_tokens": 1000, "generation": Generation(max_output_tokens=1000)},
        budgets=Budgets(per_day_usd=0.005),
    )
    answer = asking.ask(tight)
    assert (left(answer), tried(answer)) == (["first budget"], ["second answered"])
    assert "it could cost $0.01" in answer.left_out[0].reason


def test_with_no_room_in_the_budget_nobody_is_called_nor_quoted(asking: Asking) -> None:
    with pytest.raises(OverLimit, match="a request may cost") as refused:
        asking.ask(asking.effective(max_cost_per_request_usd=0.0001))
    assert refused.value.wait_s is None
    assert asking.asked() == (0, 0)
    assert [sample.outcome for sample in asking.samples()] == ["over_limit"]


def test_repetitions_are_given_up_before_the_answer_is(asking: Asking) -> None:
    """One call fits the budget, and three of them do not."""
    asking.first.answer(BUSY, chat("Ann."))
    once = asking.effective(first={"retries": Retries(attempts=2)}, max_cost_per_request_usd=0.0015)
    assert tried(asking.ask(once)) == ["first busy", "second answered"]


def test_what_a_failed_model_may_have_cost_counts_for_the_next_one(asking: Asking) -> None:
    asking.first.answer([head(), 30.0])
    tight = asking.effective(first={"timeout_s": 0.2}, max_cost_per_request_usd=0.0015)
    with pytest.raises(AnswerFailed, match="no model answered"):
        asking.ask(replace(tight, fallback=tight.fallback[:1]))
    assert asking.asked() == (1, 0)


def test_an_unknown_price_is_no_zero(asking: Asking) -> None:
    billed = {"prices": None, "stays_local": False}
    unknown = asking.effective(first=billed)
    answer = asking.ask(unknown)
    assert (answer.cost_usd, answer.usage is not None) == (None, True)
    limited = asking.effective(first=billed, budgets=Budgets(per_day_usd=1.0))
    assert left(asking.ask(limited)) == ["first unknown_price"]


def test_a_model_that_charges_nothing_costs_nothing_whatever_it_reports(asking: Asking) -> None:
    asking.first.answer(chat("Ann.", usage=None))
    free = Prices(input_per_million_usd=0, output_per_million_usd=0)
    assert asking.ask(asking.effective(first={"prices": free})).cost_usd == 0
    unsaid = asking.ask()
    assert (unsaid.cost_usd, unsaid.usage and unsaid.usage.is_estimated) == (None, True)


def test_a_call_of_which_nobody_knows_what_it_cost_counts_in_full(asking: Asking) -> None:
    asking.first.answer([head(), 30.0])
    effective = asking.effective(
        first={"timeout_s": 0.2}, budgets=Budgets(per_day_usd=1.0), fallback=()
    )
    with pytest.raises(AnswerFailed):
        asking.ask(only(effective))
    assert spent(asking, 0.001) is not None  # the worst case is 100 tokens of output at 10 $/M


def test_what_no_model_has_room_for_takes_nobodys_turn(asking: Asking) -> None:
    limits = ServiceLimits(tokens_per_minute=5_000)
    effective = asking.effective(rate_limits=limits, timeout_s=5)
    with pytest.raises(ContextTooLong) as error:
        asking.ask(effective, "word " * 50_000)
    assert [f"{each.model} {each.why}" for each in error.value.left_out] == [
        "first too_long",
        "second too_long",
    ]
    assert asking.ask(effective).text == "Ann."


def test_the_service_takes_no_more_requests_than_it_may(asking: Asking) -> None:
    effective = asking.effective(
        rate_limits=ServiceLimits(requests_per_minute_per_organisation=2), timeout_s=5
    )
    for _ in range(2):
        asking.ask(effective, organisation="acme")
    with pytest.raises(OverLimit, match="leave no room") as refused:
        asking.ask(effective, organisation="acme")
    assert refused.value.wait_s is not None
    assert 50 < refused.value.wait_s <= 63
    assert asking.ask(effective, organisation="other").text == "Ann."


def test_a_model_without_room_in_its_minute_leads_to_the_next(asking: Asking) -> None:
    effective = asking.effective(first={"limits": RateLimits(requests_per_minute=1)}, timeout_s=5)
    asking.ask(effective)
    answer = asking.ask(effective)
    assert (left(answer), tried(answer)) == (["first limit"], ["second answered"])
    with pytest.raises(OverLimit, match="its limits leave no room for") as refused:
        asking.ask(effective, use_fallback=False)
    assert "raise `limits` of the language model" in str(refused.value.hint)


# The record.


def test_every_answer_leaves_a_sample_and_every_call_one_below_it(asking: Asking) -> None:
    asking.first.answer(BUSY)
    answer = asking.ask(organisation="acme", parent_id="0" * 16)
    (sample,) = asking.samples()
    assert (sample.answer_id, sample.parent_id) == (answer.id, "0" * 16)
    assert (sample.organisation, sample.domain, sample.profile) == ("acme", "support", "balanced")
    assert (sample.model, sample.language_model) == ("model:second", "second")
    assert sample.route == "first busy > second answered"
    assert (sample.calls, sample.drawn, sample.agreed, sample.outcome) == (2, 1, 1, "answered")
    assert (sample.prompt_tokens, sample.output_tokens, sample.token_source) == (12, 5, "reported")
    assert sample.cost_usd == pytest.approx(COST_USD)
    failed, called = asking.samples("call")
    assert {failed.parent_id, called.parent_id} == {answer.id}
    assert (failed.outcome, failed.failure) == ("failed", "busy")
    assert (called.outcome, called.cost_usd) == ("answered", sample.cost_usd)


def test_what_is_monitored_costs_what_the_models_billed_once(asking: Asking) -> None:
    asking.first.answer(chat("Ann."))
    asking.ask(asking.effective(samples=3))
    asking.first.answer(BUSY)
    asking.ask()
    asking.first.answer(chat('{"verdict": 1}'), chat('{"verdict": "yes"}'))
    asking.ask(asking.effective(output=JSON))
    billed = sum(asking.asked()) - 1
    asking.first.answer(chat("Ann."))
    asking.ask(is_test=True)
    asking.ask(parent_id="0" * 16)
    now_ms = utc_now_ms()
    for hours in (1, 24):
        period = Period(start_ms=now_ms - hours * 3_600_000, end_ms=now_ms + 1)
        with open_traffic(asking.project) as traffic:
            chosen = choose_answers(asking.project, "development", None)
            [total] = read_period(traffic, chosen, period)[None]
        assert total.requests() == 3
        assert total.sums().cost_usd == pytest.approx(billed * COST_USD)
    assert billed == 3 + 1 + 2


def test_nothing_is_recorded_where_nothing_is_to_be_measured(asking: Asking) -> None:
    asking.ask(asking.effective(monitoring=PerformanceMonitoring(enabled=False)))
    assert asking.samples() + asking.samples("call") == []


def test_no_text_is_kept_unless_the_integration_says_so(asking: Asking) -> None:
    def kept() -> bool:
        files = [path for path in asking.project.local_state.rglob("*") if path.is_file()]
        return any(b"leads sales" in path.read_bytes() for path in files)

    asking.ask()
    assert not kept()
    asking.ask(asking.effective(record_prompts=RecordPrompts(enabled=True)))
    assert kept()


def test_an_interrupted_answer_is_settled_and_recorded(asking: Asking) -> None:
    waiting: list[Step] = [head(), chunk(chat_event({"content": "Ann"})), 30.0]
    asking.first.answer(waiting)
    effective = asking.effective(budgets=Budgets(per_day_usd=1.0))
    main = threading.get_ident()
    interrupt = threading.Timer(0.5, signal.pthread_kill, (main, signal.SIGINT))
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        asking.ask(effective)
    interrupt.join()
    (sample,) = asking.samples()
    assert (sample.outcome, sample.calls, sample.cost_usd) == ("interrupted", 1, None)
    assert [sample.outcome for sample in asking.samples("call")] == ["interrupted"]
    assert spent(asking, 0.001) is not None


def test_threads_share_an_answerer(asking: Asking) -> None:
    answers = []
    effective = asking.effective(budgets=Budgets(per_day_usd=1.0))

    def ask() -> None:
        answers.extend(
            asking.answerer.answer(effective, make_request("Who?")).text for _ in range(5)
        )

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["Ann."] * 40
    assert len({sample.answer_id for sample in asking.samples()}) == 40
    assert spent(asking, 40 * COST_USD + 2e-6) is None


def test_an_answerer_costs_no_library_that_its_answers_do_not_need(tmp_path: Path) -> None:
    """torch comes with a local model, a client with a call, numpy with a search."""
    code = (
        "import sys; from pathlib import Path; from modelyard.core.layout import Project; "
        "from modelyard.answering.answer import Answerer; "
        "Answerer(Project(Path(sys.argv[1]))).close(); "
        "print(*{'torch', 'numpy', 'openai', 'anthropic', 'httpx2', 'jinja2'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_a_test_leaves_samples_that_are_in_no_figure_about_users(asking: Asking) -> None:
    tested = asking.ask(is_test=True)
    used = asking.ask()
    assert [sample.answer_id for sample in asking.samples()] == [used.id]
    assert [sample.answer_id for sample in asking.samples("test")] == [tested.id]
    (call,) = asking.samples("test_call")
    assert (call.parent_id, call.cost_usd) == (tested.id, COST_USD)
    assert len(asking.samples("call")) == 1
