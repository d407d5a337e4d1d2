"""report.html of a finished run, made again from what its experiment's folder holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.adapters.versions import AdapterVersion, load_version
from modelyard.chatdata.report import DataReport
from modelyard.core.errors import InvalidInput, ModelyardError, NoData, did_you_mean
from modelyard.core.files import write_atomic
from modelyard.core.json_reading import read_json_object
from modelyard.core.layout import Project
from modelyard.records.evaluation import Evaluation
from modelyard.records.stored import build_stored
from modelyard.training.experiment import Experiment, RunFolder, load_metrics, load_run
from modelyard.training.report.page import ReportFacts, render_report


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedExperiment:
    """An experiment whose run has made a version."""

    experiment: Experiment
    """Its folder and its record."""
    version: AdapterVersion
    """The version."""
    evaluation: Evaluation | None
    """Base against adapter; None when there was no row to evaluate."""


def load_finished(project: Project, name: str) -> FinishedExperiment:
    """A finished experiment by its name.

    Raises InvalidInput when there is no such experiment, NoData when its run has not made a version
    here, and other ModelyardErrors when what it left is damaged or its version was removed.
    """
    run = RunFolder(project.experiment(name))
    if not run.folder.is_dir():
        known = sorted(path.parent.name for path in project.experiments.glob("*/run.json"))
        raise InvalidInput(
            f"there is no experiment {name!r}{did_you_mean(name, known)}",
            hint=f"there are {', '.join(known)}" if known else "`models fine-tune` makes one",
        )
    where = project.show(run.folder)
    if run.hosted_file.exists():
        raise NoData(
            "a provider trained this adapter, so there is no page of its steps",
            where=where,
            hint="`models evaluate` compares it with its base",
        )
    experiment = load_run(run)
    if experiment is None or experiment.record.version is None:
        raise NoData(
            "its run is not finished, so there is nothing to report yet",
            where=where,
            hint="run the same `models fine-tune` again; it continues",
        )
    adapter = experiment.record.identity.spec.get("adapter")
    if not isinstance(adapter, str):
        raise ModelyardError(
            "does not say which adapter it trained", where=project.show(run.record_file)
        )
    return FinishedExperiment(
        experiment=experiment,
        version=load_version(project, adapter, experiment.record.version),
        evaluation=experiment.load_evaluation(),
    )


def report_page(project: Project, finished: FinishedExperiment) -> str:
    """Its report.html; written again where it is missing.

    One that is made again has no samples of rows, which need the tokenizer of the base.
    """
    path = finished.experiment.report_file
    if not path.exists():
        write_atomic(path, _render(project, finished))
    return path.read_text("utf-8")


def _render(project: Project, finished: FinishedExperiment) -> str:
    experiment = finished.experiment
    return render_report(
        ReportFacts(
            experiment=experiment.folder.name,
            record=experiment.record,
            manifest=finished.version.manifest,
            metrics=load_metrics(experiment.metrics_file),
            data_report=_load_data_report(project, experiment.data_report_file),
            samples=(),
            evaluation=finished.evaluation,
        )
    )


def _load_data_report(project: Project, path: Path) -> DataReport:
    where = project.show(path)
    try:
        values: dict[str, Any] = dict(read_json_object(path, where=where))
        turns = values.get("turns")
        if isinstance(turns, Mapping):  # the keys of JSON are texts
            values["turns"] = {
                int(key) if key.isdecimal() else key: count for key, count in turns.items()
            }
        return build_stored(DataReport, "the data report", values, lambda _: where)
    except InvalidInput as error:
        raise ModelyardError(
            "the data report of this run is damaged",
            where=where,
            hint="restore it from a backup; `models adapters show` has the figures",
            problems=error.diagnostics(),
        ) from error
