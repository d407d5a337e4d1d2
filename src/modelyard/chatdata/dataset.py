"""A dataset as training and evaluation see it: training rows, evaluation rows and a fingerprint.

Owns what `--dataset` accepts, what a dataset folder holds and which rows are kept for evaluation.
Does not know tokens or how datasets are prepared.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.chatdata.conversation import WRITTEN_TEXT_KEY, Conversation, conversation_row
from modelyard.chatdata.hub_rows import HUB_PREFIX
from modelyard.chatdata.reading import SUFFIXES, read_conversations, why_unreadable
from modelyard.core.errors import Diagnostic, InvalidInput, ProblemsFound, did_you_mean
from modelyard.core.layout import Project
from modelyard.core.wording import counted, first_names
from modelyard.settings.cards import load_card

TRAIN_FILE = "train.jsonl"
EVALUATION_FILE = "eval.jsonl"
CARD_FILE = "DATASET.md"
DEFAULT_EVALUATION_SHARE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatDataset:
    """Training rows and evaluation rows."""

    name: str
    """The dataset's name; for a path, one made from its last part."""
    path: Path
    """Its folder, or the one file it was read from."""
    train: tuple[Conversation, ...]
    """The training rows, in file order; empty only in a folder that has nothing but eval.jsonl."""
    evaluation: tuple[Conversation, ...]
    """The evaluation rows: eval.jsonl, else a stable tenth of train."""
    fingerprint: str
    """`sha256:...` over the checked rows of both sides in order: their content, not file bytes."""
    org: str | None = None
    """The organisation that owns the data, from DATASET.md."""
    local_only: bool = False
    """Whether its rows may not leave this machine, from DATASET.md."""
    warnings: tuple[str, ...] = ()
    """What a person should know before training on it."""


def load_dataset(project: Project, name_or_path: str, *, for_training: bool = False) -> ChatDataset:
    """Read and check a dataset: a name in datasets/, a folder, or a file of any accepted format.

    A text with a `/`, or with a data file's suffix, is a path from the current folder; anything
    else is a name. A folder without train.jsonl holds questions to ask and is not for training.
    Raises ProblemsFound with every bad row of every file, InvalidInput when there is no dataset.
    """
    path, name = _locate(project, name_or_path)
    shown = project.show(path)
    card: dict[str, Any] = {}
    sides: dict[str, list[Conversation]] = {}
    if path.is_file():
        sides[TRAIN_FILE], problems = read_conversations(path, name=shown)
        # A file of a dataset is named by its path too, and may not leave for that.
        beside = read_dataset_card(path.parent, project.show(path.parent))
        local_only = read_local_only(beside, project.show(path.parent / CARD_FILE))
    else:
        card = _read_finished_card(path, shown)
        local_only = read_local_only(card, f"{shown}/{CARD_FILE}")
        sides, problems = _read_sides(project, path, shown, written_text_column(card))
        if TRAIN_FILE not in sides and (for_training or not sides):
            raise InvalidInput(
                f"has no {TRAIN_FILE}", where=shown, hint="`models prepare-data` writes one"
            )
        if card != _read_finished_card(path, shown):
            raise InvalidInput(
                "was being written by prepare-data while it was read",
                where=shown,
                hint="run the same command again",
            )
    if problems:
        raise ProblemsFound(
            f"{shown} has {counted(len(problems), 'problem')}",
            problems,
            hint="correct them; nothing was dropped or changed",
        )
    train, evaluation = sides.get(TRAIN_FILE, []), sides.get(EVALUATION_FILE)
    if evaluation is None and _is_without_evaluation(card):
        evaluation = []
    if evaluation is None:
        train, evaluation = split_conversations(train)
        if not train:  # of a few rows, all can fall to evaluation
            train, evaluation = evaluation, []
    fingerprint = fingerprint_rows(train, evaluation)
    warnings: list[str] = []
    if not evaluation:
        warnings.append("there are no evaluation rows, so nothing can be evaluated")
    if card.get("fingerprint") not in (None, fingerprint):
        warnings.append(f"the rows were changed since {shown}/{CARD_FILE} was written")
    org = card.get("org")
    return ChatDataset(
        name=name,
        path=path,
        train=tuple(train),
        evaluation=tuple(evaluation),
        fingerprint=fingerprint,
        org=org if isinstance(org, str) else None,
        local_only=local_only,
        warnings=tuple(warnings),
    )


def fingerprint_rows(train: Sequence[Conversation], evaluation: Sequence[Conversation]) -> str:
    """`sha256:...` over the rows of both sides, in order."""
    digest = hashlib.sha256()
    for side, rows in (("train", train), ("eval", evaluation)):
        digest.update(f"{side}\n".encode())
        for row in rows:
            line = json.dumps(conversation_row(row), ensure_ascii=False, sort_keys=True)
            digest.update(line.encode() + b"\n")
    return f"sha256:{digest.hexdigest()}"


