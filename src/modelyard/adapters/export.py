"""A version's files in the form another program loads: a folder that appears in one rename.

Its EXPORT.json says what it was made from, so that repeating an export is a no-op, and nothing else
is ever overwritten. Does not know how weights are merged: `inference/merge.py` does.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from modelyard.adapters.llama_cpp import (
    Render,
    build_modelfile,
    find_turn_template,
    write_gguf_lora,
)
from modelyard.adapters.lora import CONFIG_NAME, AdapterMismatch, load_lora_config
from modelyard.adapters.manifest import list_files
from modelyard.adapters.stated_base import loadable_name
from modelyard.adapters.tokenizer import TEMPLATE_NAME
from modelyard.adapters.versions import AdapterVersion
from modelyard.core.errors import InvalidInput
from modelyard.core.files import lock_where_possible, staged_folder, sweep_staging, write_json
from modelyard.core.given_paths import given_path_errors
from modelyard.core.json_reading import InvalidJson, read_json, read_json_object
from modelyard.core.layout import Project
from modelyard.records.stored import build_stored
from modelyard.settings.marks import Range
from modelyard.weights.local import LocalBase

ExportFormat = Literal["peft", "merged", "vllm", "ollama", "gguf-lora"]
RECORD_NAME = "EXPORT.json"
GGUF_NAME = "adapter.gguf"

_ANOTHER_FOLDER = "name another folder, or remove that one"
_VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM's --max-lora-rank takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFacts:
    """What was found out while an export was made."""

    command: str | None = None
    """What runs it, where there is such a command."""
    parity: Annotated[float, Range(0, 1)] | None = None
    """merged: the share of likeliest tokens that are equal to the adapter's."""
    tokens: Annotated[int, Range(1)] | None = None
    """merged: how many tokens were compared."""


@dataclass(frozen=True, slots=True)
class Exported:
    """The folder of an export."""

    folder: Path
    """Its path."""
    made: bool
    """False when it was there already, complete and of the same version."""
    record: Mapping[str, Any]
    """What EXPORT.json says."""
    facts: ExportFacts
    """The part of it that people are told."""


