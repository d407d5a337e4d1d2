"""`models keys`: who may use the service, and for what."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.options import DryRun, Json
from modelyard.cli.render import print_json, print_lines, print_note, print_table, print_text
from modelyard.core.clock import utc_now
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project, find_project
from modelyard.core.wording import visible_line
from modelyard.settings.units import DURATION, MONEY, Quantity

if TYPE_CHECKING:
    from modelyard.access.keys import ApiKey
    from modelyard.answering.money.key_report import KeyReport

KeyId = Annotated[
    str, typer.Argument(metavar="ID", help="The id of the key, as `models keys list` shows it.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyMade:
    """A key that was made, or would be."""

    id: str | None
    """Its id; null in a dry run."""
    token: str | None
    """What clients send: it is shown this once. Null in a dry run."""
    organisation: str
    """Whose it is."""
    name: str | None
    """What it is for."""
    scopes: tuple[str, ...]
    """What it may do."""
    expires_at: str | None
    """When it stops working, UTC; null: never."""
    replaces: str | None
    """The key that it was exchanged for."""
    dry_run: bool
    """Whether nothing was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRevoked:
    """A key that was revoked, or would be."""

    id: str
    """Its id."""
    organisation: str
    """Whose it is."""
    changed: bool
    """Whether it worked until now."""
    dry_run: bool
    """Whether nothing was revoked."""


