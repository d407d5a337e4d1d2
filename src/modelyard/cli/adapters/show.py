"""`models adapters list` and `show`: every adapter, and the card of a version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.adapters.gc import load_pins
from modelyard.adapters.manifest import Manifest
from modelyard.adapters.pointer import PointerMove, pointer_history
from modelyard.adapters.recorded import RecordedFigures
from modelyard.adapters.stated_base import NAME_KEY
from modelyard.adapters.versions import AdapterVersion, resolve_version
from modelyard.cli.job_progress import showing_progress
from modelyard.cli.options import Json, VersionName
from modelyard.cli.render import (
    print_evaluation,
    print_json,
    print_pairs,
    print_table,
    print_text,
    print_title,
)
from modelyard.core.layout import find_project
from modelyard.core.wording import counted, day_and_time, megabytes
from modelyard.records.evaluation import DETAILS, Evaluation
from modelyard.results.json_form import published, result_of

if TYPE_CHECKING:
    from modelyard.adapters.overview import AdapterSummary, Overview, VersionSummary
    from modelyard.records.provenance import Origin


@dataclass(frozen=True, kw_only=True)
class VersionShown:
    """One version of an adapter, and when it was active."""

    name: str
    """The version, as NAME@VERSION."""
    path: str
    """Its folder, from the project's root."""
    active: bool = field(metadata=published("in_use"))
    """Whether it is the active version."""
    pinned: bool
    """Whether gc leaves it alone."""
    size_bytes: int
    """The size of its files."""
    manifest: Manifest
    """The content of its MANIFEST.json."""
    duration_s: float | None
    """How long the training took."""
    rows: int | None
    """The number of training conversations."""
    evaluation: Evaluation | None = field(metadata=published(without=DETAILS))
    """Its figures against its base; null when it was not evaluated."""
    recorded: RecordedFigures | None = field(
        metadata=published("evaluation_recorded", without=("evaluation",))
    )
    """When and on what they were measured, if that was after it was registered; else null."""
    problem: str | None
    """What is wrong with it, when its files cannot be read; else null."""
    history: tuple[PointerMove, ...] = field(metadata=published(without=("adapter", "moved")))
    """The changes of the active version to it and from it, oldest first."""


