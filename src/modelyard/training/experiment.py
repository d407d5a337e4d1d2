"""One experiment's folder: what the run is, how far it got, and whether it may go on.

`run.json` records what a run depends on. The same command again continues a run of the same
identity, does nothing for a finished one, and refuses, naming what changed, for any other.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import yaml

from modelyard.configs.fields import show_written
from modelyard.core.clock import utc_now
from modelyard.core.errors import Diagnostic, InvalidInput, ModelyardError, ProblemsFound
from modelyard.core.files import append_line, make_folder, write_atomic, write_json
from modelyard.core.json_reading import InvalidJson, parse_json, read_json
from modelyard.core.layout import Project
from modelyard.records.evaluation import Evaluation
from modelyard.records.stored import build_stored
from modelyard.settings.converters import Where
from modelyard.settings.fields import flatten_settings, settings_mapping
from modelyard.training.choices import Choices
from modelyard.training.schedule import keep_former_defaults
from modelyard.training.spec import FineTuneSpec

T = TypeVar("T")

CHECKPOINT_PREFIX = "checkpoint-"

_FREE_TO_CHANGE = {
    "keep.checkpoint_every_steps",
    "keep.checkpoints_kept",
    "keep.log_every_steps",
    "keep.tensorboard",
    "compute.threads",
    "data.allow_control_tokens",
}
"""Settings that do not decide the resulting weights; the run keeps those it began with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What decides the result of a run."""

    spec: Mapping[str, Any]
    """The settings, flat: `lora.rank` and so on."""
    base_fingerprint: str
    data_fingerprint: str
    template_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """The content of run.json; what is not known yet is left out there."""

    run_id: str
    """Tells the run from others in the same folder."""
    started_at: str
    """When it began, UTC."""
    identity: Identity
    """What it depends on."""
    choices: Choices | None = None
    """The values of `auto` settings, chosen when it began."""
    machine: str | None = None
    """The machine in one line."""
    org: str | None = None
    """The organisation that the adapter belongs to."""
    trained_s: float | None = None
    """How long it has trained, all tries together."""
    memory_bytes: Mapping[str, int] | None = None
    """The peak of its memory in the last try, `predicted` and `measured`."""
    version: int | None = None
    """The number of its version, once that is registered."""
    finished_at: str | None = None
    """When that was, UTC."""

    def to_mapping(self) -> dict[str, Any]:
        """What run.json holds."""
        return _without_none(asdict(self))


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    """The values that are known, also within `choices`."""
    return {
        key: _without_none(value) if isinstance(value, dict) and key == "choices" else value
        for key, value in values.items()
        if value is not None
    }


@dataclass(slots=True)
class RunFolder:
    """The files of one experiment."""

    folder: Path

    @property
    def record_file(self) -> Path:
        return self.folder / "run.json"

    @property
    def hosted_file(self) -> Path:
        """The record of a job at a provider, in place of one of a run here."""
        return self.folder / "hosted.json"

    @property
    def spec_file(self) -> Path:
        return self.folder / "spec.yaml"

    @property
    def data_report_file(self) -> Path:
        return self.folder / "data_report.json"

    @property
    def metrics_file(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def validation_file(self) -> Path:
        return self.folder / "validation.json"

    @property
    def report_file(self) -> Path:
        return self.folder / "report.html"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def tensorboard(self) -> Path:
        return self.folder / "tensorboard"

    @property
    def trained(self) -> Path:
        """The finished adapter, before it is a version."""
        return self.folder / "checkpoints" / "final"


@dataclass(slots=True)
class Experiment(RunFolder):
    """The folder of one run and its record."""

    record: RunRecord

    @property
    def run_key(self) -> str:
        return f"{self.folder.name}/{self.record.run_id}"

    def note(self, **facts: Any) -> None:
        """Change fields of the record, in one rename of run.json."""
        self.record = replace(self.record, **facts)
        write_json(self.record_file, self.record.to_mapping())

    def load_evaluation(self) -> Evaluation | None:
        """The evaluation in validation.json; None before it is written.

        Raises ModelyardError, with each figure that is missing or odd, when it is damaged.
        """
        if not self.validation_file.exists():
            return None
        return _load(
            self.validation_file,
            Evaluation.from_mapping,
            "the evaluation of this run",
            hint="remove the file, and run the same command again",
        )


def build_identity(
    spec: FineTuneSpec, *, base_fingerprint: str, data_fingerprint: str, template_hash: str
) -> Identity:
    """The identity of a run of `spec`; the fingerprints stand for the names of data and base."""
    return Identity(
        spec=flat_spec(spec),
        base_fingerprint=base_fingerprint,
        data_fingerprint=data_fingerprint,
        template_hash=template_hash,
    )


def flat_spec(spec: FineTuneSpec) -> dict[str, Any]:
    """The settings that decide a run, by dotted names: not what it and its dataset are called."""
    flat = flatten_settings(settings_mapping(spec))
    return {key: flat[key] for key in flat if key not in ("dataset", "experiment")}


def open_experiment(
    project: Project, spec: FineTuneSpec, identity: Identity, *, fresh: bool
) -> Experiment:
    """The experiment's folder, new or as an earlier run of the same identity left it.

    Raises what `load_run` and `require_same_run` do. Call it only while holding the experiment's
    lock.
    """
    run = locate_run(project, spec)
    if fresh:
        _remove_run(run)
    if found := load_run(run):
        require_same_run(spec, found, identity)
        return found
    make_folder(run.folder)
    write_atomic(run.spec_file, _render_spec(spec))
    record = RunRecord(run_id=secrets.token_hex(8), started_at=utc_now(), identity=identity)
    write_json(run.record_file, record.to_mapping())
    return Experiment(run.folder, record)


def locate_run(project: Project, spec: FineTuneSpec) -> RunFolder:
    """The folder of the spec's experiment.

    Raises InvalidInput for one outside the project, and for one that holds a hosted job.
    """
    folder = project.experiment(spec.experiment)
    project.contain(folder, "experiment")
    run = RunFolder(folder)
    if run.hosted_file.exists():
        raise InvalidInput(
            f"experiment {spec.experiment} holds a hosted job",
            where=project.show(folder),
            hint="give this run an experiment of its own: --experiment NAME",
        )
    return run


def load_run(run: RunFolder) -> Experiment | None:
    """The run in an experiment's folder; None when none began there.

    Raises ModelyardError, with each value that is missing or odd, when its record is damaged.
    """
    if not run.record_file.exists():
        return None
    record = _load(
        run.record_file,
        partial(build_stored, RunRecord, "the record"),
        "the record of this run",
        hint="start over with --fresh",
    )
    return Experiment(run.folder, record)


def _load(path: Path, build: Callable[[Any, Where], T], what: str, *, hint: str) -> T:
    """What `build` makes of a JSON file. Raises ModelyardError with all that is wrong in it."""
    try:
        return build(read_json(path), lambda _: str(path))
    except InvalidInput as error:
        raise ModelyardError(
            f"{what} is damaged", where=str(path), hint=hint, problems=error.diagnostics()
        ) from error


def spec_of_run(project: Project, spec: FineTuneSpec) -> FineTuneSpec:
    """The spec, with the defaults of the time when the experiment's run began, if there is one."""
    run = load_run(locate_run(project, spec))
    return keep_former_defaults(spec, run.record.identity.spec) if run else spec


