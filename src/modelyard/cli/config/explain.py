"""`models config explain`: the value of a setting, and the file and line that set it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli.options import EnvironmentName, Json
from modelyard.cli.render import print_json, print_pairs, print_table, print_text, print_title

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.configs.explain import Explanation
    from modelyard.configs.reading.document import Document


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
        EnvironmentName | None,
        typer.Option("--env", help="What commands use in this environment. Default: the file."),
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
    deployed one. Over a specialised model lies its active performance profile, and below it its
    language model.

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
                         "layers": [{"name", "value", "where"}], "may_be", "meaning"}]}
    """
    from modelyard.configs.explain import explain as explain_key
    from modelyard.configs.reading.catalogue import GivenConfigs, open_catalogue
    from modelyard.deployments.explain import explain_running

    catalogue = open_catalogue([file])
    document = catalogue.read(catalogue.locate(file))
    if environment is None or draft or isinstance(catalogue, GivenConfigs):
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
        _print_one(document, found[0])
    else:
        _print_group(document, found)


def _print_one(document: Document, setting: Explanation) -> None:

    print_title(f"{setting.key}: {_shown(setting.value)}")
    print_pairs(
        [
            *([("parsed", parsed)] if (parsed := _parsed(setting)) else []),
            ("written", _origin(setting)),
            ("meaning", setting.meaning),
            ("may be", setting.may_be),
        ]
    )
    print_text()
    rows = [
        (
            layer.name,
            _shown(layer.value),
            layer.where or "",
            "effective" if layer.name == setting.layer else "",
        )
        for layer in setting.layers
    ]
    print_table(("layer", "value", "where", ""), rows)


def _print_group(document: Document, settings: Sequence[Explanation]) -> None:

    rows = [
        (setting.key, _shown(setting.value), setting.layer or "not set", setting.where or "")
        for setting in settings
    ]
    print_table(("key", "value", "layer", "where"), rows)


def _parsed(setting: Explanation) -> str | None:
    """What the program gets, where that is not what is written."""
    if setting.parsed is None or setting.parsed == setting.value:
        return None
    if isinstance(setting.parsed, (int, float)):
        return f"{setting.attribute} = {setting.parsed!r}"
    return None


def _origin(setting: Explanation) -> str:
    if setting.where:
        return setting.where
    return "nowhere: this is the default" if setting.layer else "nowhere: it is not set"


def _shown(value: Any) -> str:
    from modelyard.configs.fields import show_written

    return "not set" if value is None else show_written(value)
