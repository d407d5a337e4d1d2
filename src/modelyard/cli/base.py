"""`models base list | show | pull`: the base models that adapters are trained on."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from modelyard.cli.options import DryRun, Json, Offline
from modelyard.cli.render import print_json, print_pairs, print_table, print_text, showing_progress
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import find_project
from modelyard.core.wording import megabytes
from modelyard.settings.fields import settings_mapping
from modelyard.weights.catalogue import BaseSource, find_base, load_catalogue
from modelyard.weights.local import LocalBase, locate_base, verify_base

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="A base model; `models base list` shows them.")
]


def list_bases(as_json: Json = False) -> None:
    """List the base models, and which are on this machine.

    \b
    models base list

    \b
    JSON: [{"name", "parameters", "summary", "licence", "at_hand": bool, "source", "path",
            "size_bytes", "fingerprint", "problem"}], null where there is nothing to say
    """
    project = find_project()
    cards = load_catalogue(project)
    rows: list[dict[str, Any]] = []
    with showing_progress() as progress:
        for card in cards.values():
            try:
                base, problem = locate_base(project, card.name, progress=progress), None
            except ModelyardError as error:
                base, problem = None, _one_line(error)
            rows.append(
                {
                    "name": card.name,
                    "parameters": card.parameters,
                    "summary": card.summary,
                    "licence": card.licence,
                    **_state(base),
                    "problem": problem,
                }
            )
    if as_json:
        print_json(rows)
        return
    if not rows:
        print_text("This project has no base models: models/base/ holds no NAME/MODEL_INFO.md.")
        return
    print_table(
        ("name", ">weights", "available", ">size", "fingerprint", "from"),
        [
            (
                row["name"],
                _count(row["parameters"]),
                "damaged" if row["problem"] else "yes" if row["at_hand"] else "no",
                megabytes(row["size_bytes"]) if row["size_bytes"] else "",
                (row["fingerprint"] or "").removeprefix("sha256:")[:12],
                " or ".join(map(_kind, cards[row["name"]].sources)),
            )
            for row in rows
        ],
    )
    for row in rows:
        if row["problem"]:
            print_text(f"{row['name']}: {row['problem']}")
    if absent := [row["name"] for row in rows if not row["at_hand"] and not row["problem"]]:
        print_text(f"Fetch one with `models base pull {absent[-1]}`.")


def show_base(
    name: Name,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every byte again and compare with the record.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what a base model is, and where it comes from.

    \b
    models base show smollm2-135m-instruct
    models base show smollm2-135m-instruct --verify

    \b
    JSON: {"name", "summary", "parameters", "licence", "context_length", "download_bytes",
           "architecture", "sources": [{"kind", ...}], "at_hand": bool, "source", "path",
           "size_bytes", "fingerprint", "verified": true or null}
    """
    project = find_project()
    card = find_base(project, name)
    name = card.name
    with showing_progress() as progress:
        base = locate_base(project, name, progress=progress)
        if verify and base is None:
            raise ModelyardError(
                f"base '{name}' is not on this machine, so there is nothing to verify",
                hint=f"run `models base pull {name}`",
            )
        if verify and base is not None:
            progress.stage(f"verify: {megabytes(base.size_bytes)} of {name}")
            verify_base(base)
    if as_json:
        sources = [{"kind": _kind(source), **asdict(source)} for source in card.sources]
        facts = settings_mapping(card) | {"sources": sources} | _state(base)
        print_json(facts | {"verified": True if verify else None})
        return
    pairs = [
        ("name", card.name),
        ("summary", card.summary),
        ("weights", f"{card.parameters:,}"),
        ("licence", card.licence),
        ("context", f"{card.context_length:,} tokens"),
        ("sources", " · ".join(str(source) for source in card.sources)),
        ("card", project.show(project.base_card(card.name))),
    ]
    if base is None:
        pairs.append(("available", f"no; `models base pull {name}` fetches it"))
    else:
        checked = ", every byte as recorded" if verify else ""
        pairs += [
            ("available", f"yes, {megabytes(base.size_bytes)}, from {base.source}{checked}"),
            ("path", str(base.path)),
            ("fingerprint", base.fingerprint),
        ]
    print_pairs(pairs)


def pull_base(
    name: Name,
    force: Annotated[
        bool, typer.Option("--force", help="Fetch and build it again, even when it is there.")
    ] = False,
    offline: Offline = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Fetch a base model, from the first source that has it.

    Nothing is fetched twice; an interrupted pull continues where it stopped.

    \b
    models base pull smollm2-135m-instruct
    models base pull smollm2-135m-instruct --force     # repairs a damaged one

    \b
    JSON: {"name", "changed": bool, "dry_run": bool, "at_hand": bool, "source", "path",
           "size_bytes", "fingerprint"}; in a dry run "changed" is what would happen
    """
    from modelyard.weights.pull import pull_base as pull

    project = find_project()
    card = find_base(project, name)
    name = card.name
    with showing_progress() as progress:
        found = (
            None if force else locate_base(project, name, progress=progress, remember=not dry_run)
        )
        base = found
        if found is None and not dry_run:
            base = pull(project, name, progress=progress, offline=offline, force=force)
    if as_json:
        print_json({"name": name, "changed": found is None, "dry_run": dry_run, **_state(base)})
    elif found:
        print_text(f"{name} is already available: {found.path}")
    elif base is None:
        size = f", about {megabytes(card.download_bytes)}," if card.download_bytes else ""
        tried = " · ".join(str(source) for source in card.sources)
        print_text(f"Would pull {name}{size} from the first source that has it: {tried}")
    else:
        print_text(f"{name} is available, {megabytes(base.size_bytes)} from {base.source}")
        print_text(f"  {base.path}")
        print_text(f"  {base.fingerprint}")


def _state(base: LocalBase | None) -> dict[str, Any]:
    """Where a base is on this machine, the same keys in every command's JSON."""
    return {
        "at_hand": base is not None,
        "source": base.source if base else None,
        "path": str(base.path) if base else None,
        "size_bytes": base.size_bytes if base else None,
        "fingerprint": base.fingerprint if base else None,
    }


def _kind(source: BaseSource) -> str:
    return type(source).__name__.removesuffix("Source").lower()


def _one_line(error: ModelyardError) -> str:
    return "; ".join(str(part) for part in (error, *error.problems, error.hint) if part)


def _count(parameters: int) -> str:
    return f"{parameters / 1e9:.1f} B" if parameters >= 1e9 else f"{parameters / 1e6:.1f} M"
