"""TRAINING_INFO.md: the card of a version, for people and, in its front matter, for the program.

Knows how a version is described and read back. Does not know how it was trained or evaluated.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

import modelyard
from modelyard.adapters.manifest import DamagedVersion
from modelyard.adapters.versions import CARD_NAME
from modelyard.core.errors import InvalidInput, ProblemsFound
from modelyard.settings.cards import load_card


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingFacts:
    """What the card says about how a version came about."""

    adapter: str
    """The adapter's name."""
    version: int
    """The version's number."""
    base_name: str
    """The base model's name in the catalogue."""
    base_fingerprint: str
    """The base model's fingerprint."""
    dataset_name: str
    """The dataset's name."""
    dataset_fingerprint: str
    """The dataset's fingerprint."""
    dataset_rows: int
    """How many conversations it was trained on."""
    org: str | None
    """The organisation whose data that is."""
    trained_at: str
    """When training ended, UTC."""
    duration_s: float
    """How long it took."""
    spec: Mapping[str, Any]
    """The settings worth reading: rank, learning rate, epochs and the like."""
    packages: Mapping[str, str]
    """Versions of the packages that made it."""
    machine: Mapping[str, Any]
    """The machine that made it."""
    code_commit: str | None
    """The git commit of this program, when it ran from a checkout."""
    parent: str | None = None
    """The version it continues from."""


def render_training_info(
    facts: TrainingFacts, evaluation: Mapping[str, Any], *, base_path: Path
) -> tuple[dict[str, Any], str]:
    """The card's front matter and body. `evaluation` has the shape that `promote.py` describes.

    `base_path` is the folder of the base model on this machine, for the lines of Python.
    """
    front = {
        "adapter": facts.adapter,
        "version": facts.version,
        "base": {"name": facts.base_name, "fingerprint": facts.base_fingerprint},
        "dataset": {
            "name": facts.dataset_name,
            "fingerprint": facts.dataset_fingerprint,
            "rows": facts.dataset_rows,
        },
        "org": facts.org,
        "trained_at": facts.trained_at,
        "duration_s": round(facts.duration_s, 1),
        "parent": facts.parent,
        "spec": dict(facts.spec),
        "evaluation": dict(evaluation),
        "packages": dict(facts.packages),
        "machine": dict(facts.machine),
        "code_commit": facts.code_commit,
    }
    return front, _body(facts, evaluation, base_path)


def load_facts(folder: Path) -> Mapping[str, Any]:
    """The front matter of the card of the version in `folder`.

    Raises DamagedVersion when the card cannot be read.
    """
    path = folder / CARD_NAME
    if path.is_symlink():
        raise DamagedVersion("is a link", where=str(path))
    try:
        return cast(Mapping[str, Any], load_card(path).front.value)
    except ProblemsFound as error:
        raise DamagedVersion(error.message, where=str(path), problems=error.problems) from error
    except InvalidInput as error:
        raise DamagedVersion(error.message, where=error.where or str(path)) from error


def load_evaluation(folder: Path) -> Mapping[str, Any]:
    """The evaluation figures on the card of the version in `folder`; empty when it has none.

    Raises DamagedVersion when the card cannot be read or its figures are not whole.
    """
    return require_figures(load_facts(folder), where=str(folder / CARD_NAME))


def require_figures(facts: Mapping[str, Any], *, where: str) -> Mapping[str, Any]:
    """The evaluation figures in a card's front matter. Raises DamagedVersion if not whole."""
    try:
        evaluation = facts.get("evaluation") or {}
        if evaluation:
            _require_whole(evaluation)
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedVersion("the evaluation figures are not whole", where=where) from error
    return cast(Mapping[str, Any], evaluation)


def _require_whole(evaluation: Mapping[str, Any]) -> None:
    """Fail unless what the promotion gate reads is there."""
    numbers = [evaluation["rows"], evaluation["base"]["loss"], evaluation["tuned"]["loss"]]
    difference = evaluation["difference"]
    if difference["high"] is not None:
        numbers += [difference[name] for name in ("mean", "low", "high")]
    if old := evaluation.get("old"):
        numbers += [old["rows"], old["loss"]]
    if not all(isinstance(number, (int, float)) for number in numbers):
        raise TypeError
    if not isinstance(evaluation["fingerprint"], str):
        raise TypeError


def _body(facts: TrainingFacts, evaluation: Mapping[str, Any], base_path: Path) -> str:
    link = f"models/trained/{facts.adapter}"
    parent = f", continuing {facts.parent}" if facts.parent else ""
    return f"""\
# {facts.adapter}, version {facts.version}

A LoRA adapter for `{facts.base_name}`, trained on {facts.dataset_rows:,} conversations of \
`{facts.dataset_name}` in {_duration(facts.duration_s)}{parent}. It holds what was learned; the \
base model is named above and not stored here.

## Evaluation

{_evaluation(evaluation)}

## Use

```sh
models generate --adapter {facts.adapter}@{facts.version} "Your question"
```

Without `@{facts.version}`, the active version answers. It is also what plain PEFT loads, from the \
project's folder:

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained({json.dumps(str(base_path))}, dtype="auto")
model = PeftModel.from_pretrained(base, "{link}")
tokenizer = AutoTokenizer.from_pretrained("{link}")
```

## Go back

Versions never change, and `{link}` is a link to the active one. To use again what was active \
before, or version N:

```sh
models adapters rollback {facts.adapter}
models adapters rollback {facts.adapter} --to N
```

## Training

{_table(("setting", "value"), facts.spec.items())}
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
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def source_commit(source: Path | None = None) -> str | None:
    """The git commit this program runs from, with `-dirty` when its files differ from it.

    None when the source (default: this package) is not tracked by git, as in an installed wheel,
    even if that lies inside somebody's repository.
    """
    folder = source or Path(modelyard.__file__).parent
    if _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    commit = _git(folder, "rev-parse", "HEAD")
    changes = _git(folder, "status", "--porcelain", "--", ".")
    return f"{commit}-dirty" if commit and changes else commit


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
