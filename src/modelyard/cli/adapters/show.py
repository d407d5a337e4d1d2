"""`models adapters show`: the origin, figures and history of a version."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from modelyard.cli.options import Json, VersionName
from modelyard.cli.render import print_json, print_pairs, print_table, print_text, print_title
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import find_project
from modelyard.core.wording import day_and_time, megabytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from modelyard.adapters.manifest import Origin
    from modelyard.adapters.overview import VersionSummary
    from modelyard.adapters.pointer import PointerMove
    from modelyard.adapters.versions import AdapterVersion


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
    from modelyard.adapters.gc import load_pins
    from modelyard.adapters.overview import summarize_adapter
    from modelyard.adapters.pointer import pointer_history
    from modelyard.adapters.training_info import load_facts
    from modelyard.adapters.versions import resolve_version
    from modelyard.settings.fields import settings_mapping

    project = find_project()
    version = resolve_version(project, name)
    pinned = load_pins(project).get(version.adapter, {})
    adapter = summarize_adapter(project, version.adapter, pinned=pinned)
    summary = next(found for found in adapter.versions if found.number == version.number)
    try:
        facts = load_facts(version.path)
    except ModelyardError:
        facts = {}  # the summary says what is wrong with the card
    moves = [
        move
        for move in pointer_history(project, version.adapter)
        if version.number in (move.from_version, move.to_version)
    ]
    active = adapter.active == version.number
    if as_json:
        shown = ("sequence", "action", "from_version", "to_version", "reason", "moved_at")
        print_json(
            {
                "name": version.name,
                "path": project.show(version.path),
                "in_use": active,
                "pinned": summary.pinned,
                "size_bytes": summary.size_bytes,
                "manifest": settings_mapping(version.manifest),
                "duration_s": facts.get("duration_s"),
                "rows": summary.rows,
                "evaluation": summary.evaluation,
                "problem": summary.problem,
                "history": [{key: asdict(move)[key] for key in shown} for move in moves],
            }
        )
        return
    state = ["active" if active else "not active", *(["pinned"] if summary.pinned else [])]
    print_title(f"{version.name}  ({', '.join(state)})")
    if summary.problem:
        print_text(summary.problem)
    print_pairs(_lineage(version, summary, facts))
    print_text()
    if summary.evaluation:
        print_table(("", ">base", ">this version"), _figures(summary.evaluation))
        print_text(_difference(summary.evaluation))
    else:
        print_text("It has no figures: it was never evaluated against its base.")
    for line in _history(version, moves):
        print_text(line)
    print_text(f"Its card, with all settings: {project.show(version.path)}/TRAINING_INFO.md")


def _lineage(
    version: AdapterVersion, summary: VersionSummary, facts: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    manifest = version.manifest
    rows = f"{summary.rows:,} conversations of " if summary.rows is not None else ""
    yield "base", _origin(manifest.base)
    yield "data", rows + _origin(manifest.data)
    yield "organisation", manifest.org or "none"
    if manifest.parent:
        yield "continues", manifest.parent
    yield "trained", day_and_time(summary.trained_at or manifest.created_at)
    if isinstance(seconds := facts.get("duration_s"), (int, float)):
        yield "in", f"{seconds:,.0f} s"
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


def _figures(evaluation: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    base, tuned = evaluation["base"], evaluation["tuned"]
    return [
        (name.replace("_", " "), _figure(base.get(name)), _figure(value))
        for name, value in tuned.items()
    ]


def _figure(value: Any) -> str:
    return f"{value:,.3f}" if isinstance(value, (int, float)) else "—"


def _difference(evaluation: Mapping[str, Any]) -> str:
    difference = evaluation["difference"]
    seen = f"On {evaluation['rows']:,} rows it never saw"
    if difference["high"] is None:
        return f"{seen}, too few for an interval."
    return (
        f"{seen}: loss difference {difference['mean']:+.3f}, "
        f"95% interval {difference['low']:+.3f} to {difference['high']:+.3f}."
    )


def _history(version: AdapterVersion, moves: list[PointerMove]) -> Iterator[str]:
    if not moves:
        yield "It was never active."
    for move in moves:
        came = move.to_version == version.number
        verb = "became active" if came else f"was replaced by @{move.to_version}"
        why = f": {move.reason}" if move.reason else ""
        yield f"{day_and_time(move.moved_at)}  {verb} ({move.action}){why}"
