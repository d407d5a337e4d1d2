"""A dataset as training and evaluation see it: checked rows on two sides, and a fingerprint.

Owns what `--dataset` accepts and what a dataset folder holds. Does not know tokens or how datasets
are prepared.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.chatdata.conversation import Conversation, conversation_row
from modelyard.chatdata.reading import SUFFIXES, read_conversations, why_unreadable
from modelyard.chatdata.splits import split_conversations
from modelyard.core.errors import Diagnostic, InvalidInput, ProblemsFound, did_you_mean
from modelyard.core.layout import Project
from modelyard.core.wording import counted
from modelyard.settings.cards import load_card

TRAIN_FILE = "train.jsonl"
EVALUATION_FILE = "eval.jsonl"
CARD_FILE = "DATASET.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatDataset:
    """The rows to learn from, and the rows to judge with."""

    name: str
    """The dataset's name; for a path, one made from its last part."""
    path: Path
    """Its folder, or the one file it was read from."""
    train: tuple[Conversation, ...]
    """The rows to learn from, in file order; never empty."""
    evaluation: tuple[Conversation, ...]
    """The rows to judge with: eval.jsonl, else a stable tenth of train."""
    fingerprint: str
    """`sha256:...` over the checked rows of both sides in order: their content, not file bytes."""
    org: str | None = None
    """Whose data it is, from DATASET.md."""
    warnings: tuple[str, ...] = ()
    """What a person should know before training on it."""


def load_dataset(project: Project, name_or_path: str) -> ChatDataset:
    """Read and check a dataset: a name in datasets/, a folder, or one file of any accepted format.

    What holds a `/` or ends as data files do is a path from the current folder; else it is a name.
    Raises ProblemsFound with every bad row of every file, InvalidInput when there is none.
    """
    path, name = _locate(project, name_or_path)
    if path.is_file():
        return _from_file(path, name, project.show(path))
    return _from_folder(project, path, name)


def fingerprint_rows(train: Sequence[Conversation], evaluation: Sequence[Conversation]) -> str:
    """`sha256:...` over the rows of both sides, in order."""
    digest = hashlib.sha256()
    for side, rows in (("train", train), ("eval", evaluation)):
        digest.update(f"{side}\n".encode())
        for row in rows:
            line = json.dumps(conversation_row(row), ensure_ascii=False, sort_keys=True)
            digest.update(line.encode() + b"\n")
    return f"sha256:{digest.hexdigest()}"


def _locate(project: Project, given: str) -> tuple[Path, str]:
    """The folder or file meant, and the dataset's name."""
    if "/" in given or given.lower().endswith(SUFFIXES):
        path = _absolute(given)
        if wrong := why_unreadable(path):
            raise InvalidInput(wrong, where=given, hint=_what_there_is(project))
        return path, _name_of(path)
    folder = project.dataset(given)
    if not folder.is_dir():
        near = did_you_mean(given, _names(project))
        raise InvalidInput(f"there is no dataset '{given}'{near}", hint=_what_there_is(project))
    project.contain(folder, "dataset")
    return folder, given


def _absolute(given: str) -> Path:
    """A path that a person typed, from the current folder."""
    try:
        path = Path(given).expanduser().absolute()
    except RuntimeError:  # the home folder of someone who is not known here
        path = Path(given).absolute()
    # Taken literally, `..` after a link means another folder than it does to the system.
    return path.resolve() if ".." in path.parts and not why_unreadable(path) else path


def _names(project: Project) -> list[str]:
    return sorted(path.parent.name for path in project.datasets.glob(f"*/{TRAIN_FILE}"))


def _what_there_is(project: Project) -> str:
    names = _names(project)
    have = f"datasets here: {', '.join(names)}" if names else "this project has no datasets yet"
    return f"{have}. `models prepare-data FILE --out datasets/NAME` makes one"


def _name_of(path: Path) -> str:
    last = path.absolute().stem if path.is_file() else path.absolute().name
    slug = re.sub(r"[^a-z0-9._-]+", "-", last.lower()).strip("-._")
    return re.sub(r"\.\.+", ".", slug)[:64] or "dataset"


def _from_file(path: Path, name: str, shown: str) -> ChatDataset:
    rows, problems = read_conversations(path, name=shown)
    _raise_problems(shown, problems)
    return _build(name, path, *_split(rows))


def _from_folder(project: Project, folder: Path, name: str) -> ChatDataset:
    shown = project.show(folder)
    inside = folder.is_relative_to(project.root)
    problems: list[Diagnostic] = []
    sides: dict[str, list[Conversation] | None] = {}
    before = _read_card(folder, shown)
    for file in (TRAIN_FILE, EVALUATION_FILE):
        path = folder / file
        if inside:
            project.contain(path, "dataset file")
        if path.exists():
            sides[file], wrong = read_conversations(path, name=f"{shown}/{file}")
            problems += wrong
        else:
            sides[file] = None
    train = sides[TRAIN_FILE]
    if train is None:
        raise InvalidInput(
            f"has no {TRAIN_FILE}",
            where=shown,
            hint="`models prepare-data` writes one",
        )
    if before != _read_card(folder, shown):
        raise InvalidInput(
            "was being written by prepare-data while it was read",
            where=shown,
            hint="run the same command again",
        )
    _raise_problems(shown, problems)
    evaluation = sides[EVALUATION_FILE]
    if evaluation is None:
        return _build(name, folder, *_split(train), card=before, card_name=f"{shown}/{CARD_FILE}")
    return _build(name, folder, train, evaluation, card=before, card_name=f"{shown}/{CARD_FILE}")


def _read_card(folder: Path, shown: str) -> dict[str, Any]:
    """The front matter of DATASET.md, empty without one. Raises InvalidInput when half written."""
    path = folder / CARD_FILE
    if not path.is_file():
        return {}
    front: dict[str, Any] = load_card(path, name=f"{shown}/{CARD_FILE}").front.value
    if front.get("unfinished"):
        raise InvalidInput(
            "prepare-data is writing this dataset, or was interrupted while it did",
            where=shown,
            hint="run the same `models prepare-data` again; its files may not belong together now",
        )
    return front


def _split(rows: Sequence[Conversation]) -> tuple[Sequence[Conversation], Sequence[Conversation]]:
    train, evaluation = split_conversations(rows)
    # A handful of rows can all fall on the evaluation side; there must be something to learn.
    return (train, evaluation) if train else (rows, ())


def _build(
    name: str,
    path: Path,
    train: Sequence[Conversation],
    evaluation: Sequence[Conversation],
    *,
    card: dict[str, Any] | None = None,
    card_name: str = CARD_FILE,
) -> ChatDataset:
    card = card or {}
    fingerprint = fingerprint_rows(train, evaluation)
    warnings: list[str] = []
    if not evaluation:
        warnings.append("there are no evaluation rows, so nothing can be evaluated")
    if card.get("fingerprint") not in (None, fingerprint):
        warnings.append(f"the rows were changed since {card_name} was written")
    org = card.get("org")
    return ChatDataset(
        name=name,
        path=path,
        train=tuple(train),
        evaluation=tuple(evaluation),
        fingerprint=fingerprint,
        org=org if isinstance(org, str) else None,
        warnings=tuple(warnings),
    )


def _raise_problems(shown: str, problems: Sequence[Diagnostic]) -> None:
    if problems:
        rows = counted(len(problems), "problem")
        raise ProblemsFound(
            f"{shown} has {rows}", problems, hint="correct them; nothing was dropped or changed"
        )
