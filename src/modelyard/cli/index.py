"""`models index status`: what each search index holds, and how far it is from its files."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.options import Environment, Json
from modelyard.cli.render import flush_results, print_json, print_table
from modelyard.core.errors import GateBreached, InvalidInput, NoData
from modelyard.core.layout import find_project
from modelyard.settings.units import DURATION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.retrieval.status import DomainStatus


def index_status(
    domain: Annotated[
        list[str] | None,
        typer.Option(
            "--domain", metavar="DOMAIN", help="NAME or GROUP/NAME; may be repeated. Default: all."
        ),
    ] = None,
    max_age: Annotated[
        str | None,
        typer.Option(
            "--max-age",
            metavar="DURATION",
            help="For how long an index may be out of step, such as `24 hours` or `0 s`.",
        ),
    ] = None,
    environment: Environment = None,
    as_json: Json = False,
) -> None:
    """Show what each search index holds, and what it has missed.

    An index is stale from the first change of a file that it has not taken up; one whose files rest
    is current however old it is. Each index is read whole and looked through for damage. Nothing is
    changed by looking.

    With --max-age, exit code 4 says that an index has been stale for longer, is missing, cannot be
    read, or was made by another encoder or chunker than the config's; without it such an index is
    shown and the exit code is 0. Exit code 5: none of the domains has an index.

    \b
    models index status
    models index status --domain documentation --max-age "24 hours"

    \b
    JSON: {"domains": [{"domain", "state": "current", "stale", "outdated", "missing" or
           "unreadable", "reason", "encoder", "files", "passages", "size_bytes", "updated_at",
           "stale_s", "new": [path], "changed": [path], "gone": [path]}]}
    """
    from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
    from modelyard.retrieval.domains import choose_domains, load_domains
    from modelyard.retrieval.status import read_status

    max_age_s = _seconds(max_age)
    project = find_project()
    chosen = choose_domains(load_domains(project, environment or DEFAULT_ENVIRONMENT), domain or [])
    found = [read_status(project, one) for one in chosen]
    if as_json:
        print_json({"domains": [asdict(one) for one in found]})
    else:
        print_table(
            ("domain", "state", ">files", ">passages", ">MB", "encoder", "changed", "stale files"),
            [_row(one) for one in found],
        )
    flush_results()
    if all(one.state == "missing" for one in found):
        raise NoData("none of these domains has an index", hint="models update-embeddings")
    if max_age_s is not None and (late := [one for one in found if one.breaches(max_age_s)]):
        raise GateBreached(
            f"{len(late)} of {len(found)} indexes are not in step: "
            + ", ".join(f"{one.domain} ({one.state})" for one in late),
            hint=_what_to_do(late),
        )


def _what_to_do(late: Sequence[DomainStatus]) -> str:
    chosen = " ".join(f"--domain {one.domain}" for one in late)
    again = any(one.state == "unreadable" for one in late)
    rebuild = ", and with --rebuild what stays unreadable" if again else ""
    return f"models update-embeddings {chosen}{rebuild}"


def _seconds(text: str | None) -> float | None:
    """Raises InvalidInput when the text is no duration."""

    if text is None:
        return None
    found = DURATION.parse(text)
    if found is None:
        raise InvalidInput(
            f"--max-age {text!r} is not a duration", hint="such as " + ", ".join(DURATION.examples)
        )
    return found


def _row(one: DomainStatus) -> tuple[str, ...]:
    state = f"{one.state} ({one.reason})" if one.reason else one.state
    if one.state in ("missing", "unreadable"):
        return one.domain, state, "", "", "", one.encoder, "", ""
    stale = [
        f"{len(paths):,} {what}"
        for what, paths in (("new", one.new), ("changed", one.changed), ("gone", one.gone))
        if paths
    ]
    since = f", for {_long(one.stale_s)}" if stale else ""
    return (
        one.domain,
        state,
        f"{one.files:,}",
        f"{one.passages:,}",
        f"{one.size_bytes / 1e6:,.1f}",
        one.encoder,
        one.updated_at or "",
        ", ".join(stale) + since,
    )


def _long(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.0f} s"
