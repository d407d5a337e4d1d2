"""A hosted job from its file to its model: started, followed, cancelled, and gone on with.

Each step leaves its result in the experiment before the next begins, so the same command again goes
on where a killed one was, with the same file and the same job.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from modelyard.core.clock import utc_now
from modelyard.core.errors import Interrupted, InvalidInput, ModelyardError
from modelyard.core.files import LockHeld, exclusive_lock
from modelyard.core.layout import Project
from modelyard.core.progress import Progress
from modelyard.core.wording import visible_line
from modelyard.pacing import Pause, pause
from modelyard.training.hosted.budget import release, require_budget, reserve_for, settle_job
from modelyard.training.hosted.draft import write_draft
from modelyard.training.hosted.plan import HostedPlan
from modelyard.training.hosted.record import (
    ENDED,
    HostedRun,
    JobRecord,
    begin_run,
    load_run,
    locate_run,
    require_run,
    require_same_job,
)
from modelyard.training.hosted.service import (
    FineTuningService,
    FineTuningUnavailable,
    JobState,
)

Next = Literal["start", "follow", "nothing"]
"""Send the rows and create the job; go on with one whose rows are sent; or nothing is left."""
OpenService = Callable[[], FineTuningService]
"""Reads the key and opens the client; raises ModelyardError without a key."""


class HostedJobFailed(ModelyardError):
    """The provider's job made no model: it failed, was cancelled, or did not end in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How a job is waited for."""

    first_poll_s: float = 2.0
    """Seconds before it is asked for again; half as much more each time."""
    longest_poll_s: float = 30.0
    """The most seconds between two questions."""
    settle_s: float = 5.0
    """Seconds in which a job that was asked for by a killed process may still appear."""
    pause: Pause = pause
    """Waits."""


PATIENCE = Patience()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedResult:
    """Where a hosted job is."""

    folder: Path
    """The experiment's folder."""
    record: JobRecord
    """What is known of it."""
    already_done: bool
    """Whether an earlier run had done all of it."""


def run_job(
    project: Project,
    plan: HostedPlan,
    open_service: OpenService,
    *,
    progress: Progress,
    fresh: bool = False,
    wait_s: float = 0.0,
    patience: Patience = PATIENCE,
) -> HostedResult:
    """Start the job of a plan, or go on with it, and follow it for up to `wait_s` seconds.

    Raises HostedJobFailed when it ended without a model, or not within `wait_s` where that is more
    than 0; ProblemsFound when the experiment holds another job; FineTuningUnavailable.
    """
    name = plan.request.experiment
    until = time.monotonic() + wait_s
    with exclusive_lock(project.lock("experiment", name), what=f"experiment {name}", wait_s=wait_s):
        folder = locate_run(project, name)
        run = _earlier_run(folder, fresh=fresh)
        if run is not None and not fresh:
            require_same_job(run, plan)
            if run.record.has_ended:
                already_done = run.record.config is not None
                _conclude(project, run)
                return HostedResult(folder=folder, record=run.record, already_done=already_done)
        service = open_service()
        if run is not None and fresh:
            _leave_behind(project, run, service)
        if run is None or fresh:
            run = begin_run(folder, plan, fresh=fresh)
        may_exist = run.record.asked_at is not None  # an earlier process asked for the job
        try:
            _start(project, run, plan, service, progress, patience)
        except FineTuningUnavailable as error:
            if not error.is_temporary and not may_exist:
                release(project, run.record.key)  # it was refused, so there is no job
                run.note(asked_at=None)
            raise
        _follow(run, service, progress, patience, until=until)
        if run.record.has_ended:
            _conclude(project, run)
        elif wait_s > 0:
            status = run.record.status or "on its way"
            raise HostedJobFailed(
                f"{_called(run)} is still {status} after {wait_s:,.0f} s",
                hint=_HINTS.get(run.record.status or "", _STILL_RUNNING),
            )
        return HostedResult(folder=folder, record=run.record, already_done=False)


def look_ahead(project: Project, plan: HostedPlan, *, fresh: bool) -> Next:
    """What `run_job` would do now, by what is on the disk. Raises what it would raise for that."""
    run = _earlier_run(locate_run(project, plan.request.experiment), fresh=fresh)
    if run is not None and not fresh:
        require_same_job(run, plan)
        if run.record.has_ended and (run.record.status != "succeeded" or run.record.config):
            return "nothing"
        if run.record.file_id is not None:
            return "follow"
    return "start"


