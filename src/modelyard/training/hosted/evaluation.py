"""A tuned model against the one it was made of: both are asked the evaluation rows, and scored.

The answers come the way all answers come, so budgets, limits and repetitions hold for them. A
provider computes no losses for others, so only rows that say what is right (`expect` or `label`)
are of use.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace

from modelyard.answering.answer import Answerer
from modelyard.answering.request import Answer, Request
from modelyard.chatdata.conversation import Conversation
from modelyard.chatdata.dataset import ChatDataset, load_dataset
from modelyard.configs.kinds.language_models import LanguageModel
from modelyard.core.errors import InvalidInput, ModelyardError, NoData
from modelyard.core.layout import Project
from modelyard.core.progress import Progress
from modelyard.core.wording import counted
from modelyard.deployments.effective import load_effective
from modelyard.deployments.effective_settings import Effective, EffectiveModel
from modelyard.deployments.running import running_settings
from modelyard.evaluation.right_answers import build_example, count_right, says_what_is_right
from modelyard.evaluation.statistics import paired_difference
from modelyard.modelrefs.resolving import ResolvedModel
from modelyard.records.evaluation import Answers, Example, PairedDifference
from modelyard.training.hosted.record import JobRecord, load_run

_MOST_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedEvaluation:
    """A tuned model measured against its base by their answers."""

    model: str
    """The tuned model, by its name in the configs."""
    base: str
    """What it was made of, as the provider calls it."""
    dataset: str
    """The dataset whose evaluation rows were asked."""
    rows: int
    """How many were asked."""
    left_out: int
    """Evaluation rows that do not say what is right, or cannot be asked in words alone."""
    base_share: float
    """The share of them that the base answers correctly."""
    tuned_share: float
    """The share that the tuned model answers correctly."""
    difference: PairedDifference
    """Tuned minus base share, on the same rows."""
    answers: tuple[Answers, ...]
    """Right answers by group."""
    examples: tuple[Example, ...]
    """Every answer."""
    cost_usd: float | None
    """What all answers cost; null: unknown."""


def evaluate_tuned(
    project: Project,
    tuned: ResolvedModel,
    datasets: Sequence[str],
    *,
    answers_limit: int,
    progress: Progress,
) -> list[HostedEvaluation]:
    """Ask both models at most `answers_limit` rows of each dataset; one result for each.

    Raises InvalidInput when no hosted job of the project made the model, or rows may not leave this
    machine; NoData when a dataset has no row that says what is right; what `Answerer.answer` raises
    when one of them cannot be asked.
    """
    assert tuned.settings is not None and tuned.environment is not None
    record = _record_of(project, tuned.settings)
    base = _base_settings(project, record, tuned.environment)
    asked = [_load_rows(project, name, tuned.settings, answers_limit) for name in datasets]
    name = tuned.language_model or str(tuned.ref)
    both = (
        _effective(project, tuned.environment, record.language_model, base),
        _effective(project, tuned.environment, name, tuned.settings),
    )
    with Answerer(project) as answerer:
        return [
            _evaluate(answerer, both, data, rows, name, record.identity.model, progress)
            for data, rows in asked
        ]


def _record_of(project: Project, settings: LanguageModel) -> JobRecord:
    """The job that made the model with these settings."""
    for path in sorted(project.experiments.glob("*/hosted.json")):
        with suppress(ModelyardError):  # a damaged record is of another job, as far as is known
            run = load_run(path.parent)
            if run is not None and run.record.tuned_model == settings.model:
                return run.record
    raise InvalidInput(
        f"no hosted job in experiments/ made {settings.model}, so there is no base to compare with",
        hint="name a model that `models fine-tune` had tuned, or an adapter",
    )


def _base_settings(project: Project, record: JobRecord, environment: str) -> LanguageModel:
    """The settings of what was tuned: its config's, with the very model that was tuned."""
    models: Mapping[str, LanguageModel]
    models = running_settings(project, environment, "language_models")
    base = models.get(record.language_model)
    if base is None:
        raise InvalidInput(
            f"the base's config {record.language_model} is not there in {environment}",
            hint=f"put it back, or name the environment of the job: --env {record.environment}",
        )
    return replace(base, model=record.identity.model)


