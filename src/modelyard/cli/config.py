"""`models config explain`, `diff` and `schema`; `config_show.py` has `models config show`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli.options import Environment, Json, complete_environment, work_in_project_of
from modelyard.cli.render import (
    print_document,
    print_json,
    print_pairs,
    print_table,
    print_text,
    print_title,
)
from modelyard.configs.kinds import DEFAULT_ENVIRONMENT, KINDS
from modelyard.core.errors import InvalidInput, did_you_mean
from modelyard.core.given_paths import require_folder_place, write_given_file
from modelyard.core.seen_from import for_reader

if TYPE_CHECKING:
    from modelyard.configs.compare import SettingChange
    from modelyard.configs.explain import Explanation


def explain(
    key: Annotated[
        str,
        typer.Argument(
            metavar="KEY", help="A dotted key, such as retries.first_wait, or a group of keys."
        ),
    ],
    config: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG",
            help="A config: a file, KIND/NAME, or a name; or domain:NAME.",
        ),
    ],
    environment: Environment = None,
    draft: Annotated[
        bool,
        typer.Option(
            "--draft", help="The file alone; with --env with its overlay, deployed or not."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the value of a setting, and the line that set it.

    It is the value that commands use in an environment: in development the draft's, elsewhere the
    deployed one, with its line in the file as it was deployed and the revision that brought it. A
    group shows all settings below it.

    A setting has layers: its default, the file, and the file's overlay for the environment. The
    last layer that sets it decides. The active performance profile overrides a specialised model,
    and the language model gives what neither of them sets; the other settings of its domain, such
    as `timeout`, can be asked for too. A value that no single line sets, such as the models that
    are tried next, is derived: it comes with every setting that it is worked out of.

    With --draft alone it is the value that the file has without an overlay, and the overlays of
    all environments are shown below it.

    \b
    models config explain retries.first_wait configs/language_models/gpt4_config.yaml
    models config explain model_integration.budgets integration --env production
    models config explain timeout code_analysis --env production
    models config explain timeout gpt4 --draft
    """
    from modelyard.configs.reading.catalogue import open_catalogue
    from modelyard.deployments.explain import explain_config

    if environment is None and not draft:
        environment = DEFAULT_ENVIRONMENT
    work_in_project_of([config])
    found = explain_config(open_catalogue([config]), config, environment, key, draft=draft)
    settings = found.settings
    if as_json:
        print_json(found)
    elif len(settings) == 1 and settings[0].key == key:
        _print_one(settings[0])
    else:
        _print_group(settings)


def _print_group(settings: Sequence[Explanation]) -> None:
    _print_origins(
        ("key", "value", "layer", "where", _REVISION),
        [
            (
                setting.key,
                _shown(setting.value),
                setting.layer or "not set",
                for_reader(setting.where or ""),
                setting.revision or "",
            )
            for setting in settings
        ],
    )
    for why in dict.fromkeys(setting.unread for setting in settings if setting.unread):
        keys = [setting.key for setting in settings if setting.unread == why]
        print_text(f"\nWithout effect: {', '.join(keys)}: {why}.")


_REVISION = ">revision"