def require_affordable(project: Project, plan: HostedPlan, *, fresh: bool) -> None:
    """Raise OverLimit where `run_job` would have no budget for the job."""
    run = _earlier_run(locate_run(project, plan.request.experiment), fresh=fresh)
    require_budget(project, plan, run.record.key if run is not None and not fresh else None)


def _earlier_run(folder: Path, *, fresh: bool) -> HostedRun | None:
    """The run that an experiment holds; with `fresh` a damaged record is none."""
    try:
        return load_run(folder)
    except ModelyardError:
        if fresh:
            return None
        raise


_STILL_RUNNING = "the same command goes on following it, for longer with a larger --wait"
_HINTS = {
    "paused": "resume it at the provider; the same command then goes on following it",
    "validating_files": "the provider checks the file before it trains; the same command goes on "
    "following it",
}


def _start(
    project: Project,
    run: HostedRun,
    plan: HostedPlan,
    service: FineTuningService,
    progress: Progress,
    patience: Patience,
) -> None:
    """Send the file and create the job, each unless it was done before."""
    record, request = run.record, plan.request
    if record.job_id is None:
        reserve_for(project, plan, record.key)
    if record.file_id is None:
        run.prepare_files(plan.upload.data)
        progress.stage(f"send {plan.upload.rows:,} conversations to {plan.host}")
        run.note(file_id=service.put_file(record.file_name, plan.upload.data))
    if record.job_id is None:
        if record.asked_at is None:
            run.note(asked_at=time.time())
        else:
            _let_settle(record.asked_at, patience)
        progress.stage(f"create the job: {request.base.model}, {request.epochs} passes")
        assert run.record.file_id is not None
        job_id = service.put_job(
            key=record.key,
            file_id=run.record.file_id,
            model=request.base.model,
            epochs=request.epochs,
            seed=request.seed,
            suffix=re.sub("[^a-z0-9]+", "-", request.experiment).strip("-"),
            metadata={
                "experiment": request.experiment,
                "data_fingerprint": plan.dataset.fingerprint,
            },
        )
        run.note(job_id=job_id)


def _let_settle(asked_at: float, patience: Patience) -> None:
    """Wait until a job that a killed process asked for would be in the provider's list."""
    left_s = min(asked_at + patience.settle_s - time.time(), patience.settle_s)
    if left_s > 0:
        patience.pause(left_s)


def _follow(
    run: HostedRun,
    service: FineTuningService,
    progress: Progress,
    patience: Patience,
    *,
    until: float,
) -> None:
    """Record state and events until the job ends or the time is over; once in any case."""
    poll_s = patience.first_poll_s
    known = run.known_events()
    try:
        while True:
            try:
                _look(run, service, known, progress)
            except FineTuningUnavailable as error:
                if not error.is_temporary or time.monotonic() >= until:
                    raise
                progress.warn(f"{error.message}; still following {_called(run)}")
            left_s = until - time.monotonic()
            if run.record.has_ended or left_s <= 0 or patience.pause(min(poll_s, left_s)):
                return
            poll_s = min(poll_s * 1.5, patience.longest_poll_s)
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"{_called(run)} goes on at the provider",
            hint="the same command follows it again; with --cancel it is stopped",
        ) from error


def _look(run: HostedRun, service: FineTuningService, known: set[str], progress: Progress) -> None:
    """Ask for the job once; report and record its new events and its state."""
    assert run.record.job_id is not None
    state = service.load_job(run.record.job_id)
    for event in service.load_events(state.id, known):
        run.add_event(event)
        known.add(event.id)
        tell = progress.stage if event.level == "info" else progress.warn
        tell(f"{run.record.language_model}: {event.message}")
    if state.status != run.record.status:
        progress.stage(f"{_called(run)}: {visible_line(state.status)}")
    _note_state(run, state)


