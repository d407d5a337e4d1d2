"""A hosted job from its rows to its draft, against the official client and a server on loopback."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hosted_runs import (
    Told,
    Waits,
    base_of,
    cancel_hosted,
    plan_of,
    recorded,
    run_hosted,
    spent_and_reserved,
)
from tuning_server import KEY, TuningServer, lost, quota, says, status
from werkzeug import Response

from deploy_samples import edit
from modelyard.answering.request import OverLimit
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.core.errors import Interrupted, InvalidInput, ProblemsFound
from modelyard.core.files import exclusive_lock
from modelyard.core.layout import Project
from modelyard.core.progress import Silent
from modelyard.deployments.running import running_settings
from modelyard.training.hosted.job import HostedJobFailed, run_job
from modelyard.training.hosted.record import load_run
from modelyard.training.hosted.service import (
    KEY_NAME,
    FineTuningUnavailable,
    NoKey,
    open_service,
)


def test_rows_are_sent_a_job_is_followed_and_its_model_becomes_a_draft(
    reviews: Project, tuning: TuningServer
) -> None:
    tuning.states = ["validating_files", "queued", "running", "succeeded"]
    told = Told()
    plan = plan_of(reviews)
    done = run_hosted(reviews, plan, progress=told)
    assert tuning.uploads == [plan.upload.data]
    (asked,) = tuning.bodies
    assert asked["model"] == "gpt-4o-2024-08-06" and asked["suffix"] == "exp-004"
    assert asked["method"]["supervised"]["hyperparameters"] == {"n_epochs": 3}
    assert asked["metadata"][KEY_NAME] == done.record.key
    assert asked["metadata"]["data_fingerprint"] == plan.dataset.fingerprint
    assert done.record.status == "succeeded" and done.record.trained_tokens == 12_000
    assert done.record.cost_usd == pytest.approx(0.3)
    assert [stage for stage in told.stages if "Step" in stage] == [
        f"gpt4: Step {number}: loss 0.{number}" for number in (1, 2, 3, 4)
    ]
    events = (done.folder / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["message"] for line in events] == [
        f"Step {number}: loss 0.{number}" for number in (1, 2, 3, 4)
    ]
    draft = running_settings(reviews, "development", "language_models")["gpt4_exp_004"]
    assert draft.model == done.record.tuned_model and draft.provider == "openai"
    assert draft.prices.input_per_million_usd == 3.75 and draft.aliases == ()
    assert draft.api_key == "env:OPENAI_API_KEY" and draft.fine_tuning is None


def test_nothing_but_turns_leaves_the_machine(reviews: Project, tuning: TuningServer) -> None:
    run_hosted(reviews)
    (sent,) = tuning.uploads
    rows = [json.loads(line) for line in sent.splitlines()]
    assert len(rows) == 12 and all(set(row) == {"messages"} for row in rows)
    assert b"function 100" not in sent and b'returns"' not in sent
    for headers in tuning.headers:
        assert str(reviews.root) not in json.dumps(headers)


def test_a_finished_job_is_not_asked_for_again(
    reviews: Project, tuning: TuningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_hosted(reviews)
    calls = len(tuning.requests)
    monkeypatch.delenv("OPENAI_API_KEY")
    again = run_hosted(reviews)
    assert again.already_done and again.record == first.record
    assert len(tuning.requests) == calls


def test_without_time_to_wait_the_job_is_created_and_followed_later(
    reviews: Project, tuning: TuningServer
) -> None:
    begun = run_hosted(reviews, wait_s=0)
    assert begun.record.status == "running" and begun.record.config is None
    assert run_hosted(reviews).record.status == "succeeded"
    assert len(tuning.uploads) == len(tuning.bodies) == 1


@pytest.mark.parametrize("state", ["paused", "validating_files", "a_state_to_come"])
def test_a_job_that_does_not_end_is_followed_until_the_bound(
    reviews: Project, tuning: TuningServer, state: str
) -> None:
    tuning.states = [state]
    with pytest.raises(HostedJobFailed, match=f"is still {state} after 0 s") as stopped:
        run_hosted(reviews, wait_s=0.3)
    assert "the same command" in (stopped.value.hint or "")
    tuning.states = ["succeeded"]
    assert run_hosted(reviews).record.config == "configs/language_models/gpt4_exp_004.yaml"
    assert len(tuning.jobs) == 1


def test_a_model_without_a_name_yet_is_waited_for(reviews: Project, tuning: TuningServer) -> None:
    tuning.states, tuning.names_models = ["succeeded"], False
    assert run_hosted(reviews, wait_s=0).record.config is None
    tuning.names_models = True
    assert run_hosted(reviews).record.config is not None


def test_a_failed_job_says_why_and_stays_failed_until_fresh(
    reviews: Project, tuning: TuningServer
) -> None:
    tuning.states = ["running", "failed"]
    tuning.misbehave_on["GET /fine_tuning/jobs/ID"] = []
    with pytest.raises(HostedJobFailed, match="has failed"):
        run_hosted(reviews)
    calls = len(tuning.requests)
    with pytest.raises(HostedJobFailed, match="has failed") as stopped:
        run_hosted(reviews)
    assert "--fresh" in (stopped.value.hint or "") and len(tuning.requests) == calls
    tuning.states = ["succeeded"]
    done = run_hosted(reviews, fresh=True)
    assert done.record.status == "succeeded"
    assert len(tuning.jobs) == 2 and len({job["training_file"] for job in tuning.jobs}) == 2


def test_the_providers_reason_is_shown(reviews: Project, tuning: TuningServer) -> None:
    run_hosted(reviews, wait_s=0)
    tuning.jobs[0].update(status="failed", error="row 3 is too long\x1b[2J")
    with pytest.raises(HostedJobFailed, match=r"has failed: row 3 is too long\\x1b\[2J"):
        run_hosted(reviews)


def test_a_running_job_is_not_started_over(reviews: Project, tuning: TuningServer) -> None:
    tuning.states = ["running"]
    run_hosted(reviews, wait_s=0)
    with pytest.raises(InvalidInput, match="of this experiment is running") as stopped:
        run_hosted(reviews, fresh=True)
    assert "--cancel" in (stopped.value.hint or "") and len(tuning.jobs) == 1


def test_a_job_is_cancelled_once_and_stays_so(reviews: Project, tuning: TuningServer) -> None:
    tuning.states = ["running"]
    run_hosted(reviews, wait_s=0)
    assert cancel_hosted(reviews).record.status == "cancelled"
    calls = len(tuning.requests)
    assert cancel_hosted(reviews).already_done and len(tuning.requests) == calls
    with pytest.raises(HostedJobFailed, match="was cancelled"):
        run_hosted(reviews)


def test_a_job_that_another_command_follows_can_be_cancelled(
    reviews: Project, tuning: TuningServer
) -> None:
    tuning.states = ["running"]
    run_hosted(reviews, wait_s=0)
    with exclusive_lock(reviews.lock("experiment", "exp_004"), what="experiment"):
        assert cancel_hosted(reviews).record.status == "cancelled"
        assert recorded(reviews).record.status == "running"  # whoever follows it records that
    with pytest.raises(HostedJobFailed, match="was cancelled"):
        run_hosted(reviews)


def test_who_stops_waiting_does_not_stop_the_job(reviews: Project, tuning: TuningServer) -> None:
    class Stopped(Waits):
        def __call__(self, seconds: float) -> bool:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="goes on at the provider"):
        run_hosted(reviews, waits=Stopped())
    assert run_hosted(reviews).record.status == "succeeded"
    assert len(tuning.jobs) == 1


def test_a_long_outage_is_waited_for_while_there_is_time(
    reviews: Project, tuning: TuningServer
) -> None:
    run_hosted(reviews, wait_s=0)
    tuning.misbehave_on["GET /fine_tuning/jobs/ID"] = [
        status(503)
    ] * 6  # more than one call's tries
    told = Told()
    assert run_hosted(reviews, progress=told).record.status == "succeeded"
    assert any("still following job" in warning for warning in told.warnings)


def test_what_has_ended_or_never_began_is_not_cancelled(
    reviews: Project, tuning: TuningServer
) -> None:
    with pytest.raises(InvalidInput, match="holds no hosted job"):
        cancel_hosted(reviews)
    run_hosted(reviews)
    with pytest.raises(HostedJobFailed, match=r"nothing was cancelled: job .* has succeeded"):
        cancel_hosted(reviews)


def test_a_job_that_ended_meanwhile_is_reported_by_cancel_and_concluded_later(
    reviews: Project, tuning: TuningServer
) -> None:
    tuning.states = ["running"]
    run_hosted(reviews, wait_s=0)
    tuning.states = ["succeeded"]
    with pytest.raises(HostedJobFailed, match="has succeeded"):
        cancel_hosted(reviews)
    assert run_hosted(reviews).record.config is not None


def test_other_inputs_are_refused_and_named(reviews: Project, tuning: TuningServer) -> None:
    run_hosted(reviews, wait_s=0)
    with pytest.raises(ProblemsFound) as stopped:
        run_hosted(reviews, plan_of(reviews, epochs=2))
    assert [str(problem) for problem in stopped.value.problems] == ["epochs was 3, and is 2 now"]
    rows = reviews.root / "datasets/reviews/train.jsonl"
    rows.write_text(rows.read_text().replace("function 3 ", "function three "))
    with pytest.raises(ProblemsFound) as stopped:
        run_hosted(reviews)
    assert str(stopped.value.problems[0]) == "the rows that are sent changed"
    assert len(tuning.jobs) == 1


def test_the_most_that_a_job_can_cost_is_reserved_until_the_provider_says_what_it_did(
    reviews: Project, tuning: TuningServer
) -> None:
    most_usd = plan_of(reviews).most_cost_usd
    run_hosted(reviews, wait_s=0)
    assert spent_and_reserved(reviews) == (0, pytest.approx(most_usd))
    run_hosted(reviews)
    assert spent_and_reserved(reviews) == (pytest.approx(0.3), 0)
    run_hosted(reviews)
    assert spent_and_reserved(reviews) == (pytest.approx(0.3), 0)


def test_a_job_whose_bill_is_not_known_counts_in_full(
    reviews: Project, tuning: TuningServer
) -> None:
    tuning.states = ["running"]
    most_usd = plan_of(reviews).most_cost_usd
    run_hosted(reviews, wait_s=0)
    cancel_hosted(reviews)
    assert spent_and_reserved(reviews) == (pytest.approx(most_usd), 0)


def test_a_job_that_may_exist_stays_reserved_when_the_key_is_refused(
    reviews: Project, tuning: TuningServer
) -> None:
    """It was created, a killed process did not hear of it, and its key is refused since then."""
    most_usd = plan_of(reviews).most_cost_usd
    tuning.misbehave_on["POST /fine_tuning/jobs"] = [lost(status(401))]
    with pytest.raises(FineTuningUnavailable):
        run_hosted(reviews)
    assert spent_and_reserved(reviews) == (0, 0), "what is refused at once costs nothing"
    run = load_run(reviews.experiments / "exp_004")
    assert run is not None
    run.note(asked_at=time.time())
    tuning.misbehave_on.clear()
    for path in ("GET /fine_tuning/jobs", "POST /fine_tuning/jobs"):
        tuning.misbehave_on[path] = [status(401)]
    with pytest.raises(FineTuningUnavailable):
        run_hosted(reviews)
    assert spent_and_reserved(reviews) == (0, pytest.approx(most_usd))
    assert run_hosted(reviews).record.status == "succeeded"
    assert spent_and_reserved(reviews) == (pytest.approx(0.3), 0)
    assert len(tuning.jobs) == 1


def test_numbers_that_cannot_be_true_are_not_taken(reviews: Project, tuning: TuningServer) -> None:
    def absurd(do: Callable[[], Response]) -> Response:
        said = re.sub(
            '("created_at"|"trained_tokens"): *[0-9.]+',
            rf"\1: {'9' * 400}",
            do().get_data(as_text=True),
        )
        return Response(said, content_type="application/json")

    tuning.misbehave_on["GET /fine_tuning/jobs/ID"] = [absurd] * 9
    tuning.misbehave_on["GET /fine_tuning/jobs/ID/events"] = [absurd] * 9
    most_usd = plan_of(reviews).most_cost_usd
    assert run_hosted(reviews).record.trained_tokens is None
    assert spent_and_reserved(reviews) == (pytest.approx(most_usd), 0)


def test_what_others_reserved_leaves_no_room_and_nothing_is_sent(
    reviews: Project, tuning: TuningServer
) -> None:
    edit(reviews, "integration", "per_day: $10", "per_day: $0.20")
    run_hosted(reviews, wait_s=0)
    calls = len(tuning.requests)
    with pytest.raises(OverLimit, match=r"\$0\.115.* reserved by calls under way"):
        run_hosted(reviews, plan_of(reviews, "exp_005"))
    assert len(tuning.requests) == calls
    assert run_hosted(reviews).record.status == "succeeded"  # its own reservation is no obstacle


BAD_DAYS = {
    "a server error": status(500),
    "overloaded": status(529),
    "too many requests": status(429, **{"Retry-After": "0.02"}),
    "a conflict": status(409),
    "HTML": says("<html>Bad gateway</html>", "text/html"),
    "half of an answer": says('{"id": "ftjob-'),
    "a list": says("[]"),
    "an id that is none": says(
        '{"id": "a\\nb", "status": "running", "fine_tuned_model": "\\u0007"}'
    ),
    "an answer without an id": says('{"object": "fine_tuning.job"}'),
    "nothing": says(""),
    "not UTF-8": says("\udcff".encode("utf-8", "surrogateescape").decode("latin-1")),
    "deeply nested": says("[" * 100_000),
}


@pytest.mark.parametrize("bad_day", BAD_DAYS)
def test_after_bad_answers_there_is_still_one_file_and_one_job(
    reviews: Project, tuning: TuningServer, bad_day: str
) -> None:
    """One instead of doing what is asked, and one after it was done."""
    odd = BAD_DAYS[bad_day]
    for path in ("POST /files", "POST /fine_tuning/jobs", "GET /fine_tuning/jobs/ID"):
        tuning.misbehave_on[path] = [odd, lost(odd)]
    tuning.misbehave_on["GET /files"] = [odd]
    tuning.misbehave_on["GET /fine_tuning/jobs/ID/events"] = [odd]
    done = run_hosted(reviews)
    assert done.record.status == "succeeded"
    assert len(tuning.files) == len(tuning.jobs) == 1


def test_the_wait_that_is_asked_for_is_kept(reviews: Project, tuning: TuningServer) -> None:
    tuning.misbehave_on["POST /files"] = [status(429, **{"Retry-After": "0.25"})]
    waits = Waits()
    run_hosted(reviews, waits=waits)
    assert any(0.25 <= seconds < 0.26 for seconds in waits.seconds)


@pytest.mark.parametrize(("keeps_metadata", "says_has_more"), [(True, False), (False, True)])
def test_the_job_is_found_among_many_though_the_record_was_lost(
    reviews: Project, tuning: TuningServer, keeps_metadata: bool, says_has_more: bool
) -> None:
    tuning.keeps_metadata, tuning.says_has_more = keeps_metadata, says_has_more
    done = run_hosted(reviews, wait_s=0)
    for _ in range(7):
        tuning.add_job(metadata={KEY_NAME: "another"})
    (done.folder / "hosted.json").unlink()
    again = run_hosted(reviews)
    assert again.record.job_id == done.record.job_id
    assert len(tuning.uploads) == len(tuning.bodies) == 1


REFUSALS = {
    "the key": (status(401, f"Incorrect API key: {KEY}"), "it refuses the key", "check `api_key`"),
    "the model": (status(404, "no such model"), "HTTP 404: no such model", "fine_tuning.model"),
    "the file": (status(400, "line 3 is bad"), "HTTP 400: line 3 is bad", "the provider says why"),
    "money": (quota(), "HTTP 429: You exceeded your quota", "check the provider's plan"),
    "a redirect": (
        status(307, "", Location="http://127.0.0.2:9/v1/files"),
        "HTTP 307",
        "redirects are not followed",
    ),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refusal_is_not_repeated_and_never_shows_the_key(
    reviews: Project, tuning: TuningServer, refusal: str
) -> None:
    answer, reason, hint = REFUSALS[refusal]
    tuning.misbehave_on["POST /files"] = [answer]
    with pytest.raises(FineTuningUnavailable) as stopped:
        run_hosted(reviews)
    assert reason in stopped.value.message and hint in (stopped.value.hint or "")
    assert tuning.requests.count("POST /files") == 1
    assert spent_and_reserved(reviews) == (0, 0)
    assert KEY not in repr(stopped.value) + stopped.value.message
    assert run_hosted(reviews).record.status == "succeeded"


def test_a_server_that_is_gone_is_named_and_the_job_goes_on_later(
    reviews: Project, tuning: TuningServer
) -> None:
    run_hosted(reviews, wait_s=0)
    config = reviews.configs / "language_models/gpt4_config.yaml"
    before = config.read_text()
    config.write_text(before.replace(tuning.url, "http://127.0.0.1:9/v1"))
    plan = plan_of(reviews)
    with pytest.raises(ProblemsFound, match="other inputs"):  # another API is another job
        run_hosted(reviews, plan)
    with pytest.raises(FineTuningUnavailable, match="Connection refused"):
        run_hosted(reviews, plan_of(reviews, "exp_005"))
    config.write_text(before)
    assert run_hosted(reviews).record.status == "succeeded"


def test_without_a_key_nothing_is_written(
    reviews: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(NoKey) as stopped:
        run_job(
            reviews,
            plan_of(reviews),
            lambda: open_service(reviews, base_of(reviews)),
            progress=Silent(),
        )
    assert stopped.value.where == "env:OPENAI_API_KEY"
    assert not reviews.experiment("exp_004").exists()


def test_a_damaged_record_is_named(reviews: Project, tuning: TuningServer) -> None:
    done = run_hosted(reviews, wait_s=0)
    (done.folder / "hosted.json").write_text('{"key": 3}')
    with pytest.raises(Exception, match="the record of this hosted job is damaged"):
        run_hosted(reviews)
    assert len(tuning.jobs) == 1
    assert run_hosted(reviews, fresh=True).record.status == "succeeded"


def test_another_config_of_that_name_is_never_replaced(
    reviews: Project, tuning: TuningServer
) -> None:
    place = reviews.configs / "language_models/gpt4_exp_004.yaml"
    gpt4 = reviews.configs / "language_models/gpt4_config.yaml"
    mine = gpt4.read_text().replace("aliases: [gpt-4]\n", "")
    place.write_text(mine)
    done = run_hosted(reviews)
    assert place.read_text() == mine
    assert done.record.config == "configs/language_models/gpt4_exp_004_2.yaml"
    written = reviews.root / done.record.config
    edited = written.read_text() + "# mine now\n"
    written.write_text(edited)
    recorded(reviews).note(config=None)  # killed between the draft and its record
    assert run_hosted(reviews).record.config == done.record.config
    assert written.read_text() == edited


def test_the_drafts_of_the_longest_names_differ(reviews: Project, tuning: TuningServer) -> None:
    name = "e" * 64
    first = run_hosted(reviews, plan_of(reviews, name)).record.config
    second = run_hosted(reviews, plan_of(reviews, name), fresh=True).record.config
    assert first != second and {len(Path(place or "").stem) for place in (first, second)} == {64}
    models = running_settings(reviews, "development", "language_models")
    assert {Path(first or "").stem, Path(second or "").stem} <= set(models)


def test_the_draft_is_valid_and_says_when_its_prices_are_unknown(reviews: Project) -> None:
    config = reviews.configs / "language_models/gpt4_config.yaml"
    text = config.read_text()
    start = text.index("  prices:\n    input_per_million: $3.75")
    config.write_text(text[:start] + text[text.index("environments:") :])
    done = run_hosted(reviews)
    draft = Path(reviews.root / (done.record.config or ""))
    assert "Its prices are not known" in draft.read_text()
    document = ConfigCatalogue(reviews).read(draft)
    assert document.name == "gpt4_exp_004"