def _print_origins(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table of values and where they come from; drafts and defaults have no revision."""
    place = columns.index(_REVISION)
    if not any(row[place] for row in rows):
        columns, *rows = ([*row[:place], *row[place + 1 :]] for row in (columns, *rows))
    print_table(columns, rows)


def _print_one(setting: Explanation) -> None:
    print_title(f"{setting.key}: {_shown(setting.value)}")
    print_pairs(
        [
            *([("parsed", parsed)] if (parsed := _parsed(setting)) else []),
            ("written", _origin(setting)),
            ("meaning", setting.meaning),
            ("may be", setting.may_be),
            *([("effect", f"none: {setting.unread}")] if setting.unread else []),
        ]
    )
    print_text()
    is_derived = any(layer.key for layer in setting.layers)
    _print_origins(
        ("setting" if is_derived else "layer", "value", "where", _REVISION, ""),
        [
            (
                f"{layer.name}: {layer.key}" if layer.key else layer.name,
                _shown(layer.value),
                for_reader(layer.where or ""),
                layer.revision or "",
                "effective" if layer.name == setting.layer else "",
            )
            for layer in setting.layers
        ],
    )


def _parsed(setting: Explanation) -> str | None:
    """The number that the program gets, where that is not what is written."""
    if setting.parsed != setting.value and isinstance(setting.parsed, (int, float)):
        return f"{setting.attribute} = {setting.parsed!r}"
    return None


def _origin(setting: Explanation) -> str:
    from modelyard.configs.explain import DEFAULT, DERIVED

    if setting.where:
        return for_reader(setting.where) + (
            f", revision {setting.revision}" if setting.revision else ""
        )
    if setting.layer is None:
        return "nowhere: it is not set"
    if setting.layer == DEFAULT:
        return "nowhere: this is the default"
    if setting.layer == DERIVED:
        return "nowhere: it is derived from the settings below"
    return setting.layer + (f", revision {setting.revision}" if setting.revision else "")


def _shown(value: Any, *, absent: str = "not set") -> str:
    from modelyard.configs.fields import show_written

    return absent if value is None else show_written(value)


def diff(
    before: Annotated[
        str,
        typer.Argument(
            metavar="BEFORE", help="CONFIG, CONFIG@ENV, or what is live: ENV, or ENV@REVISION."
        ),
    ],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="The same, for the other side.")],
    environment: Annotated[
        str | None,
        typer.Option(
            "--env",
            metavar="ENV",
            autocompletion=complete_environment,
            help="The environment of a CONFIG that names none. Default: no overlay.",
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
    """
    from modelyard.configs.reading.catalogue import open_catalogue
    from modelyard.deployments.diff import diff_configs

    work_in_project_of([before, after])
    found = diff_configs(open_catalogue([before, after]), before, after, environment=environment)
    if as_json:
        print_json(found)
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
    print_table(
        ("", "before", "after"),
        [
            (change.key, _shown(change.before, absent="—"), _shown(change.after, absent="—"))
            for change in changes
        ],
    )


def schema(
    kind: Annotated[
        str | None,
        typer.Argument(metavar="KIND", help="A kind of config. Default: list the kinds."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="The schemas of all kinds, as files in the folder --to.")
    ] = False,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to", metavar="DIR", help="With --all: the folder that gets a KIND.json for each."
        ),
    ] = None,
) -> None:
    """Print the JSON Schema of a kind of config.

    The schemas (draft-07) are for editors and other tools. A config whose first line is
    `# yaml-language-server: $schema=../schemas/KIND.json` is completed and checked as it is
    typed. They are made from the same classes that `models validate-config` checks with.

    \b
    models config schema
    models config schema language_models
    models config schema --all --to configs/schemas
    """
    if every or to is not None:
        _write_all(kind, every, to)
    elif kind is None:
        print_table(
            ("kind", "what one file says"), [(known.name, known.title) for known in KINDS.values()]
        )
    elif kind not in KINDS:
        raise InvalidInput(
            f"there is no kind of config {kind!r}{did_you_mean(kind, list(KINDS))}",
            hint="`models config schema` lists them",
        )
    else:
        from modelyard.configs.schema import build_schema

        print_document(build_schema(KINDS[kind]))


def _write_all(kind: str | None, every: bool, to: Path | None) -> None:
    from modelyard.configs.schema import build_schema
    from modelyard.settings.json_schema import render_schema

    if kind is not None or not every or to is None:
        raise InvalidInput(
            "--all and --to go together, without a kind",
            hint="for one kind: `models config schema KIND > FILE`",
        )
    require_folder_place(to)
    for known in KINDS.values():
        write_given_file(to / f"{known.name}.json", render_schema(build_schema(known)))
    print_text(f"wrote {len(KINDS)} schemas to {to}")
