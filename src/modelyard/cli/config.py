"""`models config explain`, `diff` and `schema`: what configs say, and what they may say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli.options import Json, complete_environment
from modelyard.cli.render import print_json, print_pairs, print_table, print_text, print_title
from modelyard.configs.kinds import KINDS
from modelyard.core.errors import InvalidInput, did_you_mean
from modelyard.core.given_paths import require_folder_place, write_given_file
from modelyard.settings.marks import NotYetRead

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
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A config: a file, KIND/NAME, or a name.")
    ],
    environment: Annotated[
        str | None,
        typer.Option(
            "--env",
            metavar="ENV",
            autocompletion=complete_environment,
            help="What commands use in this environment. Default: the file.",
        ),
    ] = None,
    draft: Annotated[
        bool,
        typer.Option("--draft", help="With --env: the file with its overlay, deployed or not."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the value of a setting, and the line that set it.

    A setting has layers: its default, the file, and the file's overlay for an environment. The last
    layer that sets it decides. Without --env the layers of all environments are shown, and the
    value is that without an overlay. A group shows all settings below it.

    With --env it is the value that commands use there: in development the draft's, elsewhere the
    deployed one. The active performance profile overrides a specialised model, and the language
    model gives what neither of them sets.

    \b
    models config explain retries.first_wait configs/language_models/gpt4_config.yaml
    models config explain model_integration.budgets integration --env production
    models config explain generation.temperature code_analysis --env development

    \b
    JSON: {"file", "kind", "name", "environment": name or null,
           "settings": [{"key", "attribute": its name in the program, with its unit,
                         "value": as written, "parsed": the number or text that the program gets,
                         "layer": "default", "base", an environment, "profile NAME",
                         "language model NAME", or null, "where",
                         "layers": [{"name", "value", "where"}], "may_be", "meaning",
                         "unread": null, or the command to come that will read it}]}
    """
    from modelyard.configs.explain import explain as explain_key
    from modelyard.configs.reading.catalogue import GivenConfigs, open_catalogue
    from modelyard.deployments.explain import explain_running

    catalogue = open_catalogue([file])
    document = catalogue.read(catalogue.locate(file))
    as_written = draft or isinstance(catalogue, GivenConfigs)
    if as_written and environment is not None:
        catalogue.environments.require(environment)
    if environment is None or as_written:
        found = explain_key(document, key, environment)
    else:
        found = explain_running(catalogue.project, document, key, environment)
    if as_json:
        print_json(
            {
                "file": document.source.name,
                "kind": document.kind.name,
                "name": document.name,
                "environment": environment,
                "settings": [asdict(setting) for setting in found],
            }
        )
    elif len(found) == 1 and found[0].key == key:
        _print_one(found[0])
    else:
        print_table(
            ("key", "value", "layer", "where"),
            [
                (
                    setting.key,
                    _shown(setting.value),
                    setting.layer or "not set",
                    setting.where or "",
                )
                for setting in found
            ],
        )
        for command in dict.fromkeys(setting.unread for setting in found if setting.unread):
            keys = [setting.key for setting in found if setting.unread == command]
            print_text(
                f"\nNo command reads {_these(keys, len(found))} yet; `models {command}` will."
            )


def _these(keys: Sequence[str], shown: int) -> str:
    """Some of the keys shown, named unless they are all of them."""
    return "these" if len(keys) == shown else ", ".join(keys)


def _print_one(setting: Explanation) -> None:
    print_title(f"{setting.key}: {_shown(setting.value)}")
    print_pairs(
        [
            *([("parsed", parsed)] if (parsed := _parsed(setting)) else []),
            ("written", _origin(setting)),
            ("meaning", setting.meaning),
            ("may be", setting.may_be),
            *([("read by", str(NotYetRead(setting.unread)))] if setting.unread else []),
        ]
    )
    print_text()
    print_table(
        ("layer", "value", "where", ""),
        [
            (
                layer.name,
                _shown(layer.value),
                layer.where or "",
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
    if setting.where:
        return setting.where
    return "nowhere: this is the default" if setting.layer else "nowhere: it is not set"


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

        print_json(build_schema(KINDS[kind]))


def _write_all(kind: str | None, every: bool, to: Path | None) -> None:
    from modelyard.configs.schema import build_schema, render_schema

    if kind is not None or not every or to is None:
        raise InvalidInput(
            "--all and --to go together, without a kind",
            hint="for one kind: `models config schema KIND > FILE`",
        )
    require_folder_place(to)
    for known in KINDS.values():
        write_given_file(to / f"{known.name}.json", render_schema(build_schema(known)))
    print_text(f"wrote {len(KINDS)} schemas to {to}")
