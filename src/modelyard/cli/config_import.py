"""`models config import`: settings of axolotl, LLaMA-Factory or TRL as a fine-tuning config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli.options import DryRun, Json
from modelyard.cli.render import print_json, print_lines, print_text, print_title, print_warning
from modelyard.configs.imports.reader import Carried, LeftOut
from modelyard.core.layout import find_project
from modelyard.core.wording import counted, visible_line, visible_text
from modelyard.results.json_form import result_of

if TYPE_CHECKING:
    from modelyard.configs.imports.translate import Translation


@dataclass(frozen=True, kw_only=True)
class ConfigImported:
    """What a file of another program became."""

    program: str
    """The program that it is for: axolotl, LLaMA-Factory or TRL."""
    source: str
    """The file."""
    config: str
    """The config that was written, or would be."""
    written: bool
    """Whether it was; false in a dry run."""
    settings: Mapping[str, Any]
    """The settings in it, in their groups."""
    carried: tuple[Carried, ...]
    """Each setting, and the keys that it comes from."""
    left_out: tuple[LeftOut, ...]
    """The keys without a counterpart that may change the result."""
    not_needed: tuple[LeftOut, ...]
    """The keys without a counterpart on which the result does not depend."""
    base: str | None
    """The base model as the file names it; null where it names none."""
    base_is_known: bool
    """Whether the base that the config names has a card in models/base/."""


def import_config(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Settings of axolotl, LLaMA-Factory or TRL.")
    ],
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="NAME",
            help="Write configs/fine_tuning/NAME.yaml. Default: the name of the file.",
        ),
    ] = None,
    base_model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Base model to train instead of the file's."),
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="How many GPUs the settings are meant for: each has its own rows in a step. "
            "Default: 1, or what the file says.",
        ),
    ] = None,
    as_lora: Annotated[
        bool,
        typer.Option("--as-lora", help="Also translate a file that trains all weights."),
    ] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Translate settings of axolotl, LLaMA-Factory or TRL.

    Writes a fine-tuning config, configs/fine_tuning/NAME.yaml. Keys that mean the same are carried
    over; for a key that was left out the config has that program's default. Each key without a
    counterpart has a line that says why. The base model is named as this project calls it when a
    card in models/base/ has its repository. A config that exists is never replaced.

    \b
    models config import axolotl.yaml
    models config import qwen3_lora_sft.yaml --to support --base-model smollm2-135m-instruct
    """
    from modelyard.configs.imports.translate import translate
    from modelyard.configs.imports.write import (
        config_place,
        render_translation,
        write_translation,
    )

    project = find_project()
    found = translate(
        file, project=project, devices=devices, base_model=base_model, as_lora=as_lora
    )
    text = render_translation(found)
    if dry_run:
        place = config_place(project, file, to)
    else:
        place = write_translation(project, file, to, text)
    config = project.show(place)
    if as_json:
        print_json(_result(found, config, is_written=not dry_run))
        return
    _print_translation(found, config, text if dry_run else None)


def _result(found: Translation, config: str, *, is_written: bool) -> ConfigImported:
    return result_of(
        ConfigImported,
        found,
        config=config,
        written=is_written,
        settings=found.values,
        not_needed=found.needless,
    )


def _print_translation(found: Translation, config: str, text: str | None) -> None:
    """What became of the file; `text` is the config that a dry run shows, with most of it."""
    from modelyard.configs.reading.programs import called

    carried = counted(sum(bool(setting.keys) for setting in found.carried), "setting")
    if text is None:
        print_title(f"{config} holds {carried} of {called(found.program)}")
        for setting in found.carried:
            if setting.note:
                print_text(f"  {setting.to} {setting.value}: {visible_line(setting.note)}")
        if found.left_out:
            print_title("left out, and the result may depend on it")
            for left in found.left_out:
                print_text(f"  {visible_line(left.key)}: {visible_line(left.reason)}")
    else:
        print_title(f"would write {config}, with {carried} of {called(found.program)}")
        print_lines(["", *visible_text(text).rstrip().split("\n"), ""])
    if found.needless:
        print_title("not needed")
        for reason, keys in _by_reason(found.needless).items():
            print_text(f"  {', '.join(map(visible_line, keys))}: {reason}")
    if not found.base_is_known:
        named = f"'{found.base}'" if found.base else "the base"
        print_warning(
            f"no card in models/base/ is for {named}: write one, or name a base with --base-model"
        )
    print_text(f"check it: models fine-tune --dataset NAME --config {config} --check")


def _by_reason(needless: tuple[LeftOut, ...]) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for left in needless:
        reasons.setdefault(left.reason, []).append(left.key)
    return reasons
