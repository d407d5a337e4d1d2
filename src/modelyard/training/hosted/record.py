"""The record of a hosted job in its experiment: what it is, and how far it got.

Each step is recorded before the next begins, and what cannot be undone is announced first: the
file's name before the file is sent, the job's key before the job is created. A process that was
killed in between finds both at the provider.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from modelyard.configs.fields import show_written
from modelyard.core.clock import utc_now
from modelyard.core.errors import Diagnostic, InvalidInput, ModelyardError, ProblemsFound
from modelyard.core.files import append_line, make_folder, write_atomic, write_json
from modelyard.core.json_reading import InvalidJson, parse_json, read_json
from modelyard.core.layout import Project
from modelyard.records.stored import build_stored
from modelyard.training.experiment import RunFolder
from modelyard.training.hosted.plan import HostedPlan
from modelyard.training.hosted.service import JobEvent

ENDED = ("succeeded", "failed", "cancelled")
"""The states that a job does not leave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobIdentity:
    """What decides a job."""

    url: str
    """The API."""
    model: str
    """The provider's name of the model that is tuned."""
    epochs: int
    """Passes over the rows."""
    seed: int
    """The seed."""
    data_fingerprint: str
    """The fingerprint of the dataset."""
    upload_sha256: str
    """The SHA-256 of the file that is sent, in hex."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """The content of hosted.json; what is not known yet is left out there."""

    key: str
    """Names the job at the provider, in its metadata: of two requests with one key, one job."""
    started_at: str
    """When the run began, UTC."""
    identity: JobIdentity
    """What decides the job."""
    dataset: str
    """The dataset, by its name."""
    language_model: str
    """The language model of the configs."""
    environment: str
    """The environment whose settings and budget apply."""
    org: str | None = None
    """The organisation whose budget pays."""
    price_per_million_usd: float | None = None
    """The price of a million training tokens; left out: unknown."""
    most_cost_usd: float | None = None
    """What was predicted as the most that it can cost; left out: unknown."""
    file_name: str
    """What the file is called at the provider."""
    file_id: str | None = None
    """The provider's id of the file."""
    asked_at: float | None = None
    """When the job was first asked for, in seconds since 1970."""
    job_id: str | None = None
    """The provider's id of the job."""
    status: str | None = None
    """The last known state of the job, as the provider calls it."""
    error: str | None = None
    """Why it failed, in the provider's words."""
    tuned_model: str | None = None
    """The provider's name of the tuned model."""
    trained_tokens: int | None = None
    """The tokens that the provider charges for."""
    cost_usd: float | None = None
    """What it cost; left out: unknown."""
    config: str | None = None
    """The draft that was written for the tuned model, from the project's root."""
    finished_at: str | None = None
    """When it ended, as far as this machine knows, UTC."""

    @property
    def has_ended(self) -> bool:
        """Whether the job ended, well or not."""
        return self.status in ENDED

    def to_mapping(self) -> dict[str, Any]:
        """What hosted.json holds."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(slots=True)
class HostedRun:
    """The folder of one hosted job, and its record."""

    folder: Path
    record: JobRecord

    @property
    def record_file(self) -> Path:
        return RunFolder(self.folder).hosted_file

    @property
    def events_file(self) -> Path:
        """The provider's events of the job, one a line, oldest first."""
        return self.folder / "events.jsonl"

    @property
    def upload_file(self) -> Path:
        """What is sent, byte for byte."""
        return self.folder / "upload.jsonl"

    def prepare_files(self, data: bytes) -> None:
        """Keep what is about to be sent; events of an earlier job in the folder are removed."""
        self.events_file.unlink(missing_ok=True)
        write_atomic(self.upload_file, data)

    def note(self, **facts: Any) -> None:
        """Change fields of the record, in one rename of hosted.json."""
        self.record = replace(self.record, **facts)
        write_json(self.record_file, self.record.to_mapping())

    def known_events(self) -> set[str]:
        """The ids of the events that are recorded."""
        if not self.events_file.exists():
            return set()
        known = set()
        for line in self.events_file.read_text(errors="replace").splitlines():
            try:
                row = parse_json(line)
            except InvalidJson:
                continue  # a torn last line; the event is asked for again
            if isinstance(row, dict):
                known.add(str(row.get("id")))
        return known

    def add_event(self, event: JobEvent) -> None:
        """Record one event."""
        append_line(self.events_file, json.dumps(asdict(event), ensure_ascii=False))


