"""`models fine-tune`: train an adapter on a dataset, judge it, register it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli.options import DryRun, Json, Offline, Wait
from modelyard.core.errors import GateBreached

if TYPE_CHECKING:
    from modelyard.core.layout import Yard
    from modelyard.training.preflight import Preflight
    from modelyard.training.run import FineTuneResult
    from modelyard.training.spec import FineTuneSpec


def fine_tune(
    dataset: Annotated[
        str | None,
        typer.Option(metavar="NAME|PATH", help="Conversations to learn: datasets/NAME, or a path."),
    ] = None,
    base_model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Base model, as in `models base list`.")
    ] = None,
    adapter: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Adapter that gets a new version. Default: the dataset's name."
        ),
    ] = None,
    experiment: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Folder under experiments/. Default: the adapter's name."
        ),
    ] = None,
    org: Annotated[
        str | None, typer.Option(metavar="NAME", help="Organisation that the adapter belongs to.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Settings, such as configs/fine_tuning/lora_default.yaml."
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="One setting, such as lora.rank=8. Repeatable."
        ),
    ] = None,
    quantize: Annotated[
        str | None,
        typer.Option(
            metavar="auto|none|4bit|8bit", help="Hold the base in 4 or 8 bits (CUDA only)."
        ),
    ] = None,
    promote: Annotated[
        bool,
        typer.Option(
            "--promote", help="Bring the version into use if it beats the base with confidence."
        ),
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Stop after the preflight: data, masks, memory, disk.")
    ] = False,
    show: Annotated[
        int, typer.Option(metavar="N", min=0, help="Print N rows with the learned tokens coloured.")
    ] = 0,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over, whatever the experiment holds.")
    ] = False,
    offline: Offline = False,
    wait: Wait = 0.0,
    dry_run: DryRun = False,
    json_output: Json = False,
) -> None:
    """Train an adapter, judge it against its base, register it.

    The same command again continues a stopped run, and does nothing for a finished one. A change of
    data, spec or base is refused, saying what changed, unless `--fresh`.
    """
    from modelyard.core.layout import find_yard
    from modelyard.training.spec import load_spec

    yard = find_yard()
    spec = load_spec(
        config=config,
        assignments=assignments or [],
        flags={
            "dataset": dataset,
            "base_model": base_model,
            "adapter": adapter,
            "experiment": experiment,
            "org": org,
            "compute.quantize": quantize,
        },
    )
    if check or dry_run or show:
        _preflight(yard, spec, show=show, offline=offline, dry_run=dry_run, json_output=json_output)
        if check or dry_run:
            return

    from modelyard.cli.render import print_json, showing_progress
    from modelyard.training.run import fine_tune as run

    with showing_progress() as progress:
        result = run(
            yard,
            spec,
            progress=progress,
            promote=promote,
            fresh=fresh,
            offline=offline,
            wait_s=wait,
        )
    if json_output:
        print_json(_result_mapping(result))
    else:
        _print_result(yard, result)
    if result.promotion is not None and not result.promotion.allowed:
        raise GateBreached(
            f"{result.version.name} is registered and not promoted: {result.promotion.reason}",
            hint=f"{yard.show(result.experiment / 'report.html')} shows where it fails",
        )


def _preflight(
    yard: Yard, spec: FineTuneSpec, *, show: int, offline: bool, dry_run: bool, json_output: bool
) -> None:
    from modelyard.adapters.versions import version_numbers
    from modelyard.cli.render import (
        print_json,
        print_pairs,
        print_text,
        print_title,
        showing_progress,
    )
    from modelyard.inference.machine import probe_machine
    from modelyard.training.preflight import load_inputs, run_preflight

    with showing_progress() as progress:
        inputs = load_inputs(yard, spec, progress=progress, offline=offline)
        found = run_preflight(yard, spec, inputs, probe_machine(), progress=progress)
        for warning in found.warnings:
            progress.warn(warning)
    number = max(version_numbers(yard, spec.adapter), default=0) + 1
    if json_output:
        print_json({**found.mapping(), "would_register": f"{spec.adapter}@{number}"})
        return
    print_title(f"{spec.dataset} → {spec.adapter}@{number}")
    print_pairs(_preflight_lines(found))
    if show:
        _print_samples(found, show)
    if dry_run:
        print_text()
        print_text("would write (nothing was written):")
        for path in (
            yard.experiment(spec.experiment),
            yard.adapter_version(spec.adapter, number),
        ):
            print_text(f"  {yard.show(path)}/")


def _preflight_lines(found: Preflight) -> list[tuple[str, str]]:
    rows, memory, choices = found.train.rows, found.memory, found.choices
    tokens = sum(len(row.input_ids) for row in rows)
    learned = sum(int(row.trained.sum()) for row in rows)
    batches = sum(len(step) for step in found.plan.steps)
    spared = ", activations recomputed" if choices.checkpointing else ""
    number = choices.precision if choices.quantize == "none" else choices.quantize
    longest = max(len(row.input_ids) for row in rows)
    parts = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in asdict(memory).items() if size)
    return [
        ("rows", f"{len(rows):,} to learn, {len(found.evaluation.rows):,} to judge with"),
        ("tokens", f"{tokens:,} a pass, {learned:,} of them learned (proven for every row)"),
        ("longest row", f"{longest:,} tokens of at most {found.spec.data.max_length:,}"),
        (
            "steps",
            f"{len(found.plan.steps):,} in {found.plan.epochs:g} epochs, {batches:,} batches "
            f"of at most {choices.tokens_per_batch:,} tokens",
        ),
        ("base", f"{found.base.name} in {number}"),
        ("machine", f"{choices.device}, {choices.threads} threads{spared}"),
        ("peak memory", f"about {memory.total / 1e9:.2f} GB ({parts})"),
    ]


def _print_samples(found: Preflight, count: int) -> None:
    from modelyard.chatdata.samples import build_samples
    from modelyard.cli.render import print_sample, print_text

    print_text()
    for sample in build_samples(found.train.rows, found.tokenizer, count):
        print_sample(sample.source, sample.pieces)


def _result_mapping(result: FineTuneResult) -> dict[str, Any]:
    """What `--json` prints; see docs/cli.md."""
    evaluation = {name: value for name, value in result.evaluation.items() if name != "examples"}
    return {
        "version": result.version.name,
        "path": str(result.version.path),
        "experiment": str(result.experiment),
        "evaluation": evaluation,
        "in_use": result.in_use,
        "promotion": result.promotion.reason if result.promotion else None,
        "already_done": result.already_done,
    }


def _print_result(yard: Yard, result: FineTuneResult) -> None:
    from modelyard.cli.evaluate import print_evaluation
    from modelyard.cli.render import print_pairs, print_text, print_title

    version = result.version
    if result.already_done:
        print_text(f"{version.name} is already trained and registered; nothing to do.")
    else:
        print_title(f"{version.name} is trained and registered")
    if result.evaluation:
        print_evaluation(result.evaluation)
    state = (
        "in use" if result.in_use else "registered, not in use (`models fine-tune ... --promote`)"
    )
    print_pairs(
        [
            ("version", f"{yard.show(version.path)}/  ({state})"),
            ("card", yard.show(version.path / "TRAINING_INFO.md")),
            ("report", f"{yard.show(result.experiment / 'report.html')}  (open it in a browser)"),
            ("ask it", f'models generate --adapter {version.name} --compare-base "Your question"'),
        ]
    )
