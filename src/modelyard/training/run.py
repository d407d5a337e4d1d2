"""The main job from end to end: spec, preflight, training, evaluation, version, promotion.

Each stage leaves its result in the experiment before the next begins, so a killed run continues at
the stage it was in. torch is imported only when there is something to compute.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.adapters.manifest import Manifest
from modelyard.adapters.promote import PromotionDecision, apply_gate, promote_version
from modelyard.adapters.training_info import (
    TrainingInfo,
    installed_packages,
    render_training_info,
    source_commit,
)
from modelyard.adapters.versions import (
    CARD_NAME,
    AdapterVersion,
    active_number,
    load_version,
    register_version,
)
from modelyard.chatdata.report import build_masked_texts
from modelyard.core.clock import utc_now
from modelyard.core.errors import Interrupted
from modelyard.core.files import (
    exclusive_lock,
    follow_sharing,
    make_folder,
    staged_folder,
    sweep_staging,
    write_atomic,
    write_json,
)
from modelyard.core.freed_memory import map_large_blocks, return_freed_memory
from modelyard.core.layout import Project
from modelyard.core.progress import Progress
from modelyard.records.evaluation import Evaluation
from modelyard.records.provenance import Origin, Provenance
from modelyard.settings.cards import write_card
from modelyard.settings.fields import settings_mapping
from modelyard.training.cautions import course_cautions
from modelyard.training.continuing import evaluate_old_rows, pin_models
from modelyard.training.experiment import (
    Experiment,
    StopRequest,
    build_identity,
    flat_spec,
    load_metrics,
    open_experiment,
    require_known_device,
    spec_of_run,
)
from modelyard.training.preflight import (
    Preflight,
    RunInputs,
    find_owner,
    load_inputs,
    run_preflight,
)
from modelyard.training.report.page import ReportFacts, render_report
from modelyard.training.spec import FineTuneSpec

if TYPE_CHECKING:
    from modelyard.inference.machine import Machine

_SAMPLES_IN_REPORT = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuneResult:
    """The result of a run."""

    experiment: Path
    """The experiment's folder."""
    version: AdapterVersion
    """The registered version."""
    evaluation: Evaluation | None
    """Its figures against its base; None when there was no row to evaluate."""
    promotion: PromotionDecision | None
    """The gate's decision; None when promotion was not asked for."""
    in_use: bool
    """Whether this version is the active one now."""
    already_done: bool
    """Whether an earlier run had done all of it."""
    warnings: tuple[str, ...] = ()
    """What its figures say that is probably not meant."""


def fine_tune(
    project: Project,
    spec: FineTuneSpec,
    *,
    progress: Progress,
    promote: bool = False,
    fresh: bool = False,
    offline: bool = False,
    wait_s: float = 0.0,
) -> FineTuneResult:
    """Run the whole job, or the rest of it.

    Raises ProblemsFound and other ModelyardErrors before anything is computed, TrainingFailed when
    training cannot succeed, Interrupted when a signal stopped it after a checkpoint.
    """
    what = f"experiment {spec.experiment}"
    spec = pin_models(project, spec)
    with exclusive_lock(project.lock("experiment", spec.experiment), what=what, wait_s=wait_s):
        inputs = load_inputs(project, spec, progress=progress, offline=offline)
        if not fresh:
            spec = spec_of_run(project, spec)
        identity = build_identity(
            spec,
            base_fingerprint=inputs.base.fingerprint,
            data_fingerprint=inputs.dataset.fingerprint,
            template_hash=inputs.tokenizer.template_hash,
        )
        experiment = open_experiment(project, spec, identity, fresh=fresh)
        already_done = experiment.record.version is not None
        if not already_done:
            _compute(project, spec, inputs, experiment, progress=progress)
        return _conclude(project, spec, experiment, progress, promote=promote, again=already_done)


def _compute(
    project: Project,
    spec: FineTuneSpec,
    inputs: RunInputs,
    experiment: Experiment,
    *,
    progress: Progress,
) -> None:
    """Train, evaluate and register: the stages that need the model in memory."""
    from modelyard.inference.machine import probe_machine

    # Large pages, which take less time to be given and given back; torch reads it only once.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    machine = probe_machine()
    require_known_device(experiment.record.choices, machine.device)
    check = run_preflight(
        project, spec, inputs, machine, progress=progress, kept_choices=experiment.record.choices
    )
    for warning in check.warnings:
        progress.warn(warning)
    write_json(experiment.data_report_file, asdict(check.report))
    experiment.note(
        choices=check.choices,
        machine=machine.describe(),
        org=find_owner(check.spec, check.dataset, check.parent),
    )
    if not experiment.trained.exists():
        _train(check, experiment, progress=progress)
    evaluation = _evaluate(project, check, experiment, machine, progress)
    progress.stage("register: stage the version, hash its files, one rename")
    version = _register(project, check, experiment, evaluation)
    _write_report(check, experiment, evaluation, version)
    experiment.note(version=version.number, finished_at=utc_now())


def _train(check: Preflight, experiment: Experiment, *, progress: Progress) -> None:
    """Train to the plan's end, from the newest checkpoint if there is one; leaves `final`."""
    from modelyard.training.train import train

    make_folder(experiment.checkpoints)
    sweep_staging(experiment.checkpoints)
    started = time.monotonic()
    with _stop_on_signals() as stop:
        outcome = train(check, experiment, progress=progress, stop=stop)
    if experiment.tensorboard.exists():
        follow_sharing(experiment.tensorboard, experiment.tensorboard)
    experiment.note(
        trained_s=(experiment.record.trained_s or 0.0) + time.monotonic() - started,
        memory_bytes={"predicted": check.memory.total, "measured": outcome.peak_bytes},
    )
    if not outcome.finished:
        raise Interrupted(
            f"stopped after step {outcome.step} of {len(check.plan.steps)}; it is saved",
            hint="run the same command again to continue from there",
        )
    with staged_folder(experiment.trained) as staged:
        outcome.write(staged)
    del outcome
    return_freed_memory()  # the trainer holds the model in cycles, and evaluation loads its own


