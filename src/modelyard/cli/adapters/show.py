"""`models adapters list` and `show`: every adapter, and the card of a version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.adapters.gc import load_pins
from modelyard.adapters.pointer import pointer_history
from modelyard.adapters.versions import AdapterVersion, resolve_version
from modelyard.cli.options import Json, VersionName
from modelyard.cli.render import (
    print_evaluation,
    print_json,
    print_pairs,
    print_table,
    print_text,
    print_title,
    showing_progress,
)
from modelyard.core.layout import find_project
from modelyard.core.wording import counted, day_and_time, megabytes

if TYPE_CHECKING:
    from modelyard.adapters.overview import AdapterSummary, VersionSummary, WeightsSize
    from modelyard.records.provenance import Origin


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

    \b
    JSON: {"adapters": [{"name", "org", "in_use": number or null, "size_bytes", "problem",
                         "versions": [{"number", "in_use": bool, "pinned": bool, "size_bytes",
                                       "base": {"name", "fingerprint"},
                                       "data": {"name", "fingerprint"}, "rows", "trained_at",
                                       "duration_s", "org", "parent",
                                       "evaluation": figures or null, "problem"}]}],
           "bases": {name: {"size_bytes", "measured": bool}},
           "total": {"adapters", "versions", "size_bytes",
                     "full_fine_tunes", "full_fine_tunes_bytes"}}
    """
    from modelyard.adapters.overview import full_bytes, measure_weights, summarize_adapters

    project = find_project()
    summaries = summarize_adapters(project, org=org)
    bases = sorted(
        {version.base.name for summary in summaries for version in summary.versions if version.base}
    )
    with showing_progress() as progress:
        sizes = measure_weights(project, bases, progress=progress)
    as_full, fine_tunes = full_bytes(summaries, sizes)
    if as_json:
        print_json(
            {
                "adapters": [_facts(summary) for summary in summaries],
                "bases": {name: asdict(size) for name, size in sizes.items()},
                "total": {
                    "adapters": len(summaries),
                    "versions": sum(len(summary.versions) for summary in summaries),
                    "size_bytes": sum(summary.size_bytes for summary in summaries),
                    "full_fine_tunes": fine_tunes,
                    "full_fine_tunes_bytes": as_full,
                },
            }
        )
    elif not summaries:
        of_org = f"of organisation '{org}' " if org else ""
        print_text(f"There are no adapters {of_org}here; `models fine-tune` makes one.")
    else:
        columns = ("adapter", ">active", "versions", ">size", "trained", "on", ">loss", ">of base")
        print_table(columns, [_row(summary) for summary in summaries])
        _print_problems(summaries)
        _print_saving(summaries, sizes, as_full, fine_tunes)


def _facts(summary: AdapterSummary) -> dict[str, Any]:
    return {
        "name": summary.name,
        "org": summary.shown.org,
        "in_use": summary.active,
        "size_bytes": summary.size_bytes,
        "problem": summary.problem,
        "versions": [
            asdict(version)
            | {"evaluation": _figures(version), "in_use": version.number == summary.active}
            for version in summary.versions
        ],
    }


def _figures(version: VersionSummary) -> dict[str, Any] | None:
    return version.evaluation.figures_mapping() if version.evaluation else None


def _row(summary: AdapterSummary) -> tuple[str, ...]:
    shown = summary.shown
    return (
        summary.name,
        "broken" if summary.problem else f"@{summary.active}" if summary.active else "none",
        _numbers([version.number for version in summary.versions]),
        megabytes(summary.size_bytes),
        (shown.trained_at or "")[:10],
        shown.data.name if shown.data else "",
        *_losses(shown),
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


def _print_saving(
    summaries: Sequence[AdapterSummary],
    sizes: Mapping[str, WeightsSize],
    as_full: int,
    fine_tunes: int,
) -> None:
    for name, size in sizes.items():
        names = [
            summary.name
            for summary in summaries
            if summary.shown.base and summary.shown.base.name == name
        ]
        stored = "" if size.measured else ", not available locally: counted from its card, in bf16"
        print_text(f"On {name} ({megabytes(size.size_bytes)}{stored}): {', '.join(names)}")
    size_bytes = sum(summary.size_bytes for summary in summaries)
    versions = sum(len(summary.versions) for summary in summaries)
    kept = f"{counted(versions, 'version')} of {counted(len(summaries), 'adapter')}"
    print_text(f"{kept}: {megabytes(size_bytes)}.")
    if as_full:
        which = f"{fine_tunes} of them" if fine_tunes < versions else "they"
        print_text(
            f"As full fine-tunes of their bases {which} would take {megabytes(as_full)}, "
            f"{as_full / size_bytes:,.1f} times as much."
        )


def show_adapter(name: VersionName, as_json: Json = False) -> None:
    """Show the card of a version: lineage, figures, history.

    \b
    models adapters show techcorp-demo        # the active version
    models adapters show techcorp-demo@2

    \b
    JSON: {"name", "path", "in_use": bool, "pinned": bool, "size_bytes",
           "manifest": what MANIFEST.json holds, "duration_s", "rows",
           "evaluation": figures or null, "problem",
           "history": [{"sequence", "action", "from_version", "to_version", "reason", "moved_at"}]}
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
    active = adapter.active == version.number
    if as_json:
        print_json(
            {
                "name": version.name,
                "path": project.show(version.path),
                "in_use": active,
                "pinned": summary.pinned,
                "size_bytes": summary.size_bytes,
                "manifest": version.manifest.to_mapping(),
                "duration_s": summary.duration_s,
                "rows": summary.rows,
                "evaluation": _figures(summary),
                "problem": summary.problem,
                "history": [
                    {
                        key: value
                        for key, value in asdict(move).items()
                        if key not in ("adapter", "moved")
                    }
                    for move in moves
                ],
            }
        )
        return
    state = ("active" if active else "not active") + (", pinned" if summary.pinned else "")
    print_title(f"{version.name}  ({state})")
    if summary.problem:
        print_text(summary.problem)
    print_pairs(_lineage(version, summary))
    print_text()
    if summary.evaluation:
        print_evaluation(summary.evaluation)
    elif not summary.problem:
        print_text("It has no figures: it was never evaluated against its base.")
    if not moves:
        print_text("It was never active.")
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
    yield "trained", day_and_time(summary.trained_at or manifest.created_at)
    if summary.duration_s is not None:
        yield "in", f"{summary.duration_s:,.0f} s"
    yield "on", str(manifest.machine.get("description", "an unknown machine"))
    yield "settings", _settings(manifest.spec)
    yield "packages", ", ".join(f"{name} {each}" for name, each in manifest.packages.items())
    yield "commit", manifest.code_commit or "not known"
    yield "size", f"{megabytes(summary.size_bytes)} in {len(manifest.files)} files"


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