def require_same_run(spec: FineTuneSpec, experiment: Experiment, identity: Identity) -> None:
    """Raise ProblemsFound, naming each thing that differs, unless the run is of this identity."""
    differences = _differences(experiment.record.identity, identity)
    if differences:
        raise ProblemsFound(
            f"experiment {spec.experiment} holds a run with other inputs",
            [Diagnostic(message=line) for line in differences],
            hint="give this run a name of its own (--experiment NAME), or start over (--fresh)",
        )


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, oldest first."""
    found = [path for path in folder.glob(f"{CHECKPOINT_PREFIX}*") if path.is_dir()]
    return sorted(found, key=checkpoint_step)


def checkpoint_step(checkpoint: Path) -> int:
    """How many steps were done when the checkpoint was written."""
    return int(checkpoint.name.removeprefix(CHECKPOINT_PREFIX))


def _remove_run(run: RunFolder) -> None:
    """Remove what a run wrote, its record first; a person's own files in the folder stay."""
    for path in (
        run.record_file,
        run.metrics_file,
        run.validation_file,
        run.data_report_file,
        run.report_file,
    ):
        path.unlink(missing_ok=True)
    for path in (run.checkpoints, run.tensorboard):
        shutil.rmtree(path, ignore_errors=True)


def _differences(recorded: Identity, now: Identity) -> list[str]:
    names = {
        "data_fingerprint": "the data changed",
        "base_fingerprint": "the base model's weights changed",
        "template_hash": "the chat template changed",
    }
    fingerprints = [
        (text, getattr(recorded, name), getattr(now, name)) for name, text in names.items()
    ]
    lines = [
        f"{text} ({_short(before)} before, {_short(after)} now)"
        for text, before, after in fingerprints
        if before != after
    ]
    before, after = recorded.spec, now.spec
    return lines + [
        f"{key} was {_said(before.get(key))}, and is {_said(after.get(key))} now"
        for key in sorted((before.keys() | after.keys()) - _FREE_TO_CHANGE)
        if before.get(key) != after.get(key)
    ]


def _said(value: Any) -> str:
    return "not set" if value is None else show_written(value)


def _short(fingerprint: str) -> str:
    return fingerprint.removeprefix("sha256:")[:12]


def _render_spec(spec: FineTuneSpec) -> str:
    return (
        "# The resolved spec of this run: defaults, config file and flags together.\n"
        f"# Run it again: models fine-tune --config experiments/{spec.experiment}/spec.yaml\n"
        + yaml.safe_dump(settings_mapping(spec), sort_keys=False, allow_unicode=True)
    )


def require_known_device(choices: Choices | None, device: str) -> None:
    """Refuse to resume on another kind of device: the weights would not be those of one run."""
    if choices is not None and choices.device != device:
        raise InvalidInput(
            f"this run began on {choices.device}, and this machine computes on {device}",
            hint="resume it where it began, or start over (--fresh)",
        )


class MetricsFile:
    """The rows on the disk, and the same rows in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = load_metrics(path)

    def add(self, row: Mapping[str, Any]) -> None:
        """Append one row."""
        self.rows.append(dict(row))
        append_line(self.path, json.dumps(row))

    def rewind(self, step: int) -> None:
        """Forget the rows after `step`: a resumed run writes them again."""
        self.rows = [row for row in self.rows if row["step"] <= step]
        write_atomic(self.path, "".join(json.dumps(row) + "\n" for row in self.rows))


def load_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics file by step; what is no such row, as a torn last line, is skipped."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            row = parse_json(line)
        except InvalidJson:
            continue
        if isinstance(row, dict) and type(row.get("step")) is int:
            rows.append(row)
    return rows


@dataclass(slots=True)
class StopRequest:
    """Set by a signal: finish the step, write a checkpoint, stop."""

    asked: bool = False