def split_conversations(
    conversations: Sequence[Conversation], evaluation_share: float = DEFAULT_EVALUATION_SHARE
) -> tuple[list[Conversation], list[Conversation]]:
    """Training and evaluation rows, in order. A larger share only moves rows towards evaluation.

    The side depends only on the row's own first question, so a row keeps its side when the file
    grows, and the same question never lies on both sides, however it is answered.
    """
    train: list[Conversation] = []
    evaluation: list[Conversation] = []
    for conversation in conversations:
        side = evaluation if split_position(conversation) < evaluation_share else train
        side.append(conversation)
    return train, evaluation


def split_position(conversation: Conversation) -> float:
    """A number in [0, 1) from the first question; case, whitespace and punctuation do not count."""
    digest = hashlib.sha256(question_words(conversation).encode()).digest()
    return int.from_bytes(digest[:7]) / 256**7


def question_words(conversation: Conversation) -> str:
    """The words of the first question, which decide the side: rows with the same ones share it."""
    question = conversation.first_question.casefold()
    return " ".join(re.findall(r"\w+", question) or [question])


def read_dataset_card(folder: Path, shown: str) -> dict[str, Any]:
    """The front matter of DATASET.md; empty when there is none."""
    path = folder / CARD_FILE
    if not path.is_file():
        return {}
    return dict(load_card(path, name=f"{shown}/{CARD_FILE}").front.value)


def read_local_only(card: Mapping[str, Any], where: str) -> bool:
    """Whether a card says that its rows may not leave this machine.

    Raises InvalidInput when it says neither: a word that is misread must not let them out.
    """
    said = card.get("local_only")
    if said is None or isinstance(said, bool):
        return bool(said)
    raise InvalidInput(
        f"'local_only' is {said!r}, and not true or false",
        where=where,
        hint="write `local_only: true` when the rows may not leave this machine",
    )


def _is_without_evaluation(card: Mapping[str, Any]) -> bool:
    """Whether prepare-data kept no row for evaluation."""
    rows = card.get("rows")
    return isinstance(rows, Mapping) and rows.get("eval") == 0


def written_text_column(card: Mapping[str, Any]) -> str | None:
    """The key of the rows that prepare-data wrote with --text-column; None for conversations."""
    options = card.get("options")
    is_plain = isinstance(options, Mapping) and options.get("text_column") is not None
    return WRITTEN_TEXT_KEY if is_plain else None


def _locate(project: Project, given: str) -> tuple[Path, str]:
    """The folder or file that is meant, and the dataset's name."""
    if given.startswith(HUB_PREFIX):
        raise InvalidInput(
            "is on the hub; a dataset is made of it first",
            where=given,
            hint=f"models prepare-data {given} --out NAME",
        )
    if "/" in given or given.lower().endswith(SUFFIXES):
        path = _absolute(given)
        if wrong := why_unreadable(path):
            raise InvalidInput(wrong, where=given, hint=_datasets_hint(project))
        return path, _name_of(path)
    folder = project.dataset(given)
    if not folder.is_dir():
        raise InvalidInput(
            f"there is no dataset '{given}'{did_you_mean(given, _names(project))}",
            hint=_datasets_hint(project),
        )
    project.contain(folder, "dataset")
    return folder, given


def _absolute(given: str) -> Path:
    """A typed path, taken from the current folder."""
    try:
        path = Path(given).expanduser().absolute()
    except RuntimeError:  # the home folder of an unknown user
        path = Path(given).absolute()
    # `..` after a link is the parent of the link's target, as it is for the system.
    return path.resolve() if ".." in path.parts and not why_unreadable(path) else path


def _names(project: Project) -> list[str]:
    return sorted(path.parent.name for path in project.datasets.glob(f"*/{TRAIN_FILE}"))


def _datasets_hint(project: Project) -> str:
    names = _names(project)
    found = f"datasets here: {first_names(names)}" if names else "this project has no datasets yet"
    return f"{found}. `models prepare-data FILE --out datasets/NAME` makes one"


def _name_of(path: Path) -> str:
    last = path.name
    if path.is_file():
        last = last[
            : -max(len(end) for end in ("", *SUFFIXES) if last.lower().endswith(end)) or None
        ]
    slug = re.sub(r"[^a-z0-9._-]+", "-", last.lower()).strip("-._")
    return re.sub(r"\.\.+", ".", slug)[:64] or "dataset"


def _read_sides(
    project: Project, folder: Path, shown: str, text_column: str | None
) -> tuple[dict[str, list[Conversation]], list[Diagnostic]]:
    """The rows of each file that the folder has, and every problem."""
    sides: dict[str, list[Conversation]] = {}
    problems: list[Diagnostic] = []
    for file in (TRAIN_FILE, EVALUATION_FILE):
        path = folder / file
        if folder.is_relative_to(project.root):
            project.contain(path, "dataset file")
        if path.exists():
            sides[file], found = read_conversations(
                path, name=f"{shown}/{file}", text_column=text_column
            )
            problems += found
    return sides, problems


def _read_finished_card(folder: Path, shown: str) -> dict[str, Any]:
    """The card's front matter. Raises InvalidInput while the folder is half written."""
    front = read_dataset_card(folder, shown)
    if front.get("unfinished"):
        raise InvalidInput(
            "prepare-data is writing this dataset, or was interrupted while it did",
            where=shown,
            hint="run the same `models prepare-data` again; its files may not belong together now",
        )
    return front
