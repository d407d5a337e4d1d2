"""`models evaluate`: base against adapter on a dataset's evaluation rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.options import Environment, Json, Offline, chosen_environment
from modelyard.cli.render import (
    print_evaluation,
    print_json,
    print_table,
    print_title,
    showing_progress,
)
from modelyard.core.errors import InvalidInput, NoData
from modelyard.core.layout import Project, find_project
from modelyard.records.evaluation import Evaluation, comparison_table
from modelyard.records.modelref import ModelRef
from modelyard.results.json_form import published

if TYPE_CHECKING:
    from modelyard.adapters.versions import AdapterVersion
    from modelyard.chatdata.dataset import ChatDataset
    from modelyard.evaluation.rows import EvaluationRows
    from modelyard.weights.local import LocalBase


@dataclass(frozen=True, kw_only=True)
class EvaluateResult:
    """An adapter measured against its base."""

    adapter: str
    """The version, as NAME@VERSION."""
    dataset: str
    """The dataset whose evaluation rows were used."""
    evaluation: Evaluation = field(metadata=published(inline=True))


def evaluate(
    datasets: Annotated[
        list[str],
        typer.Option(
            "--dataset",
            metavar="NAME|PATH",
            help="Its evaluation rows are used: eval.jsonl, or a tenth. Repeatable.",
        ),
    ],
    adapter: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[@VERSION]", help="The version to evaluate; without @, the active one."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="REF",
            help="Instead: the adapter of this language model or domain, as docs/models.md says.",
        ),
    ] = None,
    answers: Annotated[
        int, typer.Option(metavar="N", min=0, help="How many questions are asked at most.")
    ] = 200,
    max_length: Annotated[
        int,
        typer.Option(metavar="TOKENS", min=8, help="Longest row in tokens; longer rows are cut."),
    ] = 1024,
    offline: Offline = False,
    environment: Environment = None,
    as_json: Json = False,
) -> None:
    """Compare an adapter with its base on unseen rows.

    Loss and perplexity on the same rows, the paired difference with its 95% interval, and correct
    answers where rows say what is correct (`expect` or `label`). Rows that --max-length cuts or
    leaves out are counted in a warning; when none is left, there is nothing to evaluate (exit 5).

    Several datasets are evaluated one after the other, each on its own, and are a row each of one
    table. Nothing is loaded when one of them cannot be evaluated.

    \b
    models evaluate --adapter support --dataset support --dataset general
    """
    from modelyard.chatdata.dataset import load_dataset
    from modelyard.modelrefs.local_model import require_version

    project = find_project()
    version = _choose_version(project, adapter, model, environment)
    loaded = {}
    for given in dict.fromkeys(datasets):
        data = load_dataset(project, given)
        loaded[given if data.name in loaded else data.name] = data
    with showing_progress() as progress:
        local = require_version(project, version, progress=progress, offline=offline)
        base = local.base
        chosen = {}
        for name, data in loaded.items():
            about = f"{name}: " if len(loaded) > 1 else ""
            chosen[name] = _choose_rows(data, version, base, max_length, about)
            for warning in chosen[name].warnings:
                progress.warn(f"{about}{warning}")

        from modelyard.evaluation.evaluate import evaluate_adapter
        from modelyard.inference.open_model import open_model

        progress.stage(f"load: {base.name} with {version.name}")
        engine = open_model(local)
        found = {
            name: evaluate_adapter(engine, rows, progress=progress, answers_limit=answers)
            for name, rows in chosen.items()
        }
    if as_json:
        results = [
            EvaluateResult(adapter=version.name, dataset=name, evaluation=evaluation)
            for name, evaluation in found.items()
        ]
        print_json(results if len(results) > 1 else results[0])
    elif len(found) == 1:
        [(name, evaluation)] = found.items()
        print_title(f"{version.name} against {base.name} on {name}")
        print_evaluation(evaluation)
    else:
        print_title(f"{version.name} against {base.name}: each figure of the base → the adapter")
        print_table(*comparison_table(found))


def _choose_rows(
    data: ChatDataset, version: AdapterVersion, base: LocalBase, max_length: int, about: str
) -> EvaluationRows:
    """The evaluation rows of a dataset as tokens.

    Raises NoData, with the cause after `about`, when there are none.
    """
    from modelyard.chatdata.template import ChatTokenizer
    from modelyard.chatdata.tokenizing import tokenize_conversations
    from modelyard.evaluation.rows import choose_rows

    most_tokens = base.context_length()
    tokenized = tokenize_conversations(
        data.evaluation,
        ChatTokenizer.load(version.path),
        max_length=max_length,
        most_tokens=most_tokens,
    )
    try:
        return choose_rows(
            data.evaluation, tokenized, max_length=max_length, most_tokens=most_tokens
        )
    except NoData as error:
        raise NoData(f"{about}{error.message}", where=error.where, hint=error.hint) from error


def _choose_version(
    project: Project, adapter: str | None, model: str | None, environment: str | None
) -> AdapterVersion:
    """The version that --adapter or --model names."""
    from modelyard.modelrefs.resolving import resolve_model

    if (adapter is None) == (model is None):
        raise InvalidInput(
            "name the adapter to evaluate, once",
            hint="--adapter NAME[@VERSION], or --model REF, such as domain:code_analysis",
        )
    ref = ModelRef.parse(adapter, kind="adapter") if adapter else ModelRef.parse(model or "")
    found = resolve_model(project, ref, environment=chosen_environment(project, environment))
    if found.version is None:
        raise InvalidInput(
            f"{found.ref} has no adapter to compare with its base",
            hint="name an adapter, or a language model with one",
        )
    return found.version