def _note_state(run: HostedRun, state: JobState) -> None:
    """Record a state that is news."""
    # A job may be called succeeded shortly before its model has a name: it is not done yet.
    if state.status == "succeeded" and state.tuned_model is None:
        return
    if (state.id, state.status) == (run.record.job_id, run.record.status):
        return
    price_usd, tokens = run.record.price_per_million_usd, state.trained_tokens
    cost_usd = None if price_usd is None or tokens is None else tokens * price_usd / 1e6
    run.note(
        job_id=state.id,
        status=state.status,
        error=state.error,
        tuned_model=state.tuned_model,
        trained_tokens=tokens,
        cost_usd=cost_usd,
        finished_at=utc_now() if state.status in ENDED else None,
    )


def _note_never_created(run: HostedRun) -> None:
    """Record that a run was killed before it had a job created: nothing was trained or charged."""
    run.note(status="cancelled", trained_tokens=0, cost_usd=0.0, finished_at=utc_now())


def _conclude(project: Project, run: HostedRun) -> None:
    """Settle what the job cost and write its draft; raise HostedJobFailed when it made no model."""
    record = run.record
    settle_job(project, record)
    if record.status != "succeeded":
        why = f": {record.error}" if record.error else ""
        raise HostedJobFailed(
            f"{_called(run)} {'was' if record.status == 'cancelled' else 'has'} "
            f"{record.status}{why}",
            where=project.show(run.record_file),
            hint="correct what is named, and begin another job with --fresh",
        )
    if record.config is None:
        draft = write_draft(project, record, run.folder.name)
        run.note(config=project.show(draft))


def _leave_behind(project: Project, run: HostedRun, service: FineTuningService) -> None:
    """See that nothing of an earlier run goes on: a job that has not ended would cost twice.

    Raises InvalidInput while it has not.
    """
    if not run.record.has_ended:
        state = _find(run.record, service)
        if state is None:
            _note_never_created(run)
        elif state.status in ENDED:
            _note_state(run, state)
        else:
            raise InvalidInput(
                f"the job {state.id} of this experiment is {state.status}",
                hint="stop it first with --cancel, or leave --fresh out to go on with it",
            )
    settle_job(project, run.record)


def cancel_job(
    project: Project,
    experiment: str,
    open_service: OpenService,
    *,
    wait_s: float = 0.0,
    patience: Patience = PATIENCE,
) -> HostedResult:
    """Have the provider stop the job of an experiment; also while another command follows it.

    Raises InvalidInput when the experiment holds none, HostedJobFailed when it has ended otherwise.
    """
    lock = project.lock("experiment", experiment)
    try:
        with exclusive_lock(lock, what=f"experiment {experiment}", wait_s=wait_s):
            run = require_run(project, experiment)
            already_done = run.record.status == "cancelled"
            if not run.record.has_ended:
                _cancel(run, open_service(), patience)
            if run.record.has_ended:
                settle_job(project, run.record)
            if run.record.status in ("succeeded", "failed"):
                raise _ended_before(run.record.job_id, run.record.status)
            return HostedResult(folder=run.folder, record=run.record, already_done=already_done)
    except LockHeld:
        run = require_run(project, experiment)
        if run.record.job_id is None or run.record.has_ended:
            raise  # the other command is about to create one, or to conclude it
        state = open_service().cancel_job(run.record.job_id)
        record = replace(run.record, status=state.status)  # the other command records it
        return HostedResult(folder=run.folder, record=record, already_done=False)


def _cancel(run: HostedRun, service: FineTuningService, patience: Patience) -> None:
    """Stop a job that had not ended when it was last asked for, and record what it is now."""
    if run.record.asked_at is not None and run.record.job_id is None:
        _let_settle(run.record.asked_at, patience)
    state = _find(run.record, service)
    if state is None:
        _note_never_created(run)
        return
    if state.status not in ENDED:
        state = service.cancel_job(state.id)
    if state.status == "succeeded" and state.tuned_model is None:
        raise _ended_before(state.id, state.status)
    _note_state(run, state)


def _ended_before(job_id: str | None, status: str | None) -> HostedJobFailed:
    return HostedJobFailed(
        f"nothing was cancelled: job {job_id} has {status}",
        hint="the same command without --cancel says what became of it",
    )


def _find(record: JobRecord, service: FineTuningService) -> JobState | None:
    """The job of a run as it is now; None when none was created."""
    job_id = record.job_id or service.find_job(record.key, record.file_id)
    return None if job_id is None else service.load_job(job_id)


def _called(run: HostedRun) -> str:
    return f"job {run.record.job_id}"
