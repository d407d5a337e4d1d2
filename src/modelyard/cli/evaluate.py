"""`models evaluate`: base against adapter on a dataset's evaluation rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.job_progress import showing_progress
from modelyard.cli.options import Environment, Json, Offline, chosen_environment
from modelyard.cli.render import print_evaluation, print_json, print_table, print_text, print_title
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project, find_project
from modelyard.settings.units import MONEY

if TYPE_CHECKING:
    from modelyard.adapters.versions import AdapterVersion
    from modelyard.modelrefs.resolving import ResolvedModel

_MAX_LENGTH = 1024


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
            help="Instead: the adapter of this language model or domain, as docs/models.md says, "
            "or a model that its provider tuned.",
        ),
    ] = None,
    answers: Annotated[
        int, typer.Option(metavar="N", min=0, help="How many questions are asked at most.")
    ] = 200,
    max_length: Annotated[
        int | None,
        typer.Option(
            metavar="TOKENS",
            min=8,
            help="Longest row in tokens; longer rows are cut. Default: 1024.",
        ),
    ] = None,
    record: Annotated[
        bool,
        typer.Option(
            "--record",
            help="Keep the figures as those of the version, if it has none, for promote and lists.",
        ),
    ] = False,
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

    A version that was imported, or trained without evaluation rows, has no figures. --record keeps
    those of one dataset for it: `models adapters promote` decides by them, lists show them, and
    they go to a registry with it. The version itself does not change.

    \b
    models evaluate --adapter support@1 --dataset support --record

    A model that its provider tuned is compared with the one that it was made of, by their answers
    to rows that say what is correct; each answer is a call that costs.
    """
    from modelyard.adapters.recorded import record_figures
    from modelyard.evaluation.datasets import evaluate_on_datasets
    from modelyard.records.evaluation import comparison_table

    project = find_project()
    resolved = _choose_model(project, adapter, model, environment)
    if resolved.version is None:
        if offline or record or max_length is not None:
            option = "--offline" if offline else "--record" if record else "--max-length"
            raise InvalidInput(
                f"{option} is for adapters, and {resolved.ref} is asked at its provider",
                hint="leave it out",
            )
        _evaluate_tuned(project, resolved, datasets, answers, as_json=as_json)
        return
    version = resolved.version
    if record:
        _require_recordable(version, datasets)
    with showing_progress() as progress:
        results = evaluate_on_datasets(
            project,
            version,
            datasets,
            max_length=max_length or _MAX_LENGTH,
            answers_limit=answers,
            progress=progress,
            offline=offline,
        )
    if record:
        record_figures(project, version, results[0].dataset, results[0].evaluation)
    against = f"{version.name} against {version.manifest.base.name}"
    if as_json:
        print_json(results if len(results) > 1 else results[0])
    elif len(results) == 1:
        print_title(f"{against} on {results[0].dataset}")
        print_evaluation(results[0].evaluation)
        if record:
            print_text(
                f"These are the figures of {version.name} from now on; "
                f"`models adapters promote {version.name}` decides by them."
            )
    else:
        print_title(f"{against}: each figure of the base → the adapter")
        print_table(*comparison_table({result.dataset: result.evaluation for result in results}))


def _require_recordable(version: AdapterVersion, datasets: list[str]) -> None:
    from modelyard.adapters.recorded import require_recordable

    if len(set(datasets)) > 1:
        raise InvalidInput(
            "--record keeps the figures of one dataset", hint="name the one that decides, alone"
        )
    require_recordable(version)


def _choose_model(
    project: Project, adapter: str | None, model: str | None, environment: str | None
) -> ResolvedModel:
    """What --adapter or --model names: with an adapter, or tuned by its provider."""
    from modelyard.modelrefs.resolving import resolve_model
    from modelyard.records.modelref import ModelRef

    if (adapter is None) == (model is None):
        raise InvalidInput(
            "name the adapter to evaluate, once",
            hint="--adapter NAME[@VERSION], or --model REF, such as domain:code_analysis",
        )
    ref = ModelRef.parse(adapter, kind="adapter") if adapter else ModelRef.parse(model or "")
    found = resolve_model(project, ref, environment=chosen_environment(project, environment))
    is_remote = found.settings is not None and not found.settings.in_process
    if found.version is None and not is_remote:
        raise InvalidInput(
            f"{found.ref} has no adapter to compare with its base",
            hint="name an adapter, or a language model with one",
        )
    return found


def _evaluate_tuned(
    project: Project, model: ResolvedModel, datasets: list[str], answers: int, *, as_json: bool
) -> None:
    from modelyard.training.hosted.evaluation import evaluate_tuned

    with showing_progress() as progress:
        results = evaluate_tuned(
            project, model, list(dict.fromkeys(datasets)), answers_limit=answers, progress=progress
        )
    if as_json:
        print_json(results if len(results) > 1 else results[0])
        return
    print_title(f"{results[0].model} against {results[0].base}: right answers")
    print_table(
        ("dataset", ">rows", ">base", ">tuned", "difference, 95%", ">cost"),
        [
            (
                result.dataset,
                f"{result.rows:,}",
                f"{result.base_share:.0%}",
                f"{result.tuned_share:.0%}",
                result.difference.shown_interval or "too few rows",
                "unknown" if result.cost_usd is None else MONEY.show(round(result.cost_usd, 4)),
            )
            for result in results
        ],
    )
