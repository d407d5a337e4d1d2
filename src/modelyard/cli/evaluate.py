"""`models evaluate`: base against adapter on a dataset's evaluation rows."""

from __future__ import annotations

from typing import Annotated

import typer

from modelyard.cli.options import Json, Offline
from modelyard.cli.render import print_evaluation, print_json, print_title, showing_progress
from modelyard.core.layout import find_project


def evaluate(
    adapter: Annotated[
        str,
        typer.Option(
            metavar="NAME[@VERSION]", help="The version to evaluate; without @, the active one."
        ),
    ],
    dataset: Annotated[
        str,
        typer.Option(
            metavar="NAME|PATH", help="Its evaluation rows are used: eval.jsonl, or a tenth."
        ),
    ],
    answers: Annotated[
        int, typer.Option(metavar="N", min=0, help="How many questions are asked at most.")
    ] = 200,
    max_length: Annotated[
        int,
        typer.Option(metavar="TOKENS", min=8, help="Longest row in tokens; longer rows are cut."),
    ] = 1024,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Compare an adapter with its base on unseen rows.

    Loss and perplexity on the same rows, the paired difference with its 95% interval, and correct
    answers where rows say what is correct (`expect` or `label`). Rows that --max-length cuts or
    leaves out are counted in a warning; when none is left, there is nothing to evaluate (exit 5).
    """
    from modelyard.adapters.verify import check_adapter_files
    from modelyard.adapters.versions import resolve_version
    from modelyard.chatdata.dataset import load_dataset
    from modelyard.chatdata.template import ChatTokenizer
    from modelyard.chatdata.tokenizing import tokenize_conversations
    from modelyard.evaluation.rows import choose_rows
    from modelyard.weights.pull import require_base

    project = find_project()
    version = resolve_version(project, adapter)
    data = load_dataset(project, dataset)
    with showing_progress() as progress:
        base = require_base(project, version.manifest.base.name, progress=progress, offline=offline)
        check_adapter_files(version.path, base)
        most_tokens = base.context_length()
        tokenized = tokenize_conversations(
            data.evaluation,
            ChatTokenizer.load(version.path),
            max_length=max_length,
            most_tokens=most_tokens,
        )
        rows = choose_rows(
            data.evaluation, tokenized, max_length=max_length, most_tokens=most_tokens
        )
        for warning in rows.warnings:
            progress.warn(warning)

        from modelyard.evaluation.evaluate import evaluate_adapter
        from modelyard.inference.engine import Engine
        from modelyard.inference.machine import probe_machine

        progress.stage(f"load: {base.name} with {version.name}")
        engine = Engine.load(base, version.path, machine=probe_machine())
        found = evaluate_adapter(engine, rows, progress=progress, answers_limit=answers)
    if as_json:
        print_json({"adapter": version.name, "dataset": data.name, **found.to_mapping()})
        return
    print_title(f"{version.name} against {base.name} on {data.name}")
    print_evaluation(found)