def build_identity(plan: HostedPlan) -> JobIdentity:
    """What decides the job of a plan."""
    request = plan.request
    return JobIdentity(
        url=plan.url,
        model=request.base.model,
        epochs=request.epochs,
        seed=request.seed,
        data_fingerprint=plan.dataset.fingerprint,
        upload_sha256=plan.upload.sha256,
    )


def locate_run(project: Project, experiment: str) -> Path:
    """The folder of an experiment.

    Raises InvalidInput when it lies outside the project or holds a run on this machine.
    """
    folder = project.experiment(experiment)
    project.contain(folder, "experiment")
    if RunFolder(folder).record_file.exists():
        raise InvalidInput(
            f"experiment {experiment} holds a run on this machine",
            where=project.show(folder),
            hint="give the hosted job an experiment of its own: --experiment NAME",
        )
    return folder


def load_run(folder: Path) -> HostedRun | None:
    """The hosted job of an experiment; None when none began there.

    Raises ModelyardError, with each value that is missing or odd, when its record is damaged.
    """
    path = RunFolder(folder).hosted_file
    if not path.exists():
        return None
    build = partial(build_stored, JobRecord, "the record")
    try:
        return HostedRun(folder, build(read_json(path), lambda _: str(path)))
    except InvalidInput as error:
        raise ModelyardError(
            "the record of this hosted job is damaged",
            where=str(path),
            hint="restore it; with --fresh a new job begins, and the provider charges for it too",
            problems=error.diagnostics(),
        ) from error


def require_run(project: Project, experiment: str) -> HostedRun:
    """The hosted job of an experiment. Raises InvalidInput when it holds none."""
    folder = locate_run(project, experiment)
    run = load_run(folder)
    if run is None:
        raise InvalidInput(
            f"experiment {experiment} holds no hosted job", where=project.show(folder)
        )
    return run


def begin_run(folder: Path, plan: HostedPlan, *, fresh: bool) -> HostedRun:
    """A new run of a plan, on the disk before anything is sent.

    Its key follows from the experiment and what decides the job, so that a lost record leads to
    the same job; with `fresh` it is new.
    """
    identity = build_identity(plan)
    experiment = plan.request.experiment
    facts = [experiment, asdict(identity), secrets.token_hex(8) if fresh else ""]
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
    record = JobRecord(
        key=key,
        started_at=utc_now(),
        identity=identity,
        dataset=plan.dataset.name,
        language_model=plan.request.base.name,
        environment=plan.request.base.environment,
        org=plan.org,
        price_per_million_usd=plan.request.base.price_usd,
        most_cost_usd=plan.most_cost_usd,
        file_name=f"{experiment}-{key}.jsonl",
    )
    make_folder(folder)
    run = HostedRun(folder, record)
    write_json(run.record_file, record.to_mapping())
    return run


def require_same_job(run: HostedRun, plan: HostedPlan) -> None:
    """Raise ProblemsFound, naming each thing that differs, unless the run is of this plan."""
    before, now = asdict(run.record.identity), asdict(build_identity(plan))
    if differences := list(_differences(before, now)):
        raise ProblemsFound(
            f"experiment {plan.request.experiment} holds a hosted job with other inputs",
            [Diagnostic(message=line) for line in differences],
            hint="give this job an experiment of its own (--experiment NAME), or start over "
            "(--fresh)",
        )


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    lines = []
    if before["upload_sha256"] != now["upload_sha256"]:
        lines.append("the rows that are sent changed")
    elif before["data_fingerprint"] != now["data_fingerprint"]:
        lines.append("the data changed: other evaluation rows, or other keys of rows")
    return lines + [
        f"{key} was {show_written(before[key])}, and is {show_written(now[key])} now"
        for key in ("url", "model", "epochs", "seed")
        if before[key] != now[key]
    ]
