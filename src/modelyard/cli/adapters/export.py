"""`models adapters export`: a version in the form another program wants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from modelyard.adapters.versions import AdapterVersion, resolve_version
from modelyard.chatdata.conversation import Conversation, Message
from modelyard.cli.job_progress import showing_progress
from modelyard.cli.options import DryRun, Json, Offline, VersionName, Wait
from modelyard.cli.render import print_json, print_text
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project, find_project
from modelyard.core.seen_from import without_dots

if TYPE_CHECKING:
    from modelyard.adapters.export import Exported
    from modelyard.adapters.llama_cpp import Render

_COMPARED_ANSWERS = 64

Form = Literal["peft", "merged", "vllm", "ollama", "gguf-lora"]


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """A version that was exported, or would be."""

    version: str
    """The version, as NAME@VERSION."""
    format: Form
    """What will load it."""
    to: Path
    """The folder of the export."""
    changed: bool
    """Whether it was written; in a dry run, whether it would be."""
    dry_run: bool
    """Whether nothing was written."""
    files: tuple[str, ...]
    """The files of the export; empty in a dry run that would write them."""
    command: str | None
    """What runs it, where there is such a command."""
    parity: float | None
    """merged: the share of likeliest tokens that are equal to the adapter's."""
    tokens: int | None
    """merged: how many tokens were compared."""


def export(
    name: VersionName,
    to: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder to make; it must not exist yet.")
    ],
    form: Annotated[
        Form,
        typer.Option("--format", help="What will load it."),
    ] = "peft",
    store_as: Annotated[
        Literal["base", "bf16", "fp32"],
        typer.Option(help="The type of a merged model's weights; base: the type of its base's."),
    ] = "base",
    offline: Offline = False,
    dry_run: DryRun = False,
    wait: Wait = 0.0,
    as_json: Json = False,
) -> None:
    """Write a version in the form another program loads.

    peft: the version's files. merged: base and adapter as one transformers model, compared with the
    adapter on held-out prompts; below 99% equal likeliest tokens it fails with exit code 4 and
    leaves nothing. vllm: the files, and the line that serves them. ollama: a Modelfile and the
    adapter as GGUF. gguf-lora: the adapter as GGUF, for llama.cpp.

    \b
    models adapters export techcorp-demo --to out/vllm --format vllm
    models adapters export techcorp-demo@2 --to out/merged --format merged
    """
    from modelyard.adapters.export import (
        ExportFacts,
        describe_export,
        export_version,
        find_export,
        require_format,
        require_outside,
    )
    from modelyard.modelrefs.local_model import require_version

    project = find_project()
    version = resolve_version(project, name)
    target = without_dots(to)
    require_outside(project, target)
    require_format(version, form)
    with showing_progress() as progress:
        base = require_version(project, version, progress=progress, offline=offline).base
        if dry_run:
            done = find_export(target, describe_export(version, form))
        elif form == "merged":
            from modelyard.inference.merge import export_merged

            done = export_merged(
                project,
                version,
                base,
                target,
                _held_out(project, version),
                stored_as=store_as,
                progress=progress,
                wait_s=wait,
            )
        else:
            render, stops = _template(version)
            done = export_version(
                project, version, base, target, form, render=render, stops=stops, wait_s=wait
            )
    facts = done.facts if done else ExportFacts()
    if as_json:
        print_json(
            ExportResult(
                version=version.name,
                format=form,
                to=target,
                changed=done is None or done.made,
                dry_run=dry_run,
                files=tuple(sorted(done.record["files"]) if done else ()),
                command=facts.command,
                parity=facts.parity,
                tokens=facts.tokens,
            )
        )
    elif done is None:
        print_text(f"Would write {version.name} as {form} into the new folder {target}")
    else:
        _print_export(done, version.name, form, target)


def _print_export(done: Exported, version: str, form: str, target: Path) -> None:
    facts = done.facts
    if not done.made:
        print_text(f"{target} already holds this export of {version}; nothing to do")
    else:
        print_text(f"{version} is in {target} as {form}")
        print_text(f"  {', '.join(sorted(done.record['files']))}")
    if facts.parity is not None and facts.tokens is not None:
        print_text(f"  {facts.parity:.2%} of {facts.tokens:,} likeliest tokens are the adapter's")
    if form == "gguf-lora":
        print_text(f"  llama-server -m BASE.gguf --lora {target / 'adapter.gguf'}")
    if facts.command is not None:
        inside = f"cd {target} && " if form == "ollama" else ""
        print_text(f"{inside}{facts.command}")


def _template(version: AdapterVersion) -> tuple[Render, list[str]]:
    """The version's chat template as a function, and the texts that end a turn."""
    from modelyard.chatdata.template import ChatTokenizer

    tokenizer = ChatTokenizer.load(version.path)

    def render(turns: Sequence[tuple[str, str]]) -> str:
        messages = [Message(role, text) for role, text in turns]
        return tokenizer.render(messages, add_generation_prompt=True)

    return render, sorted(
        tokenizer.decode([token_id], skip_special_tokens=False) for token_id in tokenizer.eos_ids
    )


def _held_out(project: Project, version: AdapterVersion) -> Sequence[Conversation]:
    """The dataset's evaluation rows if it is available locally, else the built-in conversations."""
    from modelyard.chatdata.dataset import load_dataset
    from modelyard.inference.built_in import BUILT_IN

    try:
        rows = load_dataset(project, version.manifest.data.name).evaluation
    except ModelyardError:
        rows = ()
    return rows[:_COMPARED_ANSWERS] or BUILT_IN
