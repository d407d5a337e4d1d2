"""An adapter against its base on whole datasets, each on its own.

All rows are read and checked before any weight is loaded; torch is imported only then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from modelyard.adapters.versions import AdapterVersion
from modelyard.chatdata.dataset import ChatDataset, load_dataset
from modelyard.chatdata.template import ChatTokenizer
from modelyard.chatdata.tokenizing import tokenize_conversations
from modelyard.core.errors import NoData
from modelyard.core.layout import Project
from modelyard.core.progress import Progress
from modelyard.evaluation.rows import EvaluationRows, choose_rows
from modelyard.modelrefs.local_model import require_version
from modelyard.records.evaluation import Evaluation
from modelyard.results.json_form import published
from modelyard.weights.local import LocalBase


@dataclass(frozen=True, kw_only=True)
class EvaluateResult:
    """An adapter measured against its base."""

    adapter: str
    """The version, as NAME@VERSION."""
    dataset: str
    """The dataset whose evaluation rows were used."""
    evaluation: Evaluation = field(metadata=published(inline=True))


def evaluate_on_datasets(
    project: Project,
    version: AdapterVersion,
    datasets: Sequence[str],
    *,
    max_length: int,
    answers_limit: int,
    progress: Progress,
    offline: bool = False,
) -> list[EvaluateResult]:
    """One result for each dataset, a name or a path, in their order; each once.

    Rows longer than `max_length` tokens are cut, with a warning.
    Raises NoData, before anything is loaded, when a dataset has no row to evaluate.
    """
    loaded: dict[str, ChatDataset] = {}
    for given in dict.fromkeys(datasets):
        data = load_dataset(project, given)
        loaded[given if data.name in loaded else data.name] = data
    local = require_version(project, version, progress=progress, offline=offline)
    chosen: dict[str, EvaluationRows] = {}
    for name, data in loaded.items():
        about = f"{name}: " if len(loaded) > 1 else ""
        chosen[name] = _choose_rows(data, version, local.base, max_length, about)
        for warning in chosen[name].warnings:
            progress.warn(f"{about}{warning}")

    from modelyard.evaluation.evaluate import evaluate_adapter
    from modelyard.inference.open_model import open_model

    progress.stage(f"load: {local.base.name} with {version.name}")
    model = open_model(local, note=progress.warn)
    return [
        EvaluateResult(
            adapter=version.name,
            dataset=name,
            evaluation=evaluate_adapter(
                model, rows, progress=progress, answers_limit=answers_limit
            ),
        )
        for name, rows in chosen.items()
    ]


def _choose_rows(
    data: ChatDataset, version: AdapterVersion, base: LocalBase, max_length: int, about: str
) -> EvaluationRows:
    """The evaluation rows of a dataset as tokens.

    Raises NoData, with the cause after `about`, when there are none.
    """
    most_tokens = base.context_length()
    tokenized = tokenize_conversations(
        data.evaluation,
        ChatTokenizer.load(version.path),
        max_length=max_length,
        most_tokens=most_tokens,
        allow_control_tokens=_allows_control_tokens(version),
    )
    try:
        return choose_rows(
            data.evaluation, tokenized, max_length=max_length, most_tokens=most_tokens
        )
    except NoData as error:
        raise NoData(f"{about}{error.message}", where=error.where, hint=error.hint) from error


def _allows_control_tokens(version: AdapterVersion) -> bool:
    """Whether the version was trained on rows whose own text may hold control tokens."""
    data = version.manifest.spec.get("data")
    return isinstance(data, Mapping) and data.get("allow_control_tokens") is True
