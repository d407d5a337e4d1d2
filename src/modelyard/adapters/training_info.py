"""TRAINING_INFO.md, the card of a version: its front matter is for programs, its text for people.

Also records the installed packages and the commit of this program. Does not know how a version is
trained or evaluated.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import Any

import modelyard
from modelyard.adapters.manifest import DamagedVersion, Manifest
from modelyard.adapters.versions import CARD_NAME
from modelyard.core.errors import InvalidInput
from modelyard.records.evaluation import Evaluation
from modelyard.records.stored import build_stored
from modelyard.settings.cards import load_card
from modelyard.settings.fields import settings_mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingInfo:
    """What a card says beyond the manifest; None for what is unknown."""

    rows: int | None = None
    """How many conversations the version was trained on."""
    trained_at: str | None = None
    """When, UTC."""
    duration_s: float | None = None
    """How long it took."""
    evaluation: Evaluation | None = None
    """Its figures against its base; None when it was not evaluated."""
    template_changes: tuple[str, ...] = ()
    """What the chat template changed in the conversations' texts, a line each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _DatasetRows:
    rows: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoredInfo:
    """The keys of the front matter that are read again; an empty evaluation is none."""

    dataset: _DatasetRows = _DatasetRows()
    trained_at: str | None = None
    duration_s: float | None = None
    evaluation: Any = None


def render_training_info(
    manifest: Manifest, info: TrainingInfo, *, spec: Mapping[str, Any], base_path: Path
) -> tuple[dict[str, Any], str]:
    """The card's front matter and body.

    spec: the settings worth reading, by dotted names.  base_path: the folder of the base model on
    this machine, for the lines of Python.
    """
    return card_front(manifest, info, spec=spec), _body(manifest, info, spec, base_path)


def card_front(
    manifest: Manifest, info: TrainingInfo, *, spec: Mapping[str, Any]
) -> dict[str, Any]:
    """The front matter of a version's card."""
    return {
        "adapter": manifest.adapter,
        "version": manifest.version,
        "base": settings_mapping(manifest.base),
        "dataset": {**settings_mapping(manifest.data), "rows": info.rows},
        "org": manifest.org,
        "trained_at": info.trained_at,
        "duration_s": None if info.duration_s is None else round(info.duration_s, 1),
        "parent": manifest.parent,
        "spec": dict(spec),
        "evaluation": info.evaluation.figures_mapping() if info.evaluation else {},
        "packages": dict(manifest.packages),
        "machine": dict(manifest.machine),
        "code_commit": manifest.code_commit,
    }


def load_training_info(folder: Path) -> TrainingInfo:
    """What the card of the version in `folder` says.

    Raises DamagedVersion when it cannot be read, with each value that is missing or odd.
    """
    path = folder / CARD_NAME
    if path.is_symlink():
        raise DamagedVersion("is a link", where=str(path))
    try:
        front = load_card(path).front
        stored = build_stored(_StoredInfo, "the card", front.value, front.where)
        evaluation = stored.evaluation and Evaluation.from_mapping(
            stored.evaluation, front.where, path=("evaluation",)
        )
    except InvalidInput as error:
        raise DamagedVersion(
            error.message, where=error.where or str(path), problems=error.problems
        ) from error
    return TrainingInfo(
        rows=stored.dataset.rows,
        trained_at=stored.trained_at,
        duration_s=stored.duration_s,
        evaluation=evaluation or None,
    )


def _body(manifest: Manifest, info: TrainingInfo, spec: Mapping[str, Any], base_path: Path) -> str:
    adapter, version = manifest.adapter, manifest.version
    link = f"models/trained/{adapter}"
    parent = f", continuing {manifest.parent}" if manifest.parent else ""
    return f"""\
# {adapter}, version {version}

A LoRA adapter for `{manifest.base.name}`, trained on {info.rows:,} conversations of \
`{manifest.data.name}` in {_duration(info.duration_s or 0.0)}{parent}. It holds the change \
to the base model, which is named above and not stored here.

## Evaluation

{_evaluation(info.evaluation)}

## Use

```sh
models generate --adapter {adapter}@{version} "Your question"
```

Without `@{version}`, the active version answers. It is also what plain PEFT loads, from the \
project's folder:

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained({json.dumps(str(base_path))}, dtype="auto")
model = PeftModel.from_pretrained(base, "{link}")
tokenizer = AutoTokenizer.from_pretrained("{link}")
```

## Go back

Versions never change, and `{link}` is a link to the active one. To activate the version that was \
active before, or version N:

```sh
models adapters rollback {adapter}
models adapters rollback {adapter} --to N
```

## Training

{_training(info)}{_table(("setting", "value"), spec.items())}
"""


def _training(info: TrainingInfo) -> str:
    if not info.template_changes:
        return ""
    lines = "".join(f"- {_cell(line)}\n" for line in info.template_changes)
    return f"Not all texts were trained on as they are written:\n\n{lines}\n"


def _evaluation(evaluation: Evaluation | None) -> str:
    if evaluation is None:
        return "Not evaluated."
    rows = [(row.name, row.base, row.adapter) for row in evaluation.main_rows()]
    return f"{_table(('', 'base', 'this version'), rows)}\n\n{evaluation.summary}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _table(columns: tuple[str, ...], rows: Any) -> str:
    lines = [columns, ("---",) * len(columns), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(value: Any) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")


_PACKAGES = (
    "modelyard",
    "torch",
    "transformers",
    "peft",
    "trl",
    "datasets",
    "accelerate",
    "tokenizers",
    "safetensors",
    "bitsandbytes",
    "numpy",
)
_GIT_TIMEOUT_S = 5


def installed_packages() -> dict[str, str]:
    """The versions of the packages that decide what training gives, without importing them."""
    found: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            found[name] = distribution_version(name)
        except PackageNotFoundError:
            continue
    return found


def source_commit(source: Path | None = None) -> str | None:
    """The git commit this program runs from, with `-dirty` when its files differ from it.

    None when the source (default: this package) is not tracked by git, as in an installed wheel,
    even inside another repository.
    """
    folder = source or Path(modelyard.__file__).parent
    if _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    commit = _git(folder, "rev-parse", "HEAD")
    is_changed = commit and _git(folder, "status", "--porcelain", "--", ".")
    return f"{commit}-dirty" if is_changed else commit


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints, or None when it fails or is not there."""
    # Inside a git hook these would point git at the hook's repository.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        ended = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return ended.stdout.strip()
