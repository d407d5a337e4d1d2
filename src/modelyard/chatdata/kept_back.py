"""Rows that were kept for evaluation stay out of the training rows.

Preparing a dataset again with another share or other columns would else move some of them, and the
next evaluation would be of rows that the model was trained on. Knows cards and sources.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modelyard.chatdata.columns import ColumnMapping
from modelyard.chatdata.conversation import Conversation
from modelyard.chatdata.dataset import EVALUATION_FILE, question_words, written_text_column
from modelyard.chatdata.reading import read_conversations
from modelyard.chatdata.sources import RowOptions, RowSource
from modelyard.core.errors import InvalidInput
from modelyard.core.wording import counted

_FLAGS = {
    "evaluation_share": "--eval-share",
    "prompt": "--prompt",
    "answer": "--answer",
    "system": "--system",
    "label": "--label",
    "text_column": "--text-column",
}


def recorded_row_options(options: RowOptions) -> dict[str, Any]:
    """How rows become conversations, as the card records it."""
    columns = options.columns
    return {
        "prompt": columns.prompt if columns else None,
        "answer": columns.answer if columns else None,
        "system": columns.system if columns else None,
        "label": columns.label if columns else None,
        "text_column": options.text_column,
        "strip": options.strip,
    }


def require_kept_back(
    folder: Path,
    shown: str,
    old: Mapping[str, Any],
    asked: Mapping[str, Any],
    sources: Sequence[RowSource],
    train: Sequence[Conversation],
) -> None:
    """Raise InvalidInput when a row of the folder's eval.jsonl would be trained on.

    `old` is the card of the folder, `asked` what decides the new rows, `train` the new training
    rows of `sources`.
    """
    evaluation = folder / EVALUATION_FILE
    if not isinstance(old.get("files"), Mapping) or not evaluation.exists():
        return
    rows, _ = read_conversations(evaluation, text_column=written_text_column(old))
    kept = set(map(question_words, rows))
    before = old["options"] if isinstance(old.get("options"), Mapping) else {}
    differs = {
        flag: before.get(key) for key, flag in _FLAGS.items() if _differs(key, before, asked)
    }
    if set(differs) - {"--eval-share"}:
        # With other columns a row has another question: found again by its place.
        earlier = {
            row.source: row for source in sources for row in source.read(_options(before)).rows
        }
    else:
        earlier = {row.source: row for row in train}
    moved = [
        row.source
        for row in train
        if row.source in earlier and question_words(earlier[row.source]) in kept
    ]
    if moved:
        was = ", ".join(
            f"{flag} {value!r}" if value is not None else f"no {flag}"
            for flag, value in differs.items()
        )
        places = ", ".join(moved[:3]) + (", ..." if len(moved) > 3 else "")
        raise InvalidInput(
            f"would train on {counted(len(moved), 'row')} that the last run kept for evaluation "
            f"({places})",
            where=shown,
            hint=(f"the last run had {was}: repeat that, " if was else "")
            + "choose another --out, or add --force if no trained adapter was measured on them",
        )


def _differs(key: str, before: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    return bool(before.get(key) != asked["options"].get(key))


def _options(recorded: Mapping[str, Any]) -> RowOptions:
    """How the last run made conversations."""
    prompt = recorded.get("prompt")
    columns = (
        ColumnMapping(
            prompt=prompt,
            answer=recorded.get("answer"),
            system=recorded.get("system"),
            label=recorded.get("label"),
        )
        if isinstance(prompt, str)
        else None
    )
    return RowOptions(
        columns=columns,
        text_column=recorded.get("text_column"),
        strip=bool(recorded.get("strip")),
    )
