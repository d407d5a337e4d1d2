"""`models base check`: whether the hub has newer revisions of the bases."""

from __future__ import annotations

from modelyard.cli.job_progress import showing_progress
from modelyard.cli.options import Json
from modelyard.cli.render import flush_results, print_json, print_table
from modelyard.core.errors import NoData
from modelyard.core.layout import find_project


def check_bases(as_json: Json = False) -> None:
    """Ask the hub for newer revisions of the bases.

    A base keeps the commit that its card names, and adapters belong to its weights: a newer one is
    news, and nothing is fetched or changed. The hub is asked for the hashes of the files that make
    up a base, so a commit that only changes a README is no newer revision.

    Exit code 5: the hub could not be asked for a base.

    \b
    models base check
    models base check --json
    """
    from modelyard.weights.catalogue import load_catalogue
    from modelyard.weights.newer import check_revisions

    cards = load_catalogue(find_project())
    with showing_progress() as progress:
        progress.stage("ask: the newest revisions on the hub")
        found = tuple(check_revisions(cards))
    if as_json:
        print_json(found)
    else:
        print_table(
            ("base", "state", "revision", "newest", "of", "found"),
            [
                (
                    one.base,
                    one.state,
                    (one.revision or "")[:12],
                    (one.newest or "")[:12],
                    (one.newest_at or "")[:10],
                    one.said,
                )
                for one in found
            ],
        )
    flush_results()
    if missed := [one.base for one in found if one.state == "not asked"]:
        raise NoData(
            f"the hub could not be asked for {', '.join(missed)}",
            hint="`models base check` needs a network; HF_ENDPOINT names a mirror",
        )
