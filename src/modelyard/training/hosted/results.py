"""What `models fine-tune --json` prints of a hosted job, and of what one would send."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modelyard.results.json_form import result_of
from modelyard.training.hosted.job import HostedResult, Next
from modelyard.training.hosted.plan import HostedPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedJob:
    """A fine-tuning job at a provider."""

    experiment: Path
    """The experiment's folder."""
    language_model: str
    """The language model that is tuned, by its name in the configs."""
    file_id: str | None
    """The provider's id of the rows; null before they were sent."""
    job_id: str | None
    """The provider's id of the job; null before it was created."""
    status: str | None
    """The last known state, as the provider calls it."""
    tuned_model: str | None
    """The provider's name of the tuned model; null until the job succeeded."""
    trained_tokens: int | None
    """The tokens that the provider charges for."""
    cost_usd: float | None
    """What it cost; null: not known, or not yet."""
    config: str | None
    """The draft that was written for the tuned model, from the project's root."""
    already_done: bool
    """Whether an earlier run had done all of it."""


def hosted_job(result: HostedResult) -> HostedJob:
    """A job as programs read it."""
    return result_of(
        HostedJob, result.record, experiment=result.folder, already_done=result.already_done
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """Tokens of all passes and what they cost, before anything is sent."""

    most_tokens: int
    """An upper bound: one token for each byte that is sent."""
    likely_tokens: int
    """About how many there are, at four bytes a token."""
    most_cost_usd: float | None
    """What the job costs at most; null: the price is unknown."""
    likely_cost_usd: float | None
    """What it probably costs; null: the price is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlaggedPlace:
    """What looks like a secret or an e-mail address."""

    kind: str
    """What it looks like."""
    where: str
    """The row and the place in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedPreview:
    """What --check and --dry-run found of a hosted job."""

    language_model: str
    """The language model that is tuned, by its name in the configs."""
    tuned: str
    """The provider's name of the model that is tuned."""
    host: str
    """Who would get the rows."""
    dataset: str
    """The dataset."""
    experiment: str
    """The folder under experiments/."""
    train_rows: int
    """Conversations that would be sent."""
    evaluation_rows: int
    """Rows that stay here, to evaluate the tuned model."""
    sent_bytes: int
    """The size of what would be sent."""
    epochs: int
    """Passes over the rows."""
    predicted: Predicted
    """Tokens and cost."""
    flagged: tuple[FlaggedPlace, ...]
    """Secrets and e-mail addresses in what would be sent."""
    warnings: tuple[str, ...]
    """What is probably not meant so."""
    would: Next | None
    """What the command would do; null without --dry-run."""


def hosted_preview(plan: HostedPlan, would: Next | None) -> HostedPreview:
    """A plan as programs read it."""
    request = plan.request
    return HostedPreview(
        language_model=request.base.name,
        tuned=request.base.model,
        host=plan.host,
        dataset=plan.dataset.name,
        experiment=request.experiment,
        train_rows=plan.upload.rows,
        evaluation_rows=len(plan.dataset.evaluation),
        sent_bytes=len(plan.upload.data),
        epochs=request.epochs,
        predicted=Predicted(
            most_tokens=plan.most_tokens,
            likely_tokens=plan.likely_tokens,
            most_cost_usd=plan.most_cost_usd,
            likely_cost_usd=plan.likely_cost_usd,
        ),
        flagged=tuple(FlaggedPlace(kind=found.kind, where=found.place) for found in plan.sensitive),
        warnings=plan.warnings,
        would=would,
    )
