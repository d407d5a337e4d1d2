"""A version's files in the form another program wants: a folder that appears whole, in one rename.

EXPORT.json in it says what it was made from, so that the same export again is a no-op, and nothing
else is ever overwritten. Does not know how weights are merged: `inference/merge.py` does.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from modelyard.adapters.llama_cpp import (
    Render,
    build_modelfile,
    find_turn_template,
    write_gguf_lora,
)
from modelyard.adapters.lora import CONFIG_NAME, AdapterMismatch, load_lora_config
from modelyard.adapters.manifest import list_files
from modelyard.adapters.tokenizer import TEMPLATE_NAME
from modelyard.adapters.versions import AdapterVersion
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.files import exclusive_lock, staged_folder, sweep_staging, write_json
from modelyard.core.layout import Project
from modelyard.weights.local import LocalBase

Format = Literal["peft", "merged", "vllm", "ollama", "gguf-lora"]
RECORD_NAME = "EXPORT.json"
GGUF_NAME = "adapter.gguf"

_VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM's --max-lora-rank takes."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A folder that an export gave."""

    folder: Path
    """Where it lies."""
    made: bool
    """False when it was there already, whole and from the same version."""
    record: Mapping[str, Any]
    """What EXPORT.json says."""


def describe_export(
    version: AdapterVersion, form: Format, options: Mapping[str, Any] | None = None
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
    """The export in `target` if it is this one, whole; None when there is nothing there.

    Raises InvalidInput when something else lies there: it is never overwritten.
    """
    try:
        if not target.exists() and not target.is_symlink():
            return None
    except OSError as error:
        raise _unwritable(target, error) from error
    record = load_record(target)
    if record is not None and all(record.get(key) == value for key, value in identity.items()):
        if record.get("files") == _hashes(target):
            return Exported(target, False, record)
        message = "holds this export, and files of it were changed since"
    elif record is not None:
        message = f"holds an export of {record.get('adapter')}@{record.get('version')} already"
    else:
        message = "exists already"
    raise InvalidInput(message, where=str(target), hint="name another folder, or remove that one")


def load_record(target: Path) -> dict[str, Any] | None:
    """What EXPORT.json in a folder says; None without a readable one."""
    try:
        record = json.loads((target / RECORD_NAME).read_bytes())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def _hashes(folder: Path) -> dict[str, str]:
    found = list_files(folder)
    return {name: entry.sha256 for name, entry in found.items() if name != RECORD_NAME}


def require_outside(project: Project, target: Path) -> None:
    """Refuse a target among the project's own models, where it would pass for one of them."""
    if target.resolve().is_relative_to(project.models.resolve()):
        raise InvalidInput(
            "lies inside the project's models/, which holds versions only",
            where=str(target),
            hint="name a folder elsewhere",
        )


@contextmanager
def staged_export(
    project: Project, target: Path, identity: Mapping[str, Any], *, wait_s: float
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A folder to fill, and the facts to add to EXPORT.json; it becomes `target` in one rename.

    When the block raises, or the process dies, `target` does not exist.
    """
    key = hashlib.sha256(str(target.resolve()).encode()).hexdigest()[:16]
    with exclusive_lock(project.lock("export", key), what=f"export to {target}", wait_s=wait_s):
        if target.parent.is_dir():
            sweep_staging(target.parent, target.name)
        facts: dict[str, Any] = {}
        try:
            with staged_folder(target) as staged:
                yield staged, facts
                record = {**identity, **facts, "files": _hashes(staged)}
                write_json(staged / RECORD_NAME, record)
        except FileExistsError:
            raise  # somebody was quicker: perhaps with the same export
        except OSError as error:
            raise _unwritable(target, error) from error


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
    identity = describe_export(version, form)
    require_outside(project, target)
    require_format(version, form)
    if found := find_export(target, identity):
        return found
    writers: dict[str, Callable[[Path, dict[str, Any]], None]] = {
        "peft": lambda staged, _: _copy_version(version, staged),
        "vllm": lambda staged, facts: _write_vllm(version, base, staged, target, facts),
        "ollama": lambda staged, facts: _write_ollama(version, base, staged, render, stops, facts),
        "gguf-lora": lambda staged, _: write_gguf_lora(
            version.path, base.path, staged / GGUF_NAME, name=version.name
        ),
    }
    try:
        with staged_export(project, target, identity, wait_s=wait_s) as (staged, facts):
            writers[form](staged, facts)
    except FileExistsError as error:
        found = find_export(target, identity)
        if found is None:
            message = f"cannot be made: {error.strerror} ({error.filename})"
            raise ModelyardError(message, where=str(target), hint="name another folder") from error
        return found
    record = load_record(target)
    assert record is not None
    return Exported(target, True, record)


def _unwritable(target: Path, error: OSError) -> ModelyardError:
    return ModelyardError(
        f"cannot be made: {error.strerror}", where=str(target), hint="name another folder"
    )


def require_format(version: AdapterVersion, form: Format) -> None:
    """Fail when a format has no place for what this adapter is."""
    config = load_lora_config(version.path / CONFIG_NAME)
    if form == "vllm" and (config.dora or config.rank_pattern or config.alpha_pattern):
        what = "a DoRA" if config.dora else "of several ranks or alphas"
        raise AdapterMismatch(
            f"is {what}, which vLLM does not load",
            where=str(version.path),
            hint="use `--format merged` and serve that",
        )
    if form == "vllm" and config.rank > _VLLM_RANKS[-1]:
        raise AdapterMismatch(
            f"has rank {config.rank}, and vLLM takes up to {_VLLM_RANKS[-1]}",
            where=str(version.path),
            hint="use `--format merged` and serve that",
        )


def vllm_command(version: AdapterVersion, base: LocalBase, folder: Path) -> str:
    """The line that serves the base and, under the adapter's name, the version in `folder`."""
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
        f"{version.adapter}={folder.absolute()}",
    ]
    if (version.path / TEMPLATE_NAME).is_file():
        words += ["--chat-template", str(folder.absolute() / TEMPLATE_NAME)]
    return shlex.join(words)


def _copy_version(version: AdapterVersion, staged: Path) -> None:
    """All files of the version, writable again: they are a copy, and the version stays."""
    for name in version.manifest.files:
        (staged / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(version.path / name, staged / name)


def _write_vllm(
    version: AdapterVersion, base: LocalBase, staged: Path, target: Path, facts: dict[str, Any]
) -> None:
    _copy_version(version, staged)
    facts["command"] = vllm_command(version, base, target)
    (staged / "serve.sh").write_text(f"#!/bin/sh\nexec {facts['command']}\n")
    (staged / "serve.sh").chmod(0o755)


def _write_ollama(
    version: AdapterVersion,
    base: LocalBase,
    staged: Path,
    render: Render,
    stops: Sequence[str],
    facts: dict[str, Any],
) -> None:
    write_gguf_lora(version.path, base.path, staged / GGUF_NAME, name=version.name)
    template = find_turn_template(render)
    text = build_modelfile(
        base=str(base.path), adapter=f"./{GGUF_NAME}", template=template, stops=stops
    )
    (staged / "Modelfile").write_text(text)
    facts["command"] = f"ollama create {version.adapter} -f Modelfile"
    facts["template"] = template is not None