def describe_export(
    version: AdapterVersion, form: ExportFormat, options: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What identifies an export: version, content, format and options."""
    files = json.dumps({name: entry.sha256 for name, entry in version.manifest.files.items()})
    return {
        "adapter": version.adapter,
        "version": version.number,
        "files_sha256": hashlib.sha256(files.encode()).hexdigest(),
        "base": version.manifest.base.name,
        "base_fingerprint": version.manifest.base.fingerprint,
        "format": form,
        **(options or {}),
    }


def find_export(target: Path, identity: Mapping[str, Any]) -> Exported | None:
    """The export in `target` if it is this one and intact; None when there is nothing.

    Raises InvalidInput when something else is there: it is never overwritten.
    """
    with given_path_errors(target):
        try:
            target.stat()
        except FileNotFoundError:
            if not target.is_symlink():
                return None
    try:
        record = read_json(target / RECORD_NAME)
    except InvalidJson:
        record = None
    is_export = isinstance(record, dict)
    if is_export and all(record.get(key) == value for key, value in identity.items()):
        if record.get("files") == _hashes(target):
            return Exported(target, False, record, _facts(target, record))
        message = "holds this export, and files of it were changed since"
    elif is_export:
        message = f"holds an export of {record.get('adapter')}@{record.get('version')} already"
    else:
        message = "exists already"
    raise InvalidInput(message, where=str(target), hint=_ANOTHER_FOLDER)


def _facts(target: Path, record: Mapping[str, Any]) -> ExportFacts:
    """The facts in an EXPORT.json, which people may have edited."""
    where = str(target / RECORD_NAME)
    try:
        return build_stored(ExportFacts, "what it says of the export", record, lambda _: where)
    except InvalidInput as error:
        error.hint = _ANOTHER_FOLDER
        raise


def _hashes(folder: Path) -> dict[str, str]:
    return {name: entry.sha256 for name, entry in list_files(folder).items() if name != RECORD_NAME}


def require_outside(project: Project, target: Path) -> None:
    """Refuse a target inside the project's models/, where it would be taken for a version."""
    if Path(os.path.realpath(target)).is_relative_to(project.models.resolve()):
        raise InvalidInput(
            "is inside the project's models/, which holds only versions",
            where=str(target),
            hint="name a folder elsewhere",
        )


def write_export(
    project: Project,
    target: Path,
    identity: Mapping[str, Any],
    write: Callable[[Path], Mapping[str, Any]],
    *,
    wait_s: float,
) -> Exported:
    """The export in `target`; made there, in one rename, unless it is there already.

    `write(folder)` writes the files, and returns what else EXPORT.json should say. When it raises,
    or the process dies, `target` does not exist. Raises InvalidInput when something else is there.
    """
    require_outside(project, target)
    if found := find_export(target, identity):
        return found
    key = hashlib.sha256(os.path.realpath(target).encode()).hexdigest()[:16]
    lock = project.lock("export", key)
    with lock_where_possible(lock, what=f"export to {target}", wait_s=wait_s) as alone:
        try:
            with given_path_errors(target):
                if alone and target.parent.is_dir():
                    sweep_staging(target.parent, target.name)
                with staged_folder(target) as staged:
                    facts = write(staged)
                    record = {**identity, **facts, "files": _hashes(staged)}
                    write_json(staged / RECORD_NAME, record)
        except FileExistsError:
            # Another process was first, perhaps with the same export.
            if found := find_export(target, identity):
                return found
            raise
    return Exported(target, True, record, _facts(target, record))


def export_version(
    project: Project,
    version: AdapterVersion,
    base: LocalBase,
    target: Path,
    form: Literal["peft", "vllm", "ollama", "gguf-lora"],
    *,
    render: Render,
    stops: Sequence[str],
    wait_s: float = 0.0,
) -> Exported:
    """Write the version into `target`, a folder that must not exist, in one of the small formats.

    `render` and `stops` are the version's chat template and end-of-turn texts, for ollama.
    Raises InvalidInput when `target` holds something else, ModelyardError when the format cannot
    hold this adapter or a tool is missing.
    """
    require_format(version, form)

    def write(staged: Path) -> dict[str, Any]:
        if form in ("peft", "vllm"):
            # Copies are writable again; the version stays read-only.
            for name in version.manifest.files:
                (staged / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(version.path / name, staged / name)
            _name_loadable_base(staged / CONFIG_NAME, base)
            return _write_serve_script(version, base, staged, target) if form == "vllm" else {}
        write_gguf_lora(version.path, base.path, staged / GGUF_NAME, name=version.name)
        return _write_modelfile(version, base, staged, render, stops) if form == "ollama" else {}

    return write_export(project, target, describe_export(version, form), write, wait_s=wait_s)


def _name_loadable_base(path: Path, base: LocalBase) -> None:
    """Write into an adapter_config.json what AutoPeftModelForCausalLM needs to load the base."""
    config = read_json_object(path)
    config |= loadable_name(base) | {"task_type": "CAUSAL_LM"}
    write_json(path, config)


def require_format(version: AdapterVersion, form: ExportFormat) -> None:
    """Raise AdapterMismatch when a format cannot hold this adapter."""
    config = load_lora_config(version.path / CONFIG_NAME)
    if form != "vllm":
        return
    if config.saved:
        what = "uses modules_to_save, which vLLM does not load"
    elif config.dora:
        what = "is a DoRA, which vLLM does not load"
    elif config.rank_pattern or config.alpha_pattern:
        what = "is of several ranks or alphas, which vLLM does not load"
    elif config.rank > _VLLM_RANKS[-1]:
        what = f"has rank {config.rank}, and vLLM takes up to {_VLLM_RANKS[-1]}"
    else:
        return
    raise AdapterMismatch(
        what,
        where=str(version.path),
        hint="use `--format merged` and serve that; where that is refused too, `--format peft`",
    )


def _write_serve_script(
    version: AdapterVersion, base: LocalBase, staged: Path, target: Path
) -> dict[str, Any]:
    """serve.sh: serves the base and, under the adapter's name, the version in `target`."""
    rank = load_lora_config(version.path / CONFIG_NAME).rank
    words = [
        "vllm",
        "serve",
        str(base.path),
        "--served-model-name",
        base.name,
        "--enable-lora",
        "--max-lora-rank",
        str(next(size for size in _VLLM_RANKS if size >= rank)),
        "--lora-modules",
        f"{version.adapter}={target.absolute()}",
    ]
    if (version.path / TEMPLATE_NAME).is_file():
        words += ["--chat-template", str(target.absolute() / TEMPLATE_NAME)]
    command = shlex.join(words)
    (staged / "serve.sh").write_text(f"#!/bin/sh\nexec {command}\n")
    (staged / "serve.sh").chmod(0o755)
    return {"command": command}


def _write_modelfile(
    version: AdapterVersion, base: LocalBase, staged: Path, render: Render, stops: Sequence[str]
) -> dict[str, Any]:
    template = find_turn_template(render)
    (staged / "Modelfile").write_text(
        build_modelfile(
            base=str(base.path), adapter=f"./{GGUF_NAME}", template=template, stops=stops
        )
    )
    command = f"ollama create {version.adapter} -f Modelfile"
    return {"command": command, "template": template is not None}
