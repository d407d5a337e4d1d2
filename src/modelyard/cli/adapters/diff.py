"""`models adapters diff`: what changed from one version to another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.adapters.versions import AdapterVersion, resolve_version
from modelyard.cli.options import Json, VersionName
from modelyard.cli.render import print_json, print_table, print_text, print_title
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project, find_project

if TYPE_CHECKING:
    from modelyard.weights.local import LocalBase


def diff(
    before: VersionName,
    after: VersionName,
    top: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, help="How many modules are shown, the most changed first."
        ),
    ] = 10,
    as_json: Json = False,
) -> None:
    """Show what differs between two versions.

    Settings, data, packages, evaluation figures and weights: for each linear module the Frobenius
    norm of its weight's change, s2·B2·A2 − s1·B1·A1, and that relative to the base's weight. Ranks
    and targets may differ. --json lists all modules.

    \b
    models adapters diff techcorp-demo@1 techcorp-demo@2
    """
    from modelyard.adapters.diff import diff_versions

    project = find_project()
    first = resolve_version(project, before)
    second = resolve_version(project, after)
    found = diff_versions(project, first, second, _locate(project, first))
    if as_json:
        print_json(found)
        return
    for name, title in _SECTIONS.items():
        changes = getattr(found, name)
        if changes:
            print_title(title)
            print_table(
                ("", first.name, second.name),
                [(change.name, _shown(change.before), _shown(change.after)) for change in changes],
            )
    if found.unmeasured:
        print_text(f"The weights were not compared: {found.unmeasured}.")
    elif not found.modules:
        print_text("The weights are equal.")
    else:
        print_title("weights")
        print_table(
            ("module", ">change", ">of the base's"),
            [
                (
                    change.module,
                    f"{change.norm:.4f}",
                    "" if change.share is None else f"{change.share:.2%}",
                )
                for change in found.modules[:top]
            ],
        )
        print_text(
            f"{len(found.modules)} modules change ({min(top, len(found.modules))} shown), "
            f"together by {found.norm:.4f} (Frobenius norm)"
        )


_SECTIONS = {
    "spec": "settings",
    "origin": "origin",
    "packages": "packages",
    "evaluation": "evaluation",
}


def _shown(value: Any) -> str:
    if value is None:
        return "—"
    if isinstance(value, float):
        return f"{value:.4g}"
    text = (
        ", ".join(str(item) for item in value) if isinstance(value, (list, tuple)) else str(value)
    )
    return f"{text[:19]}…" if text.startswith("sha256:") else text


def _locate(project: Project, version: AdapterVersion) -> LocalBase | None:
    """The base, if it is available: without it, changes are not related to its weights."""
    from modelyard.weights.local import locate_base

    try:
        base = locate_base(project, version.manifest.base.name)
    except ModelyardError:
        return None
    return base if base and base.fingerprint == version.manifest.base.fingerprint else None
