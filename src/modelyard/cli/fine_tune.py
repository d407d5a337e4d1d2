"""`models fine-tune`: train an adapter on a dataset, evaluate it, register it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.arguments import read_share
from modelyard.cli.job_progress import showing_progress
from modelyard.cli.options import (
    DryRun,
    Environment,
    Json,
    Offline,
    chosen_environment,
    work_in_project_of,
)
from modelyard.cli.render import print_evaluation, print_json, print_pairs, print_text, print_title
from modelyard.core.errors import GateBreached, InvalidInput
from modelyard.core.layout import Project, find_project

if TYPE_CHECKING:
    from modelyard.training.run import FineTuneResult


def fine_tune(
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|PATH", help="Conversations to train on: datasets/NAME, or a path."
        ),
    ] = None,
    base_model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Base model, as in `models base list`; or a language model of the configs that "
            "its provider tunes, such as gpt-4.",
        ),
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
    parent: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="NAME[@V]",
            help="Continue from this version, with the same base and LoRA settings.",
        ),
    ] = None,
    replay: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            parser=read_share,
            help="With --from: the share of the rows that is drawn from that version's dataset.",
        ),
    ] = None,
    org: Annotated[
        str | None, typer.Option(metavar="NAME", help="Organisation that the adapter belongs to.")
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            metavar="CONFIG",
            help="Settings: a name such as small_data, KIND/NAME, or the path of a file.",
        ),
    ] = None,
    environment: Environment = None,
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
    allow_control_tokens: Annotated[
        bool,
        typer.Option(
            "--allow-control-tokens",
            help="Train on rows whose own text holds control tokens of the base.",
        ),
    ] = False,
    promote: Annotated[
        bool,
        typer.Option(
            "--promote", help="Make the version active if it beats the base with confidence."
        ),
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Stop after the preflight: data, masks, memory, disk. Writes nothing."
        ),
    ] = False,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Hosted: have the provider stop the experiment's job.")
    ] = False,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes",
            help="Hosted: do not ask before rows leave this machine. A protected environment, and "
            "rows that look as if they hold a secret or an address, need it without a terminal.",
        ),
    ] = False,
    show: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Print N rows with the trained tokens coloured; hosted, as they are sent.",
        ),
    ] = 0,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over, whatever the experiment holds.")
    ] = False,
    offline: Offline = False,
    wait: Annotated[
        float,
        typer.Option(
            "--wait",
            metavar="SECONDS",
            min=0,
            help="How long to wait for another process to finish; hosted, also for the job's end.",
        ),
    ] = 0.0,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Train, evaluate and register an adapter.

    The same command again continues a stopped run, and does nothing for a finished one. A change of
    data, spec or base is refused, saying what changed, unless `--fresh`.

    With `--from` the new version's card links its parent, and the eval rows of the parent's dataset
    are evaluated too, in groups of their own, to show what the new version forgot.

    `--check` and `--dry-run` fetch and write nothing. `--check` checks the inputs: it exits with 1
    while the base is not on this machine, since rows cannot be tokenized without it. `--dry-run`
    also checks the experiment, and exits as the command itself would; it names a base that would
    have to be fetched first, and what could not be checked without it.

    A language model of the configs is tuned by its provider instead: the training rows are sent,
    its job is followed with `--wait`, and the tuned model becomes a draft in
    configs/language_models/ (docs/hosted-fine-tuning.md). `--check` says what would leave this
    machine and what it costs, without a call.

    \b
    models fine-tune --dataset support --adapter support --promote
    models fine-tune --dataset code_analysis_data --base-model gpt-4 --experiment exp_004 --check
    """
    from modelyard.adapters.versions import named_adapter
    from modelyard.deployments.running import locate_config
    from modelyard.training.spec import load_spec

    work_in_project_of([config], unless_in_one=True)
    project = find_project()
    environment = chosen_environment(project, environment)
    if base_model is not None:
        from modelyard.training.hosted.tunable import HostedBase, find_tunable

        found = find_tunable(project, base_model, environment)
        if isinstance(found, HostedBase):
            from modelyard.cli.fine_tune_hosted import (
                HostedOptions,
                fine_tune_hosted,
                refuse_options,
            )

            local = {
                **{"adapter": adapter, "from": parent, "replay": replay is not None},
                **{"config": config, "quantize": quantize, "promote": promote},
                **{"allow-control-tokens": allow_control_tokens, "offline": offline},
            }
            refuse_options(local, found)
            options = HostedOptions(
                dataset=dataset,
                experiment=experiment,
                org=org,
                assignments=tuple(assignments or ()),
                check=check,
                cancel=cancel,
                yes=yes,
                show=show,
                fresh=fresh,
                dry_run=dry_run,
                wait_s=wait,
                as_json=as_json,
            )
            fine_tune_hosted(project, found, options)
            return
        base_model = found
    if cancel or yes:
        raise InvalidInput(
            f"{'--cancel' if cancel else '--yes'} is for models that their provider tunes",
            hint="name one with --base-model, or leave the option out",
        )
    spec = load_spec(
        config=locate_config(project, config, "fine_tuning") if config is not None else None,
        assignments=assignments or [],
        flags={
            "dataset": dataset,
            "base_model": base_model,
            "adapter": adapter and named_adapter(adapter),
            "experiment": experiment,
            "parent": parent,
            "data.replay_share": replay,
            "data.allow_control_tokens": allow_control_tokens or None,
            "org": org,
            "compute.quantize": quantize,
        },
        environment=environment,
        project=project,
    )
    if check or dry_run:
        from modelyard.cli.preview import preview_run

        preview_run(
            project,
            spec,
            check=check,
            dry_run=dry_run,
            show=show,
            fresh=fresh,
            promote=promote,
            offline=offline,
            as_json=as_json,
        )
        return

    from modelyard.training.results import finished_run
    from modelyard.training.run import fine_tune as run

    with showing_progress() as progress:
        if show:
            from modelyard.cli.preview import show_rows

            show_rows(project, spec, show, progress, offline=offline)
        result = run(
            project,
            spec,
            progress=progress,
            promote=promote,
            fresh=fresh,
            offline=offline,
            wait_s=wait,
        )
    if as_json:
        print_json(finished_run(result))
    else:
        _print_result(project, result)
    if result.promotion is not None and not result.promotion.allowed:
        raise GateBreached(
            f"{result.version.name} is registered and not promoted: {result.promotion.reason}",
            hint=_what_next(project, result),
        )


def _what_next(project: Project, result: FineTuneResult) -> str:
    """What helps a version that was not promoted."""
    if result.evaluation and result.evaluation.difference.interval is None:
        return "prepare the data with more evaluation rows (--eval-share), and train with --fresh"
    return f"{project.show(result.experiment / 'report.html')} shows where it fails"


def _print_result(project: Project, result: FineTuneResult) -> None:
    version = result.version
    if result.already_done:
        print_text(f"{version.name} is already trained and registered; nothing to do.")
    else:
        print_title(f"{version.name} is trained and registered")
    if result.evaluation:
        print_evaluation(result.evaluation)
    state = (
        "active" if result.in_use else "registered, not active (`models fine-tune ... --promote`)"
    )
    print_pairs(
        [
            ("version", f"{project.show(version.path)}/  ({state})"),
            ("card", project.show(version.path / "TRAINING_INFO.md")),
            (
                "report",
                f"{project.show(result.experiment / 'report.html')}  (open it in a browser)",
            ),
            ("ask it", f'models generate --adapter {version.name} --compare-base "Your question"'),
        ]
    )