def _evaluate(
    project: Project,
    check: Preflight,
    experiment: Experiment,
    machine: Machine,
    progress: Progress,
) -> Evaluation | None:
    """Evaluate the adapter as it was saved, on rows it was not trained on."""
    from modelyard.evaluation.evaluate import evaluate_adapter
    from modelyard.evaluation.rows import choose_rows
    from modelyard.inference.engine import Engine

    if not check.dataset.evaluation:
        progress.warn("there are no evaluation rows: the version cannot be evaluated or promoted")
        return None
    if evaluation := experiment.load_evaluation():
        return evaluation
    map_large_blocks()  # logits, of another number of places in each step
    choices: Any = check.choices
    engine = Engine.load(
        check.base,
        machine=machine,
        adapters=[experiment.trained],
        precision=choices.precision,
        quantize=choices.quantize,
        note=progress.warn,
    )
    rows = choose_rows(
        check.dataset.evaluation, check.evaluation, max_length=check.spec.data.max_length
    )
    evaluation = evaluate_adapter(engine.load_adapter(experiment.trained), rows, progress=progress)
    if check.parent is not None:
        evaluation = replace(evaluation, old=evaluate_old_rows(project, check.parent, evaluation))
    write_json(experiment.validation_file, evaluation.to_mapping())
    return evaluation


def _register(
    project: Project, check: Preflight, experiment: Experiment, evaluation: Evaluation | None
) -> AdapterVersion:
    """Make the trained adapter a version: its files, its card, its manifest, one rename."""
    base, record = check.base, experiment.record

    def fill(staged: Path, manifest: Manifest) -> None:
        for path in experiment.trained.iterdir():
            (staged / path.name).write_bytes(path.read_bytes())
        info = TrainingInfo(
            rows=len(check.train.rows),
            trained_at=utc_now(),
            duration_s=record.trained_s or 0.0,
            evaluation=evaluation,
            template_changes=check.report.template_changes,
        )
        front, body = render_training_info(
            manifest, info, spec=flat_spec(check.spec), base_path=base.path
        )
        write_card(staged / CARD_NAME, front, body)

    from modelyard.adapters.verify import check_adapter_files

    check_adapter_files(experiment.trained, base)
    return register_version(
        project,
        check.spec.adapter,
        fill=fill,
        provenance=Provenance(
            run_key=experiment.run_key,
            org=find_owner(check.spec, check.dataset, check.parent),
            base=Origin(name=base.name, fingerprint=base.fingerprint),
            data=Origin(name=check.dataset.name, fingerprint=check.dataset.fingerprint),
            template_hash=check.tokenizer.template_hash,
            spec=settings_mapping(check.spec),
            packages=installed_packages(),
            code_commit=source_commit(),
            machine={
                "description": record.machine,
                **asdict(check.choices),
                "memory_bytes": record.memory_bytes,
            },
            parent=check.parent.name if check.parent else None,
        ),
    )


def _write_report(
    check: Preflight,
    experiment: Experiment,
    evaluation: Evaluation | None,
    version: AdapterVersion,
) -> None:
    facts = ReportFacts(
        experiment=experiment.folder.name,
        record=experiment.record,
        manifest=version.manifest,
        metrics=load_metrics(experiment.metrics_file),
        data_report=check.report,
        samples=build_masked_texts(check.train.rows, check.tokenizer, _SAMPLES_IN_REPORT),
        evaluation=evaluation,
    )
    write_atomic(experiment.report_file, render_report(facts))


def _conclude(
    project: Project,
    spec: FineTuneSpec,
    experiment: Experiment,
    progress: Progress,
    *,
    promote: bool,
    again: bool,
) -> FineTuneResult:
    """Load the registered version and, if asked, promote it when the gate allows."""
    number = experiment.record.version
    assert number is not None
    version = load_version(project, spec.adapter, number)
    decision = None
    if promote and active_number(project, spec.adapter) != number:
        decision = apply_gate(project, version)
        if decision.allowed:
            progress.stage(f"promote: {version.name}, one rename")
            promote_version(project, version, reason=f"fine-tune --promote: {decision.reason}")
    evaluation = experiment.load_evaluation()
    cautions = course_cautions(
        load_metrics(experiment.metrics_file),
        evaluation_rows=evaluation.rows if evaluation else 0,
    )
    return FineTuneResult(
        experiment=experiment.folder,
        version=version,
        evaluation=evaluation,
        promotion=decision,
        in_use=active_number(project, spec.adapter) == number,
        already_done=again,
        warnings=tuple(cautions),
    )


@contextmanager
def _stop_on_signals() -> Iterator[StopRequest]:
    """Within the block, SIGTERM, SIGHUP and ^C ask for an orderly stop; a second one stops at once.

    Elsewhere in the job they stop it at once: every other stage leaves its result in one rename.
    """
    request = StopRequest()

    def ask(number: int, _: Any) -> None:
        if request.asked:
            raise KeyboardInterrupt
        request.asked = True

    asking = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    before = {
        number: signal.signal(number, ask)
        for number in asking
        if signal.getsignal(number) is not signal.SIG_IGN  # as under nohup
    }
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
