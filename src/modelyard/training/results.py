"""What `models fine-tune --json` prints: of a run, and of what one would do."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from modelyard.core.layout import Project
from modelyard.records.evaluation import Evaluation
from modelyard.results.json_form import published, result_of
from modelyard.training.choices import Choices
from modelyard.training.memory import MemoryPlan
from modelyard.training.preflight import Preflight
from modelyard.training.preview import FoundInputs, Preview
from modelyard.training.run import FineTuneResult
from modelyard.training.spec import FineTuneSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class NotEvaluated:
    """No row was there to evaluate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """A run and its version."""

    version: str
    """The registered version, as NAME@VERSION."""
    path: Path
    """Its folder."""
    experiment: Path
    """The experiment's folder."""
    evaluation: Evaluation | NotEvaluated = field(metadata=published(without=("examples",)))
    """Its figures against its base; empty when there was no row to evaluate."""
    in_use: bool
    """Whether this version is the active one now."""
    promotion: str | None
    """What the gate says of it; null when promotion was not asked for."""
    already_done: bool
    """Whether an earlier run had done all of it."""
    warnings: tuple[str, ...]
    """What its figures say that is probably not meant."""


def finished_run(result: FineTuneResult) -> FinishedRun:
    """The result of a run, as programs read it."""
    return result_of(
        FinishedRun,
        result,
        version=result.version.name,
        path=result.version.path,
        evaluation=result.evaluation or NotEvaluated(),
        promotion=result.promotion.reason if result.promotion else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecNames:
    """What a run is made of, by name."""

    dataset: str
    """The dataset."""
    base_model: str
    """The base."""
    adapter: str
    """The adapter that gets a new version."""
    experiment: str
    """The folder under experiments/."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCounts:
    """The tokens of the training rows."""

    train: int
    """All of them."""
    trained: int
    """Those that are trained on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryFigures:
    """The predicted peak, part by part, in bytes."""

    plan: MemoryPlan = field(metadata=published(inline=True))
    total: int
    """All parts together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightFigures:
    """The figures of a run that can start."""

    spec_names: SpecNames
    """What it is made of."""
    tokens: TokenCounts
    """The tokens of one pass over the training rows."""
    steps: int
    """How many optimizer steps it takes."""
    batches: int
    """How many batches those steps have."""
    choices: Choices
    """The values of `auto` settings."""
    memory: MemoryFigures = field(metadata=published("memory_bytes"))
    """The predicted peak, part by part, in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCounts:
    """The rows of a dataset."""

    train: int
    """Training rows."""
    eval: int
    """Evaluation rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NextAction:
    """What the command would do."""

    action: Literal["start", "resume", "conclude", "nothing"]
    """Train from the start or from a checkpoint, only evaluate and register, or nothing."""
    after_step: int
    """The step after which training would go on; 0 from the beginning."""
    removes_run: bool
    """Whether the experiment's present run would be removed (`--fresh`)."""
    promotion: str | None
    """What the gate says of a finished run; null when not asked for, or already active."""
    writes: tuple[str, ...]
    """The folders and the link that would be written, from the project's root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewResult:
    """What --check and --dry-run found."""

    figures: PreflightFigures | None = field(metadata=published(inline=True))
    rows: RowCounts
    """How many rows there are."""
    warnings: tuple[str, ...]
    """What is probably not meant so."""
    base_available: bool = field(metadata=published("base_at_hand"))
    """Whether the base is on this machine; without it the figures of the run are left out."""
    would_register: str
    """The version that the run would get, or has."""
    would: NextAction | None = field(metadata=published(if_known=True))
    """What the command would do; only in a dry run."""


def build_preview_result(
    project: Project,
    spec: FineTuneSpec,
    found: FoundInputs,
    preflight: Preflight | None,
    preview: Preview | None,
    number: int,
) -> PreviewResult:
    """What was found, as programs read it; `number` is that of the version to come."""
    train, evaluation = found.dataset.train, found.dataset.evaluation
    rows = RowCounts(train=len(train), eval=len(evaluation))
    if preflight is not None:
        rows = RowCounts(train=len(preflight.train.rows), eval=len(preflight.evaluation.rows))
    would = None
    if preview is not None:
        would = result_of(
            NextAction,
            preview,
            promotion=preview.promotion.reason if preview.promotion else None,
            writes=tuple(map(project.show, preview.writes)),
        )
    return PreviewResult(
        figures=_figures(preflight) if preflight else None,
        rows=rows,
        warnings=preflight.warnings if preflight else found.warnings,
        base_available=found.run_inputs is not None,
        would_register=f"{spec.adapter}@{number}",
        would=would,
    )


def _figures(found: Preflight) -> PreflightFigures:
    """What is known of the run before it starts."""
    rows, steps = found.train.rows, found.plan.steps
    return PreflightFigures(
        spec_names=SpecNames(
            dataset=found.dataset.name,
            base_model=found.base.name,
            adapter=found.spec.adapter,
            experiment=found.spec.experiment,
        ),
        tokens=TokenCounts(
            train=sum(len(row.input_ids) for row in rows),
            trained=sum(int(row.trained.sum()) for row in rows),
        ),
        steps=len(steps),
        batches=sum(len(step) for step in steps),
        choices=found.choices,
        memory=MemoryFigures(plan=found.memory, total=found.memory.total),
    )
