"""What `models fine-tune --check`, `--dry-run` and `--show` say before any training."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from modelyard.cli.job_progress import showing_progress
from modelyard.cli.render import print_json, print_pairs, print_sample, print_text, print_title
from modelyard.core.errors import GateBreached, ModelyardError
from modelyard.core.layout import Project
from modelyard.core.progress import Progress
from modelyard.core.wording import counted, megabytes

if TYPE_CHECKING:
    from modelyard.training.choices import Choices
    from modelyard.training.preflight import Preflight, RunInputs
    from modelyard.training.preview import FoundInputs, Preview
    from modelyard.training.spec import FineTuneSpec
    from modelyard.weights.catalogue import BaseCard


def preview_run(
    project: Project,
    spec: FineTuneSpec,
    *,
    check: bool,
    dry_run: bool,
    show: int,
    fresh: bool,
    promote: bool,
    offline: bool,
    as_json: bool,
) -> None:
    """`--check` and `--dry-run`: examine everything; fetch and write nothing."""
    from modelyard.adapters.versions import highest_number
    from modelyard.training.continuing import pin_models
    from modelyard.training.experiment import spec_of_run
    from modelyard.training.preview import (
        NEEDS_BASE,
        find_inputs,
        look_ahead,
    )
    from modelyard.training.results import build_preview_result

    spec = pin_models(project, spec)
    if dry_run and not fresh:
        spec = spec_of_run(project, spec)
    with showing_progress() as progress:
        found = find_inputs(project, spec, progress=progress)
        preview = (
            look_ahead(project, spec, found, fresh=fresh, promote=promote) if dry_run else None
        )
        is_done = preview is not None and preview.action == "nothing"
        preflight = None
        if found.run_inputs and (check or show or not is_done):
            kept_choices = preview.choices if preview else None
            preflight = _preflight(project, spec, found.run_inputs, progress, kept_choices)
        for warning in found.warnings:
            progress.warn(warning)
    number = preview.number if preview else highest_number(project, spec.adapter) + 1
    if as_json:
        print_json(build_preview_result(project, spec, found, preflight, preview, number))
    else:
        _print_findings(
            project, spec, found, preflight, preview, number, show=show, offline=offline
        )
    if found.run_inputs is None and check:
        raise ModelyardError(
            f"base '{found.card.name}' is not on this machine, so this could not be checked: "
            f"{', '.join(NEEDS_BASE)}",
            hint=f"run `models base pull {found.card.name}`{_download_size(found.card)}, "
            "then check again",
        )
    if preview and preview.promotion and not preview.promotion.allowed:
        raise GateBreached(
            f"{spec.adapter}@{number} would not be promoted: {preview.promotion.reason}"
        )


def _preflight(
    project: Project,
    spec: FineTuneSpec,
    inputs: RunInputs,
    progress: Progress,
    kept_choices: Choices | None = None,
) -> Preflight:
    from modelyard.inference.machine import probe_machine
    from modelyard.training.experiment import require_known_device
    from modelyard.training.preflight import run_preflight

    machine = probe_machine()
    require_known_device(kept_choices, machine.device)
    found = run_preflight(
        project, spec, inputs, machine, progress=progress, kept_choices=kept_choices
    )
    for warning in found.warnings:
        progress.warn(warning)
    return found


def _download_size(card: BaseCard) -> str:
    return f" (about {megabytes(card.download_bytes)})" if card.download_bytes else ""


def _print_findings(
    project: Project,
    spec: FineTuneSpec,
    found: FoundInputs,
    preflight: Preflight | None,
    preview: Preview | None,
    number: int,
    *,
    show: int,
    offline: bool,
) -> None:

    print_title(f"{spec.dataset} → {spec.adapter}@{number}")
    if preflight:
        print_pairs(_preflight_lines(preflight))
        if show:
            _print_samples(preflight, show)
    elif found.run_inputs is None:
        print_pairs(_lines_without_base(found, offline=offline))
    if preview:
        print_text()
        _print_preview(project, spec, preview)


def _lines_without_base(found: FoundInputs, *, offline: bool) -> list[tuple[str, str]]:
    from modelyard.training.preview import NEEDS_BASE

    card = found.card
    sources = " · ".join(map(str, card.sources))
    brought = "; with --offline, only from local files" if offline else ""
    return [
        (
            "rows",
            f"{len(found.dataset.train):,} for training, {len(found.dataset.evaluation):,} for "
            "evaluation",
        ),
        (
            "base",
            f"{card.name} is not on this machine; a run would first fetch it"
            f"{_download_size(card)} from the first source that has it: {sources}{brought}",
        ),
        ("not checked", f"{', '.join(NEEDS_BASE)}; that needs the base"),
    ]


def _print_preview(project: Project, spec: FineTuneSpec, preview: Preview) -> None:

    version = f"{spec.adapter}@{preview.number}"
    experiment = f"{project.show(project.experiment(spec.experiment))}/"
    if preview.removes_run:
        print_text(f"would remove the run that {experiment} holds")
    if preview.promotion and preview.promotion.allowed:
        print_text(f"{version} is already trained and registered")
        print_text(f"would promote it: {preview.promotion.reason}")
    elif preview.action == "nothing":
        print_text(f"{version} is already trained and registered; nothing to do.")
        return
    elif preview.action == "resume":
        print_text(f"would resume after step {preview.after_step}, which {experiment} holds")
    elif preview.action == "conclude":
        print_text(f"would evaluate and register the trained adapter that {experiment} holds")
    print_text("would write (nothing was written):")
    for path in preview.writes:
        is_link = path == project.trained_link(spec.adapter)
        condition = "" if preview.promotion else ", if it beats the base with confidence"
        print_text(f"  {project.show(path)}{condition if is_link else '/'}")


def _preflight_lines(found: Preflight) -> list[tuple[str, str]]:
    rows, memory, choices = found.train.rows, found.memory, found.choices
    tokens = sum(len(row.input_ids) for row in rows)
    trained = sum(int(row.trained.sum()) for row in rows)
    batches = sum(len(step) for step in found.plan.steps)
    longest = max((len(row.input_ids) for row in rows), default=0)
    spared = ", activations recomputed" if choices.checkpointing else ""
    number = choices.precision if choices.quantize == "none" else choices.quantize
    parts = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in asdict(memory).items() if size)
    return [
        ("rows", f"{len(rows):,} for training, {len(found.evaluation.rows):,} for evaluation"),
        ("tokens", f"{tokens:,} a pass, {trained:,} of them trained on (proven for every row)"),
        ("longest row", _longest_row(found)),
        (
            "steps",
            f"{len(found.plan.steps):,} in {counted(found.plan.epochs, 'epoch')}, "
            f"{counted(batches, 'batch', 'batches')} "
            f"of at most {max(choices.tokens_per_batch, longest):,} tokens",
        ),
        ("schedule", _schedule(found)),
        ("base", f"{found.base.name} in {number}"),
        ("machine", f"{choices.device}, {counted(choices.threads, 'thread')}{spared}"),
        ("peak memory", f"about {memory.total / 1e9:.2f} GB ({parts})"),
    ]


def _schedule(found: Preflight) -> str:
    """What was set or chosen; with `max_steps` the epochs are those of the steps instead."""
    rows = counted(found.schedule.rows_per_step, "row")
    rising = found.plan.warmup_steps(found.spec.schedule)
    rate = f"{rows} a step, learning rate up to {found.schedule.learning_rate:g}"
    return f"{rate}, from 0 in step 1 over {counted(rising, 'step')}" if rising else rate


def _longest_row(found: Preflight) -> str:
    limit, cut = found.spec.data.max_length, len(found.train.cut)
    shown = f"{counted(found.train.longest, 'token')} of at most {limit:,}"
    if cut:
        return f"{shown}: {counted(cut, 'row')} cut"
    in_pieces = len(found.train.rows) - len(found.dataset.train)
    return f"{shown}: texts became {counted(in_pieces, 'row')} more" if in_pieces else shown


def show_rows(
    project: Project, spec: FineTuneSpec, count: int, progress: Progress, *, offline: bool
) -> None:
    """`--show` before a run."""
    from modelyard.training.preflight import load_inputs

    inputs = load_inputs(project, spec, progress=progress, offline=offline)
    found = _preflight(project, spec, inputs, progress)
    print_title(f"{spec.dataset} → {spec.adapter}")
    print_pairs(_preflight_lines(found))
    _print_samples(found, count)


def _print_samples(found: Preflight, count: int) -> None:
    from modelyard.chatdata.report import build_masked_texts

    print_text()
    for sample in build_masked_texts(found.train.rows, found.tokenizer, count):
        print_sample(sample.source, sample.pieces)