def _effective(project: Project, environment: str, name: str, settings: LanguageModel) -> Effective:
    """By which settings a model is asked: its own, the likeliest token each time, no search."""
    greedy = replace(settings, generation=replace(settings.generation, temperature=0.0))
    model = EffectiveModel(name=name, settings=greedy)
    effective = load_effective(environment, None, project=project, model=model)
    return replace(effective, retrieval=None, samples=1)


def _load_rows(
    project: Project, name: str, settings: LanguageModel, limit: int
) -> tuple[ChatDataset, list[Conversation]]:
    """A dataset, and at most `limit` of its rows that can be asked and scored, evenly spread."""
    data = load_dataset(project, name)
    if data.local_only and settings.needs_network:
        raise InvalidInput(
            f"the rows of {data.name} may not leave this machine (`local_only: true`)",
            where=project.show(data.path),
            hint="evaluate on other rows",
        )
    scorable = [row for row in data.evaluation if _can_be_asked(row)]
    count = min(limit, len(scorable))
    if not count:
        raise NoData(
            f"none of the {counted(len(data.evaluation), 'evaluation row')} can be asked and says "
            "what is right, and a provider computes no losses",
            where=project.show(data.path),
            hint="give the rows `expect` or `label`",
        )
    return data, [scorable[place * len(scorable) // count] for place in range(count)]


def _can_be_asked(row: Conversation) -> bool:
    """Whether the row says what is right, and its question is turns of words."""
    words_alone = not row.tools and all(
        turn.role in ("system", "user", "assistant") and "tool_calls" not in turn.more
        for turn in row.messages
    )
    return words_alone and says_what_is_right(row)


def _evaluate(
    answerer: Answerer,
    both: tuple[Effective, Effective],
    data: ChatDataset,
    rows: Sequence[Conversation],
    name: str,
    base: str,
    progress: Progress,
) -> HostedEvaluation:
    progress.stage(f"evaluate: {base} and {name} on {counted(len(rows), 'row')} of {data.name}")
    progress.begin("answers", 2 * len(rows), "answers")
    answers: list[list[Answer]] = []
    for done, effective in enumerate(both):
        answers.append([])
        for answer in _ask(answerer, effective, rows):
            answers[-1].append(answer)
            progress.advance(done * len(rows) + len(answers[-1]))
    progress.end()
    examples = [
        build_example(row, before.text.strip(), after.text.strip())
        for row, before, after in zip(rows, *answers, strict=True)
    ]
    right = [[each.base_right for each in examples], [each.tuned_right for each in examples]]
    costs = [answer.cost_usd for some in answers for answer in some]
    return HostedEvaluation(
        model=name,
        base=base,
        dataset=data.name,
        rows=len(rows),
        left_out=sum(not _can_be_asked(row) for row in data.evaluation),
        base_share=sum(right[0]) / len(rows),
        tuned_share=sum(right[1]) / len(rows),
        difference=paired_difference(right[0], right[1], [1.0] * len(rows)),
        answers=tuple(count_right(rows, examples)),
        examples=tuple(examples),
        cost_usd=None if None in costs else sum(cost or 0.0 for cost in costs),
    )


def _ask(
    answerer: Answerer, effective: Effective, rows: Sequence[Conversation]
) -> Iterator[Answer]:
    """The answers to the rows' questions, in their order."""

    def ask(row: Conversation) -> Answer:
        turns = row.prompt
        system = turns[0].content if turns[0].role == "system" else None
        request = Request(
            messages=turns[1:] if system is not None else turns,
            system=system,
            use_fallback=False,
            use_cache=False,
            is_test=True,
        )
        return answerer.answer(effective, request)

    at_once = min(_MOST_AT_ONCE, effective.model.settings.limits.at_once)
    pool = ThreadPoolExecutor(at_once)
    try:
        yield from pool.map(ask, rows)
    finally:
        pool.shutdown(cancel_futures=True)
