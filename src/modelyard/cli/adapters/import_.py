"""`models adapters import`: import an adapter that another tool made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.job_progress import showing_progress
from modelyard.cli.options import DryRun, Json, Offline, Wait
from modelyard.cli.render import print_json, print_text, print_warning
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import find_project
from modelyard.core.seen_from import without_dots
from modelyard.core.wording import counted
from modelyard.results.json_form import result_of


@dataclass(frozen=True, kw_only=True)
class Imported:
    """An adapter that was imported, or would be."""

    version: str | None
    """The version, as NAME@VERSION; null in a dry run that would make one."""
    changed: bool
    """Whether a version was made; in a dry run, whether one would be."""
    dry_run: bool
    """Whether nothing was changed."""
    base: str
    """The base it fits."""
    org: str | None
    """The organisation whose data it was trained on."""
    files: tuple[str, ...]
    """The files of the version."""
    left_behind: tuple[str, ...]
    """The other files of the folder, which are no part of an adapter."""
    tokenizer_from: str
    """Where its tokenizer comes from: `the folder` or the base's name."""
    template_from: str
    """Where its chat template comes from: `the folder` or the base's name."""
    stated_base: str | None
    """The base that its config names; null when it names none."""
    not_checked: tuple[str, ...]
    """What was not checked, since the weights of the base are not on this machine."""
    unknown_settings: tuple[str, ...]
    """Settings of a newer PEFT in its config, which the one here ignores."""


if TYPE_CHECKING:
    from modelyard.adapters.import_ import ImportPlan


def import_adapter(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="The folder with adapter_config.json.")
    ],
    name: Annotated[
        str, typer.Option(metavar="NAME", help="The adapter that gets the new version.")
    ],
    base_model: Annotated[str, typer.Option(metavar="BASE", help="The base it was trained on.")],
    org: Annotated[
        str | None,
        typer.Option(metavar="ORG", help="The organisation whose data it was trained on."),
    ] = None,
    yes_other_base: Annotated[
        bool,
        typer.Option(
            "--yes-other-base", help="Import it for BASE although its config names another base."
        ),
    ] = False,
    without_weights: Annotated[
        bool,
        typer.Option(
            "--without-weights",
            help="Do not fetch BASE: check what its card tells, and the rest when it is here.",
        ),
    ] = False,
    offline: Offline = False,
    dry_run: DryRun = False,
    wait: Wait = 0.0,
    as_json: Json = False,
) -> None:
    """Import an adapter of PEFT, `trl sft` or another tool.

    Its files are checked like those of an adapter trained here: safetensors only (shards are
    merged), no links, every key and shape fits the base. Tokenizer and chat template come from the
    folder, else from the base. What the files do not say, such as the data, is recorded as unknown.
    Importing the same bytes again gives the same version.

    With --without-weights a base of many gigabytes need not be on this machine: shapes are compared
    with the architecture on its card, tokenizer and chat template must be in the folder, and what
    was not checked is named. `models adapters verify` checks it once the base is here.

    Models of one family have equal shapes. So an adapter whose config names another base than BASE
    is imported only with --yes-other-base; the name it had stays in the manifest.

    \b
    models adapters import out/my-lora --name support --base-model smollm2-135m-instruct
    """
    from modelyard.adapters.import_ import (
        import_adapter,
        plan_import,
        require_importable,
        require_same_org,
        require_stated_base,
    )
    from modelyard.adapters.lora import AdapterMismatch
    from modelyard.adapters.shards import with_whole_weights
    from modelyard.adapters.versions import named_adapter, version_of_run
    from modelyard.weights.catalogue import find_base
    from modelyard.weights.local import locate_base
    from modelyard.weights.pull import require_base

    project = find_project()
    name = named_adapter(name)
    require_same_org(project, name, org)
    path = without_dots(path)
    require_importable(path)  # before a base is fetched
    with showing_progress() as progress:
        base = (
            locate_base(project, base_model, progress=progress) or find_base(project, base_model)
            if without_weights
            else require_base(project, base_model, progress=progress, offline=offline)
        )
    with with_whole_weights(path) as folder:
        plan = plan_import(folder, base)
        try:
            require_stated_base(project, folder, plan)
        except AdapterMismatch as error:
            if not yes_other_base:
                raise
            print_warning(str(error).replace(str(folder), str(path)))
        _require_usable_tokenizer(plan)
        version = known = version_of_run(project, name, plan.run_key)
        if known is None and not dry_run:
            version = import_adapter(project, name, plan, org=org, wait_s=wait)
    if as_json:
        print_json(
            result_of(
                Imported,
                plan,
                version=version.name if version else None,
                changed=known is None,
                dry_run=dry_run,
                base=base.name,
                org=org,
                files=tuple(sorted(plan.files)),
                not_checked=plan.not_checked,
            )
        )
        return
    if plan.unknown_settings:
        print_warning(
            f"its config has settings that the PEFT here does not know, and ignores: "
            f"{', '.join(plan.unknown_settings)}"
        )
    if plan.not_checked:
        later = f"`models base pull {base.name}`, then `models adapters verify` checks it"
        print_warning(
            f"not checked, since the weights of {base.name} are not here: "
            f"{'; '.join(plan.not_checked)}. {later}"
        )
    if plan.left_behind:
        print_warning(f"not part of an adapter, so not imported: {', '.join(plan.left_behind)}")
    if known is not None:
        print_text(f"{known.name} already holds these files; nothing to do")
        return
    if version is None:
        print_text(
            f"Would make the next version of {name} from {counted(len(plan.files), 'file')}:"
        )
    else:
        print_text(f"{version.name} is registered, from {counted(len(plan.files), 'file')}:")
    print_text(f"  {', '.join(sorted(plan.files))}")
    print_text(f"  tokenizer from {plan.tokenizer_from}, chat template from {plan.template_from}")
    if version is not None:
        print_text(f"  ask it: models generate --adapter {version.name} 'Your question'")
        print_text(
            "  it has no figures; measure it, then promote it: "
            f"models evaluate --adapter {version.name} --dataset NAME --record"
        )


def _require_usable_tokenizer(plan: ImportPlan) -> None:
    """Raise InvalidInput unless questions can be asked with the tokenizer files of the plan."""
    from modelyard.chatdata.template import ChatTokenizer

    with TemporaryDirectory() as place:
        for name, path in plan.files.items():
            Path(place, name).symlink_to(path)
        try:
            ChatTokenizer.load(Path(place))
        except InvalidInput as error:
            # Named by where it comes from; the links are gone in a moment.
            name, *line = Path(error.where or "").name.split(":")
            error.where = ":".join([str(plan.files.get(name, name)), *line])
            raise
