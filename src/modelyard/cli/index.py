"""`models index status`: what each search index holds, and how stale it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.options import Environment, Json, chosen_environment
from modelyard.cli.render import flush_results, print_json, print_note, print_table
from modelyard.core.errors import GateBreached, InvalidInput, NoData
from modelyard.core.layout import find_project
from modelyard.settings.units import DURATION

if TYPE_CHECKING:
    from modelyard.retrieval.status import IndexStatus


def index_status(
    index: Annotated[
        list[str] | None,
        typer.Option(
            "--domain", metavar="INDEX", help="NAME or GROUP/NAME; may be repeated. Default: all."
        ),
    ] = None,
    max_age: Annotated[
        str | None,
        typer.Option(
            "--max-age",
            metavar="DURATION",
            help="How long an index may be stale, such as `24 hours` or `0 s`.",
        ),
    ] = None,
    environment: Environment = None,
    as_json: Json = False,
) -> None:
    """Show what each search index holds, and how stale it is.

    An index is stale from the first change of a file that it does not hold yet; an index whose
    files did not change is current however old it is. Each index is read whole and checked for
    damage. A note names those whose text is mostly not English where the encoder reads only that.
    Nothing is changed.

    With --max-age, exit code 4 says that an index has been stale for longer, is missing, cannot be
    read, or was made by another encoder or chunker than the config's; without it such an index is
    shown and the exit code is 0. Exit code 5: none of the indexes is built.

    The environments of an index are those that search the same file, because their settings of
    encoder, sources, chunking and redaction are equal.

    \b
    models index status
    models index status --domain documentation --max-age "24 hours"
    """
    from modelyard.retrieval.indexes import (
        choose_indexes,
        load_indexes,
        update_command,
        where_to_declare,
    )
    from modelyard.retrieval.sharing import load_index_use
    from modelyard.retrieval.status import IndexStatuses, read_status

    max_age_s = _seconds(max_age)
    project = find_project()
    asked = chosen_environment(project, environment)
    chosen = choose_indexes(load_indexes(project, asked), index or [])
    use = load_index_use(project)
    for name, error in use.unreadable.items():
        print_note(f"note: {name} cannot be read, so what it shares is not shown: {error}")
    found = [
        read_status(project, status, environments=use.environments_of(status)) for status in chosen
    ]
    if as_json:
        print_json(IndexStatuses(indexes=tuple(found)))
    else:
        print_table(
            (
                *("domain", "state", ">files", ">chunks", ">MB", "encoder", "changed"),
                *("environments", "stale files"),
            ),
            [_row(status) for status in found],
        )
        for status in found:
            if status.language is not None:
                print_note(f"note: {status.language}")
    flush_results()
    if not found:
        raise NoData(f"no search index is declared in {asked}", hint=where_to_declare(asked))
    if all(status.state == "missing" for status in found):
        raise NoData(
            f"none of these indexes exists yet in {asked}",
            hint=update_command(index or [], asked),
        )
    if max_age_s is not None and (
        late := [status for status in found if status.breaches(max_age_s)]
    ):
        raise GateBreached(
            f"{len(late)} of {len(found)} indexes are not up to date: "
            + ", ".join(f"{status.index} ({status.state})" for status in late),
            hint=_what_to_do(late, asked),
        )


def _what_to_do(late: Sequence[IndexStatus], environment: str) -> str:
    from modelyard.retrieval.indexes import update_command

    again = any(status.state == "unreadable" for status in late)
    rebuild = ", and with --rebuild those that cannot be read" if again else ""
    return update_command([status.index for status in late], environment) + rebuild


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


def _row(status: IndexStatus) -> tuple[str, ...]:
    state = f"{status.state} ({status.reason})" if status.reason else status.state
    shared = ", ".join(status.environments)
    if status.state in ("missing", "unreadable"):
        return status.index, state, "", "", "", status.encoder, "", shared, ""
    stale = [
        f"{len(paths):,} {what}"
        for what, paths in (("new", status.new), ("changed", status.changed), ("gone", status.gone))
        if paths
    ]
    since = f", for {_long(status.stale_s)}" if stale else ""
    return (
        status.index,
        state,
        f"{status.files:,}",
        f"{status.chunks:,}",
        f"{status.size_bytes / 1e6:,.1f}",
        status.encoder,
        status.updated_at or "",
        shared,
        ", ".join(stale) + since,
    )


def _long(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.0f} s"
