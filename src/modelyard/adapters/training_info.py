"""TRAINING_INFO.md, the card of a version: its front matter is for programs, its text for people.

Also records the installed packages and the commit of this program. Does not know how a version is
trained or evaluated.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import Any, cast

import modelyard
from modelyard.adapters.manifest import DamagedVersion, Manifest
from modelyard.adapters.versions import CARD_NAME
from modelyard.core.errors import InvalidInput
from modelyard.settings.cards import load_card
from modelyard.settings.fields import settings_mapping


def render_training_info(
    manifest: Manifest,
    evaluation: Mapping[str, Any],
    *,
    rows: int,
    trained_at: str,
    duration_s: float,
    spec: Mapping[str, Any],
    base_path: Path,
) -> tuple[dict[str, Any], str]:
    """The card's front matter and body. `evaluation` has the shape that `promote.py` describes.

    rows: how many conversations it was trained on.  spec: the settings worth reading, by dotted
    names.  base_path: the folder of the base model on this machine, for the lines of Python.
    """
    front = card_front(
        manifest,
        evaluation=dict(evaluation),
        rows=rows,
        trained_at=trained_at,
        duration_s=round(duration_s, 1),
        spec=dict(spec),
    )
    return front, _body(front, base_path)


def card_front(
    manifest: Manifest,
    *,
    evaluation: Mapping[str, Any],
    rows: int | None,
    trained_at: str | None,
    duration_s: float | None,
    spec: Mapping[str, Any],
) -> dict[str, Any]:
    """The front matter of a version's card; None for what is unknown."""
    return {
        "adapter": manifest.adapter,
        "version": manifest.version,
        "base": settings_mapping(manifest.base),
        "dataset": {**settings_mapping(manifest.data), "rows": rows},
        "org": manifest.org,
        "trained_at": trained_at,
        "duration_s": duration_s,
        "parent": manifest.parent,
        "spec": spec,
        "evaluation": evaluation,
        "packages": dict(manifest.packages),
        "machine": dict(manifest.machine),
        "code_commit": manifest.code_commit,
    }


def load_facts(folder: Path) -> Mapping[str, Any]:
    """The front matter of the card of the version in `folder`.

    Raises DamagedVersion when the card cannot be read.
    """
    path = folder / CARD_NAME
    if path.is_symlink():
        raise DamagedVersion("is a link", where=str(path))
    try:
        return cast(Mapping[str, Any], load_card(path).front.value)
    except InvalidInput as error:
        raise DamagedVersion(
            error.message, where=error.where or str(path), problems=error.problems
        ) from error


def load_evaluation(folder: Path) -> Mapping[str, Any]:
    """The evaluation figures on the card of the version in `folder`; empty when it has none.

    Raises DamagedVersion when the card cannot be read or its figures are not whole.
    """
    return require_figures(load_facts(folder), where=str(folder / CARD_NAME))


def require_figures(facts: Mapping[str, Any], *, where: str) -> Mapping[str, Any]:
    """The evaluation figures in a card's front matter. Raises DamagedVersion when some are missing.

    Checks all that the promotion gate reads.
    """
    evaluation: Mapping[str, Any] = facts.get("evaluation") or {}
    if not evaluation:
        return {}
    try:
        numbers = [evaluation["rows"], evaluation["base"]["loss"], evaluation["tuned"]["loss"]]
        difference = evaluation["difference"]
        if difference["high"] is not None:
            numbers += [difference[name] for name in ("mean", "low", "high")]
        if old := evaluation.get("old"):
            numbers += [old["rows"], old["loss"]]
        complete = all(isinstance(number, (int, float)) for number in numbers) and isinstance(
            evaluation["fingerprint"], str
        )
    except (KeyError, TypeError, AttributeError):
        complete = False
    if not complete:
        raise DamagedVersion("the evaluation figures are not complete", where=where)
    return evaluation


def _body(front: Mapping[str, Any], base_path: Path) -> str:
    adapter, version = front["adapter"], front["version"]
    link = f"models/trained/{adapter}"
    parent = f", continuing {front['parent']}" if front["parent"] else ""
    return f"""\
# {adapter}, version {version}

A LoRA adapter for `{front["base"]["name"]}`, trained on {front["dataset"]["rows"]:,} \
conversations of `{front["dataset"]["name"]}` in {_duration(front["duration_s"])}{parent}. It \
holds the change to the base model, which is named above and not stored here.

## Evaluation

{_evaluation(front["evaluation"])}

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

{_table(("setting", "value"), front["spec"].items())}
"""


_SHARES = {"facts_recalled": "facts recalled", "exact_match": "exact match"}


def _evaluation(evaluation: Mapping[str, Any]) -> str:
    if not evaluation:
        return "Not evaluated."
    base, tuned = evaluation["base"], evaluation["tuned"]
    rows = [
        (_SHARES.get(name, name.replace("_", " ")), _figure(name, base[name]), _figure(name, value))
        for name, value in tuned.items()
        if name in base
    ]
    difference = evaluation["difference"]
    sentence = f"On {evaluation['rows']:,} conversations it never saw"
    if difference["high"] is None:
        sentence += "; too few for an interval."
    else:
        sentence += (
            f", the loss differs by {difference['mean']:+.3f} from the base's "
            f"(95% interval {difference['low']:+.3f} to {difference['high']:+.3f})."
        )
    return f"{_table(('', 'base', 'this version'), rows)}\n\n{sentence}"


def _figure(name: str, value: Any) -> str:
    if value is None:
        return "—"
    return f"{value:.0%}" if name in _SHARES else f"{value:,.3f}"


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
