"""`models adapters list`: every adapter, and the space that adapters save."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli.options import Json
from modelyard.cli.render import print_json, print_table, print_text, showing_progress
from modelyard.core.layout import find_project
from modelyard.core.wording import counted, megabytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modelyard.adapters.overview import AdapterSummary, VersionSummary, WeightsSize


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
                                       "org", "parent", "evaluation": figures or null,
                                       "problem"}]}],
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
    as_full, counted = full_bytes(summaries, sizes)
    if as_json:
        print_json(
            {
                "adapters": [_facts(summary) for summary in summaries],
                "bases": {name: asdict(size) for name, size in sizes.items()},
                "total": {
                    "adapters": len(summaries),
                    "versions": sum(len(summary.versions) for summary in summaries),
                    "size_bytes": sum(summary.size_bytes for summary in summaries),
                    "full_fine_tunes": counted,
                    "full_fine_tunes_bytes": as_full,
                },
            }
        )
        return
    if not summaries:
        of_org = f"of organisation '{org}' " if org else ""
        print_text(f"There are no adapters {of_org}here; `models fine-tune` makes one.")
        return
    columns = ("adapter", ">active", "versions", ">size", "trained", "on", ">loss", ">of base")
    print_table(columns, [_row(summary) for summary in summaries])
    for line in [*_problems(summaries), *_saving(summaries, sizes, as_full, counted)]:
        print_text(line)


def _facts(summary: AdapterSummary) -> dict[str, Any]:
    return {
        "name": summary.name,
        "org": summary.shown.org,
        "in_use": summary.active,
        "size_bytes": summary.size_bytes,
        "problem": summary.problem,
        "versions": [
            asdict(version) | {"in_use": version.number == summary.active}
            for version in summary.versions
        ],
    }


def _row(summary: AdapterSummary) -> tuple[str, ...]:
    shown = summary.shown
    active = "broken" if summary.problem else f"@{summary.active}" if summary.active else "none"
    return (
        summary.name,
        active,
        _numbers([version.number for version in summary.versions]),
        megabytes(summary.size_bytes),
        (shown.trained_at or "")[:10],
        shown.data.name if shown.data else "",
        *_losses(shown),
    )


def _losses(version: VersionSummary) -> tuple[str, str]:
    if version.evaluation is None:
        return "damaged" if version.problem else "not evaluated", ""
    tuned, base = (version.evaluation[who]["loss"] for who in ("tuned", "base"))
    return f"{tuned:.3f}", f"{base:.3f}"


def _numbers(numbers: Sequence[int]) -> str:
    """Numbers in ascending order, runs drawn together: `1-4, 7`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def _problems(summaries: Sequence[AdapterSummary]) -> list[str]:
    lines = [f"{summary.name}: {summary.problem}" for summary in summaries if summary.problem]
    lines += [
        f"{summary.name}@{version.number}: {version.problem}"
        for summary in summaries
        for version in summary.versions
        if version.problem
    ]
    return lines


def _saving(
    summaries: Sequence[AdapterSummary],
    sizes: Mapping[str, WeightsSize],
    as_full: int,
    fine_tunes: int,
) -> list[str]:
    lines = []
    for name, size in sizes.items():
        names = [
            summary.name
            for summary in summaries
            if summary.shown.base and summary.shown.base.name == name
        ]
        stored = "" if size.measured else ", not available locally: counted from its card, in bf16"
        lines.append(f"On {name} ({megabytes(size.size_bytes)}{stored}): {', '.join(names)}")
    size_bytes = sum(summary.size_bytes for summary in summaries)
    versions = sum(len(summary.versions) for summary in summaries)
    kept = f"{counted(versions, 'version')} of {counted(len(summaries), 'adapter')}"
    lines.append(f"{kept}: {megabytes(size_bytes)}.")
    if as_full:
        which = f"{fine_tunes} of them" if fine_tunes < versions else "they"
        lines.append(
            f"As full fine-tunes of their bases {which} would take {megabytes(as_full)}, "
            f"{as_full / size_bytes:,.1f} times as much."
        )
    return lines