def create(
    organisation: Annotated[
        str,
        typer.Option("--org", metavar="ORG", help="Whose key it is: requests with it are theirs."),
    ],
    name: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What it is for, for the list.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="How long it works, such as 90d.")
    ] = None,
    scopes: Annotated[
        str,
        typer.Option(
            metavar="LIST", help="What it may do: chat, search, feedback, admin, with commas."
        ),
    ] = "chat,search,feedback",
    requests_per_minute: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Requests that it may send in a minute.")
    ] = None,
    per_month: Annotated[
        str | None,
        typer.Option(
            metavar="MONEY", help="What its answers may cost in a calendar month, such as $20."
        ),
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Make a key for an organisation, and show it once.

    The project keeps a salted hash of it. The organisation of a request always comes from its key.

    \b
    models keys create --org techcorp --name "their chat" --expires 90d
    """
    from modelyard.access.keys import check_key, create_key

    project = find_project()
    expires_s = _quantity(expires, DURATION, "--expires", example="90d")
    if expires_s == 0:
        raise InvalidInput("a key that has ended already is of no use", where="--expires")
    per_month_usd = _quantity(per_month, MONEY, "--per-month", example="$20")
    wanted = check_key(
        organisation,
        name=name,
        scopes=[scope.strip() for scope in scopes.split(",") if scope.strip()],
        expires_s=expires_s,
        requests_per_minute=requests_per_minute,
        per_month_usd=per_month_usd,
    )
    if dry_run:
        _show_made(wanted, None, None, as_json)
        return
    made = create_key(project, wanted)
    _show_made(made.key, made.token, None, as_json)
    _note_without_adapters(project, organisation)


def list_keys(
    organisation: Annotated[
        str | None, typer.Option("--org", metavar="ORG", help="Only this organisation's keys.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the keys, and what each spent this month.

    Their secrets are not stored.
    """
    from modelyard.answering.money.key_report import report_keys

    found = report_keys(find_project(), organisation, now_s=time.time())
    if as_json:
        print_json(found)
    elif not found:
        of_whom = "" if organisation is None else f" of {visible_line(organisation)}"
        print_text(f"There is no key{of_whom}: `models keys create --org ORG` makes one.")
    else:
        now = utc_now()
        print_table(
            ("id", "organisation", "for", "may", "made", "state", "limits", ">this month"),
            [
                (
                    key.id,
                    key.organisation,
                    key.name or "",
                    " ".join(key.scopes),
                    key.created_at[:10],
                    _state(key, now),
                    _limits(key),
                    _spent(each),
                )
                for each in found
                for key in (each.key,)
            ],
        )


def revoke(key_id: KeyId, dry_run: DryRun = False, as_json: Json = False) -> None:
    """End a key: the next request with it is refused.

    A service that runs sees it at once.
    """
    from modelyard.access.keys import find_key, revoke_key

    project = find_project()
    before = find_key(project, key_id)
    changed = before.works_at(utc_now())
    if not dry_run:
        revoke_key(project, key_id)
    result = KeyRevoked(
        id=before.id, organisation=before.organisation, changed=changed, dry_run=dry_run
    )
    if as_json:
        print_json(result)
    elif not changed:
        print_text(f"{before.id} of {before.organisation} does not work any more already.")
    else:
        print_text(f"{'would revoke' if dry_run else 'revoked'} {before.id}, {_whose(before)}")


def rotate(
    key_id: KeyId,
    overlap: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="How long the old key still works, such as 1d."),
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Exchange a key for a new one with all that it may do.

    \b
    models keys rotate 3f9c51b2a07d --overlap 1d
    """
    from modelyard.access.keys import find_key, require_working, rotate_key

    project = find_project()
    overlap_s = _quantity(overlap, DURATION, "--overlap", example="1d") or 0.0
    if dry_run:
        old = find_key(project, key_id)
        require_working(old)
        _show_made(old, None, key_id, as_json)
        return
    made = rotate_key(project, key_id, overlap_s=overlap_s)
    _show_made(made.key, made.token, key_id, as_json)


def _show_made(key: ApiKey, token: str | None, replaces: str | None, as_json: bool) -> None:
    if as_json:
        print_json(
            KeyMade(
                id=key.id if token else None,
                token=token,
                organisation=key.organisation,
                name=key.name,
                scopes=key.scopes,
                expires_at=key.expires_at,
                replaces=replaces,
                dry_run=token is None,
            )
        )
        return
    if token is None:
        print_text(f"would make a key, {_whose(key)}")
        return
    print_lines([token])
    print_note(f"key {key.id}, {_whose(key)}: it is shown this once")


def _note_without_adapters(project: Project, organisation: str) -> None:
    """Say so where nobody's adapter is of this organisation: its name may be misspelt."""
    from modelyard.adapters.overview import summarize_adapters
    from modelyard.core.errors import did_you_mean

    owners = {each.org for each in summarize_adapters(project) if each.org is not None}
    if organisation not in owners:
        near = did_you_mean(organisation, sorted(owners))
        print_note(
            f"no adapter here is of {organisation}{near}: the key may use what `service` of the "
            "integration config lets it"
        )


def _whose(key: ApiKey) -> str:
    until = f", until {key.expires_at}" if key.expires_at else ""
    return f"of {key.organisation} for {', '.join(key.scopes)}{until}"


def _state(key: ApiKey, now: str) -> str:
    if key.revoked_at is not None:
        return f"{'revoked' if key.revoked_at <= now else 'works until'} {key.revoked_at}"
    if key.expires_at is not None:
        return f"{'expired' if key.expires_at <= now else 'works until'} {key.expires_at}"
    return "works"


def _limits(key: ApiKey) -> str:
    limits = []
    if key.requests_per_minute is not None:
        limits.append(f"{key.requests_per_minute:,} a minute")
    if key.per_month_usd is not None:
        limits.append(f"{MONEY.show(key.per_month_usd)} a month")
    return ", ".join(limits)


def _spent(report: KeyReport) -> str:
    shown = MONEY.show(round(report.spent_this_month_usd, 4))
    return f"{shown}, {report.unknown_this_month} unknown" if report.unknown_this_month else shown


def _quantity(text: str | None, quantity: Quantity, where: str, *, example: str) -> float | None:
    if text is None:
        return None
    value = quantity.parse(text)
    if value is None or value < 0:
        raise InvalidInput(
            f"{text!r} is not {quantity.name}",
            where=where,
            hint=f"such as {example}",
        )
    return value
