"""`models config diff`: what differs between two configs, revisions or environments."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli.options import EnvironmentName, Json
from modelyard.cli.render import print_json, print_table, print_text, print_title

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.configs.compare import SettingChange


def diff(
    before: Annotated[
        str,
        typer.Argument(
            metavar="BEFORE", help="CONFIG, CONFIG@ENV, or what is live: ENV, or ENV@REVISION."
        ),
    ],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="The same, for the other side.")],
    environment: Annotated[
        EnvironmentName | None,
        typer.Option(
            "--env", help="The environment of a CONFIG that names none. Default: no overlay."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what differs, setting by setting.

    A CONFIG is a file, KIND/NAME or a name; CONFIG@ENV is the same with the overlay of an
    environment. ENV is what is live there, ENV@REVISION what was live with that revision. A config
    beside an environment is compared with what is live of it.

    Compares resolved values, defaults included: `60 seconds` and `1 min` are equal, and so are a
    default and the same value written out.

    \b
    models config diff gpt4 claude
    models config diff gpt4@development gpt4@production
    models config diff production@3 production@5
    models config diff gpt4 production

    \b
    JSON: {"before", "after",
           "configs": [{"config", "change": "added", "changed" or "removed",
                        "settings": [{"key", "change", "before", "after"}]}],
           "profiles": [{"key": domain, "change", "before", "after"}]}
    """
    from modelyard.configs.reading.catalogue import open_catalogue
    from modelyard.deployments.diff import diff_configs

    found = diff_configs(open_catalogue([before, after]), before, after, environment=environment)
    if as_json:
        print_json(asdict(found))
        return
    if not found.configs and not found.profiles:
        print_text(f"{found.before} and {found.after} are the same.")
        return
    print_text(f"from {found.before} to {found.after}")
    for config in found.configs:
        if config.change == "changed":
            print_title(config.config)
            _print_changes(config.settings)
        else:
            print_title(f"{config.config}  {config.change}")
    if found.profiles:
        print_title("profiles chosen by switch-config")
        _print_changes(found.profiles)


def _print_changes(changes: Sequence[SettingChange]) -> None:

    rows = [(change.key, _shown(change.before), _shown(change.after)) for change in changes]
    print_table(("", "before", "after"), rows)


def _shown(value: Any) -> str:
    from modelyard.configs.fields import show_written

    return "—" if value is None else show_written(value)
