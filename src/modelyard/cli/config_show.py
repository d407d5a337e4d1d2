"""`models config show`: one config as commands use it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli.options import Environment, Json, work_in_project_of
from modelyard.cli.render import print_json, print_lines
from modelyard.configs.kinds import DEFAULT_ENVIRONMENT, KINDS
from modelyard.configs.reading.given import GIVEN
from modelyard.core.seen_from import for_reader
from modelyard.core.wording import visible_text
from modelyard.results.json_form import result_of

if TYPE_CHECKING:
    from modelyard.configs.explain import Explanation
    from modelyard.core.errors import KeyPath
    from modelyard.deployments.explain import ExplainedConfig


@dataclass(frozen=True, kw_only=True)
class SettingOrigin:
    """Where the value of one setting comes from."""

    key: str
    """Its dotted key."""
    layer: str | None
    """The layer that set it, as in `models config explain`."""
    where: str | None
    """The line that set it, as `file:line:col`; null for a default."""
    revision: int | None
    """The revision with which the value went live; null for a draft and a default."""
    unread: str | None
    """Why it has no effect; null for one that has."""
    derived_from: tuple[str, ...]
    """The places of the settings that a derived value is worked out of; empty for any other."""


@dataclass(frozen=True, kw_only=True)
class ShownConfig:
    """A config or a domain, as commands use it."""

    config: str
    """KIND/NAME, or domain:NAME."""
    file: str | None
    """The draft; null for a domain, and for a config that is live without a draft."""
    environment: str | None
    """The environment."""
    revision: int | None
    """The revision that is live; null for a draft."""
    settings: Mapping[str, Any]
    """Every setting that has a value, as written, nested as in a file."""
    origins: tuple[SettingOrigin, ...]
    """Where each of them comes from."""


def show(
    config: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG", help="A config: a file, KIND/NAME, or a name; or domain:NAME."
        ),
    ],
    environment: Environment = None,
    origins: Annotated[
        bool, typer.Option("--origins", help="Say after each setting where its value comes from.")
    ] = False,
    draft: Annotated[
        bool, typer.Option("--draft", help="The file with its overlay, deployed or not.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show one config as commands in an environment use it.

    In development the draft, elsewhere what is deployed; every setting with its value, defaults
    included, as YAML that could be a file. A specialised model has the settings of its active
    profile in it, and those of its language model where it has none of its own.

    domain:NAME shows every setting that holds for a domain: which profile and which model it uses,
    their settings below `model`, the models that are tried next, the budgets.

    \b
    models config show gpt4 --env production --origins
    models config show code_analysis
    models config show domain:code_analysis --env production
    """
    from modelyard.configs.reading.catalogue import open_catalogue
    from modelyard.deployments.explain import explain_config

    chosen = environment or DEFAULT_ENVIRONMENT
    work_in_project_of([config])
    found = explain_config(open_catalogue([config]), config, chosen, draft=draft)
    if as_json:
        print_json(_shown(found))
    else:
        print_lines([visible_text("\n".join(_lines(found, origins=origins)))])


def _shown(found: ExplainedConfig) -> ShownConfig:
    return ShownConfig(
        config=found.label,
        file=found.file,
        environment=found.environment,
        revision=found.revision,
        settings=_nested(found),
        origins=tuple(
            result_of(SettingOrigin, setting, derived_from=setting.derived_from)
            for setting in _set(found)
        ),
    )


def _set(found: ExplainedConfig) -> list[Explanation]:
    """The settings that have a value."""
    return [setting for setting in found.settings if setting.value is not None]


def _nested(found: ExplainedConfig) -> dict[str, Any]:
    """The settings as a file has them, with the name where files of the kind have one."""
    kind = KINDS.get(found.kind)
    values: dict[str, Any] = {"name": found.name} if kind and not kind.single else {}
    for setting in _set(found):
        inner: Any = values
        for step, following in zip(setting.path, (*setting.path[1:], None), strict=True):
            if following is None:
                _put(inner, step, setting.value)
            else:
                inner = _put(inner, step, [] if isinstance(following, int) else {})
    return values


def _put(inside: Any, step: str | int, value: Any) -> Any:
    """What stands at a key or a place of a list, `value` if there is nothing yet."""
    if isinstance(inside, dict):
        return inside.setdefault(step, value)
    if len(inside) == step:
        inside.append(value)
    return inside[step]


def _lines(found: ExplainedConfig, *, origins: bool) -> Iterator[str]:
    from modelyard.settings.yaml_files import render_yaml

    yield f"# {found.label}{_state(found)}"
    yield from _unread_lines(found.settings)
    comments = {s.path: origin_text(s) for s in _set(found)} if origins else None
    yield render_yaml(_nested(found), comments=comments).rstrip("\n")


def _state(found: ExplainedConfig) -> str:
    """Which state of a config is shown, in words."""
    if found.revision is not None:
        return f" in {found.environment}: revision {found.revision}"
    if found.kind in KINDS and not KINDS[found.kind].deployable:
        return ", which every command reads as it is"
    if found.environment == DEFAULT_ENVIRONMENT:
        return f" in {found.environment}, which uses the drafts"
    return f" in {found.environment}, as its draft has it: not what is deployed"


def _unread_lines(settings: Sequence[Explanation]) -> Iterator[str]:
    """Comments that name the keys without effect; a group for all keys below it."""
    reasons: dict[str, list[str]] = {}
    for setting in settings:
        if setting.unread is None or setting.value is None:
            continue
        group = _unread_group(setting, settings)
        if group not in reasons.setdefault(setting.unread, []):
            reasons[setting.unread].append(group)
    for why, keys in reasons.items():
        words = f"Without effect: {', '.join(keys)}: {why}"
        yield from textwrap.wrap(words, 98, initial_indent="# ", subsequent_indent="#   ")


def _unread_group(setting: Explanation, settings: Sequence[Explanation]) -> str:
    """The shortest key above a setting, or its own, below which none has an effect."""
    for length in range(1, len(setting.path)):
        above = [other for other in settings if other.path[:length] == setting.path[:length]]
        if all(other.unread == setting.unread for other in above):
            return _dotted(setting.path[:length])
    return setting.key


def _dotted(path: KeyPath) -> str:
    from modelyard.core.errors import dotted

    return dotted(path)


def origin_text(setting: Explanation) -> str:
    """Where a value comes from, in one line."""
    if setting.derived_from:
        said = f"derived from {', '.join(dict.fromkeys(setting.derived_from))}"
        return said + (f", revision {setting.revision}" if setting.revision else "")
    parts: Mapping[str, bool] = {
        for_reader(setting.where or ""): bool(setting.where),
        setting.layer or "": setting.layer not in ("base", GIVEN),
        f"revision {setting.revision}": setting.revision is not None,
    }
    return ", ".join(part for part, is_said in parts.items() if is_said)
