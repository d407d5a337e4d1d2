"""A hosted job whose command is killed: at each request, before and after it, and at each write."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from hosted_runs import cancel_hosted, plan_of, recorded, run_hosted, spent_and_reserved
from tuning_server import TuningServer

from killed import SOAK, fork, interruptions
from modelyard.core.layout import Project
from modelyard.training.hosted.job import HostedResult
from modelyard.training.hosted.plan import HostedPlan


def finish(project: Project, plan: HostedPlan, tuning: TuningServer) -> HostedResult:
    """The same command again leads to one file, one job, one draft and one bill."""
    done = run_hosted(project, plan)
    assert done.record.status == "succeeded"
    assert len(tuning.files) == len(tuning.uploads) == len(tuning.jobs) == len(tuning.bodies) == 1
    assert tuning.uploads[0] == (done.folder / "upload.jsonl").read_bytes()
    drafts = list((project.configs / "language_models").glob("gpt4_*.yaml"))
    assert [place.stem for place in drafts if place.stem != "gpt4_config"] == ["gpt4_exp_004"]
    assert spent_and_reserved(project) == (pytest.approx(0.3), 0)
    return done


@pytest.fixture
def start_over(reviews: Project, tuning: TuningServer) -> Callable[[], None]:
    """Puts project and provider back to the beginning."""

    def put_back() -> None:
        for place in (*reviews.experiments.rglob("*"), *reviews.local_state.rglob("*")):
            if place.is_file():
                place.unlink()
        for draft in (reviews.configs / "language_models").glob("gpt4_exp_*.yaml"):
            draft.unlink()
        tuning.forget()

    return put_back


def test_killed_at_any_request_it_goes_on_with_the_same_file_and_job(
    reviews: Project, tuning: TuningServer, start_over: Callable[[], None]
) -> None:
    plan = plan_of(reviews)
    finish(reviews, plan, tuning)  # loads the client, once for all children
    requests = len(tuning.requests)
    for number in range(1, requests + 1):
        for when in ("before", "after") if SOAK > 1 else ("after",):
            start_over()
            tuning.kill = (number, when)
            tuning.client = child = fork(lambda: run_hosted(reviews, plan))
            status = os.waitpid(child, 0)[1]
            assert os.WIFSIGNALED(status), f"request {number} was not made"
            tuning.kill = None
            finish(reviews, plan, tuning)
    print(f"killed at {requests} requests")


def test_killed_at_any_write_it_goes_on_with_the_same_file_and_job(
    reviews: Project, tuning: TuningServer, start_over: Callable[[], None]
) -> None:
    plan = plan_of(reviews)
    finish(reviews, plan, tuning)
    start_over()
    for _ in interruptions(lambda: run_hosted(reviews, plan), "kill"):
        finish(reviews, plan, tuning)
        start_over()


def test_killed_while_cancelling_the_job_is_cancelled_once(
    reviews: Project, tuning: TuningServer
) -> None:
    tuning.states = ["running"]
    run_hosted(reviews, wait_s=0)
    tuning.kill = (len(tuning.requests) + 2, "after")
    tuning.client = child = fork(lambda: cancel_hosted(reviews))
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    assert not recorded(reviews).record.has_ended
    tuning.kill = None
    assert cancel_hosted(reviews).record.status == "cancelled"
    assert sum(request.endswith("/cancel") for request in tuning.requests) == 1
