"""What a fine-tune command would do, found out by looking only: `--dry-run` and `--check`.

Nothing is fetched, locked or written here, so without the base on this machine some things stay
unknown; they are named. Does not know terminals.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modelyard.adapters.promote import PromotionDecision, apply_gate
from modelyard.adapters.versions import (
    active_number,
    highest_number,
    load_version,
    version_of_run,
)
from modelyard.chatdata.dataset import ChatDataset
from modelyard.chatdata.report import build_data_report
from modelyard.chatdata.template import ChatTokenizer
from modelyard.chatdata.tokenizing import Tokenized
from modelyard.core.errors import ProblemsFound
from modelyard.core.layout import Project
from modelyard.core.progress import Progress
from modelyard.training.choices import Choices
from modelyard.training.continuing import load_rows
from modelyard.training.experiment import (
    Experiment,
    build_identity,
    checkpoint_step,
    list_checkpoints,
    load_run,
    locate_run,
    require_same_run,
)
from modelyard.training.preflight import (
    RunInputs,
    organisation_problems,
    require_machine,
    require_one_organisation,
)
from modelyard.training.spec import FineTuneSpec
from modelyard.weights.catalogue import BaseCard, find_base
from modelyard.weights.local import locate_base

NEEDS_BASE = ("which tokens are trained", "the length of rows", "steps", "memory", "disk")
"""What cannot be checked while the base is not on this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundInputs:
    """What a spec names, as far as it is on this machine."""

    dataset: ChatDataset
    card: BaseCard
    """The base's card."""
    run_inputs: RunInputs | None
    """The inputs of a run; None while the base would have to be fetched first."""
    warnings: tuple[str, ...]
    """Warnings beyond those of the preflight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What the command would do with its experiment."""

    action: Literal["start", "resume", "conclude", "nothing"]
    """Train from the start or from a checkpoint, only evaluate and register, or nothing."""
    after_step: int
    """The step after which training would go on; 0 from the beginning."""
    removes_run: bool
    """Whether the experiment's present run would be removed (`--fresh`)."""
    number: int
    """The number of the version that the run would get, or has."""
    promotion: PromotionDecision | None
    """The gate's decision on a finished run; None when not asked for, or already active."""
    choices: Choices | None
    """The values of `auto` settings, chosen when the run began."""
    writes: tuple[Path, ...]
    """The folders and the link that would be written."""


def find_inputs(project: Project, spec: FineTuneSpec, *, progress: Progress) -> FoundInputs:
    """Read the dataset and find the base, without fetching or recording anything.

    Without the base, the rows are checked as far as they can be: raises ProblemsFound when they
    cannot be trained on.
    """
    dataset, parent = load_rows(project, spec)
    card = find_base(project, spec.base_model)
    require_machine(spec)
    base = locate_base(project, spec.base_model, progress=progress, remember=False)
    if base is not None:
        inputs = RunInputs(
            dataset=dataset,
            parent=parent,
            base=base,
            tokenizer=ChatTokenizer.load(base.path),
        )
        return FoundInputs(dataset=dataset, card=card, run_inputs=inputs, warnings=())
    report = build_data_report(dataset, Tokenized(rows=()), max_length=spec.data.max_length)
    if report.problems:
        problems = [*report.problems, *organisation_problems(project, spec, dataset, parent)]
        raise ProblemsFound(f"dataset {dataset.name} cannot be trained on", problems)
    require_one_organisation(project, spec, dataset, parent)
    return FoundInputs(
        dataset=dataset,
        card=card,
        run_inputs=None,
        warnings=(*dataset.warnings, *report.warnings),
    )


def look_ahead(
    project: Project, spec: FineTuneSpec, found: FoundInputs, *, fresh: bool, promote: bool
) -> Preview:
    """What `fine_tune` would do now. Raises what it would raise for this experiment."""
    folder = locate_run(project, spec)
    run = load_run(folder) if not fresh else None
    following = highest_number(project, spec.adapter) + 1
    if run is None:
        return Preview(
            action="start",
            after_step=0,
            removes_run=fresh and folder.record_file.exists(),
            number=following,
            promotion=None,
            choices=None,
            writes=_writes(project, spec, following, promote=promote),
        )
    _require_same(spec, found, run)
    if run.record.version is not None:
        return _look_at_finished(project, spec, run, run.record.version, promote=promote)
    registered = version_of_run(project, spec.adapter, run.run_key)
    number = registered.number if registered else following
    after_step = max(map(checkpoint_step, list_checkpoints(run.checkpoints)), default=0)
    return Preview(
        action="conclude" if run.trained.exists() else "resume" if after_step else "start",
        after_step=after_step,
        removes_run=False,
        number=number,
        promotion=None,
        choices=run.record.choices,
        writes=_writes(project, spec, number, promote=promote),
    )


def _require_same(spec: FineTuneSpec, found: FoundInputs, run: Experiment) -> None:
    """Compare with the run as far as the inputs are known; an absent base counts as unchanged."""
    recorded, inputs = run.record.identity, found.run_inputs
    identity = build_identity(
        spec,
        base_fingerprint=inputs.base.fingerprint if inputs else recorded.base_fingerprint,
        data_fingerprint=found.dataset.fingerprint,
        template_hash=inputs.tokenizer.template_hash if inputs else recorded.template_hash,
    )
    require_same_run(spec, run, identity)


def _look_at_finished(
    project: Project, spec: FineTuneSpec, run: Experiment, number: int, *, promote: bool
) -> Preview:
    version = load_version(project, spec.adapter, number)
    moves = promote and active_number(project, spec.adapter) != number
    decision = apply_gate(project, version) if moves else None
    link = project.trained_link(spec.adapter)
    return Preview(
        action="nothing",
        after_step=0,
        removes_run=False,
        number=number,
        promotion=decision,
        choices=run.record.choices,
        writes=(link,) if decision is not None and decision.allowed else (),
    )


def _writes(
    project: Project, spec: FineTuneSpec, number: int, *, promote: bool
) -> tuple[Path, ...]:
    folders = (project.experiment(spec.experiment), project.adapter_version(spec.adapter, number))
    return (*folders, project.trained_link(spec.adapter)) if promote else folders