def list_adapters(
    org: Annotated[
        str | None, typer.Option("--org", metavar="NAME", help="Only this organisation's adapters.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the adapters and their active versions.

    The last lines compare their size with that of as many full fine-tunes of their bases.

    \b
    models adapters list
    models adapters list --org techcorp --json
    """
    from modelyard.adapters.overview import load_overview

    with showing_progress() as progress:
        found = load_overview(find_project(), org=org, progress=progress)
    if as_json:
        print_json(found)
    elif not found.adapters:
        of_org = f"of organisation '{org}' " if org else ""
        print_text(f"There are no adapters {of_org}here; `models fine-tune` makes one.")
    else:
        columns = ("adapter", ">active", "versions", ">size", "trained", "on", ">loss", ">of base")
        print_table(columns, [_row(summary) for summary in found.adapters])
        _print_problems(found.adapters)
        _print_saving(found)


def _row(summary: AdapterSummary) -> tuple[str, ...]:
    shown = summary.shown
    return (
        summary.name,
        "broken" if summary.problem else f"@{summary.active}" if summary.active else "none",
        _numbers([version.number for version in summary.versions]),
        megabytes(summary.size_bytes),
        (shown.trained_at or "unknown")[:10] if shown and not shown.problem else "",
        shown.data.name if shown and shown.data else "",
        *(_losses(shown) if shown else ("not here", "")),
    )


def _losses(version: VersionSummary) -> tuple[str, str]:
    if version.evaluation is None:
        return "damaged" if version.problem else "not evaluated", ""
    loss = next(version.evaluation.main_rows())
    return loss.adapter, loss.base


def _numbers(numbers: Sequence[int]) -> str:
    """Numbers in ascending order, runs drawn together: `1-4, 7`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def _print_problems(summaries: Sequence[AdapterSummary]) -> None:
    for summary in summaries:
        if summary.problem:
            print_text(f"{summary.name}: {summary.problem}")
    for summary in summaries:
        for version in summary.versions:
            if version.problem:
                print_text(f"{summary.name}@{version.number}: {version.problem}")


def _print_saving(found: Overview) -> None:
    for name, size in found.bases.items():
        names = [
            summary.name
            for summary in found.adapters
            if summary.shown and summary.shown.base and summary.shown.base.name == name
        ]
        stored = "" if size.measured else ", not available locally: counted from its card, in bf16"
        print_text(f"On {name} ({megabytes(size.size_bytes)}{stored}): {', '.join(names)}")
    total = found.total
    kept = f"{counted(total.versions, 'version')} of {counted(total.adapters, 'adapter')}"
    print_text(f"{kept}: {megabytes(total.size_bytes)}.")
    if as_full := total.full_fine_tunes_bytes:
        some = total.full_fine_tunes < total.versions
        which = f"{total.full_fine_tunes} of them" if some else "they"
        print_text(
            f"As full fine-tunes of their bases {which} would take {megabytes(as_full)}, "
            f"{as_full / total.size_bytes:,.1f} times as much."
        )


def show_adapter(name: VersionName, as_json: Json = False) -> None:
    """Show the card of a version: lineage, figures, history.

    \b
    models adapters show techcorp-demo        # the active version
    models adapters show techcorp-demo@2
    """
    from modelyard.adapters.overview import summarize_adapter

    project = find_project()
    version = resolve_version(project, name)
    pinned = load_pins(project).get(version.adapter, {})
    adapter = summarize_adapter(project, version.adapter, pinned=pinned)
    summary = next(found for found in adapter.versions if found.number == version.number)
    moves = [
        move
        for move in pointer_history(project, version.adapter)
        if version.number in (move.from_version, move.to_version)
    ]
    if as_json:
        shown = result_of(
            VersionShown,
            summary,
            name=version.name,
            path=project.show(version.path),
            manifest=version.manifest,
            history=tuple(moves),
        )
        print_json(shown)
        return
    state = ("active" if summary.active else "not active") + (", pinned" if summary.pinned else "")
    print_title(f"{version.name}  ({state})")
    if summary.problem:
        print_text(summary.problem)
    print_pairs(_lineage(version, summary))
    print_text()
    if summary.evaluation:
        print_evaluation(summary.evaluation)
        if summary.recorded:
            print_text(f"These figures were {summary.recorded.origin}, after it was registered.")
    elif not summary.problem:
        print_text("It has no figures: it was never evaluated against its base, or not recorded.")
    if not moves:
        print_text(
            "When it became active is not recorded." if summary.active else "It was never active."
        )
    for move in moves:
        came = move.to_version == version.number
        verb = "became active" if came else f"was replaced by @{move.to_version}"
        why = f": {move.reason}" if move.reason else ""
        print_text(f"{day_and_time(move.moved_at)}  {verb} ({move.action}){why}")
    print_text(f"Its card, with all settings: {project.show(version.path)}/TRAINING_INFO.md")


def _lineage(version: AdapterVersion, summary: VersionSummary) -> Iterator[tuple[str, str]]:
    manifest = version.manifest
    rows = f"{summary.rows:,} conversations of " if summary.rows is not None else ""
    yield "base", _origin(manifest.base)
    yield "data", rows + _origin(manifest.data)
    yield "organisation", manifest.org or "none"
    if manifest.parent:
        yield "continues", manifest.parent
    if manifest.spec.get("imported") and not summary.trained_at:
        yield "trained", f"unknown; imported {day_and_time(manifest.created_at)}"
        yield "its config named", manifest.spec.get(NAME_KEY) or "no base"
    else:
        yield "trained", day_and_time(summary.trained_at or manifest.created_at)
    if unchecked := manifest.spec.get("not_checked"):
        yield "imported without", f"its base's weights; not checked then: {'; '.join(unchecked)}"
    if summary.duration_s is not None:
        yield "in", f"{summary.duration_s:,.0f} s"
    yield "on", str(manifest.machine.get("description", "an unknown machine"))
    yield "settings", _settings(manifest.spec)
    yield "packages", ", ".join(f"{name} {each}" for name, each in manifest.packages.items())
    yield "commit", manifest.code_commit or "not known"
    yield "size", f"{megabytes(summary.size_bytes)} in {counted(len(manifest.files), 'file')}"


def _origin(origin: Origin) -> str:
    return f"{origin.name} ({origin.fingerprint[:19]})"


_SHOWN_SETTINGS = {
    "rank": ("lora", "rank"),
    "alpha": ("lora", "alpha"),
    "epochs": ("schedule", "epochs"),
    "learning rate": ("schedule", "learning_rate"),
    "rows a step": ("schedule", "rows_per_step"),
}


def _settings(spec: Mapping[str, Any]) -> str:
    """The most important settings; the card has all of them."""
    shown = []
    for words, (group, key) in _SHOWN_SETTINGS.items():
        values = spec.get(group)
        if isinstance(values, dict) and values.get(key) is not None:
            shown.append(f"{words} {values[key]}")
    return ", ".join(shown) or "not known"
