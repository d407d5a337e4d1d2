"""Datasets and evaluation rows of other programs' settings: they are prepared, not configured."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from modelyard.configs.imports.reader import Reader, number
from modelyard.secrets.detection import mask_secrets

_REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
_FILES = (".json", ".jsonl", ".csv", ".tsv", ".parquet", ".txt", ".gz", ".zst", ".arrow")
_PREPARE = "`models prepare-data FILE --out NAME`, then give --dataset NAME"


def note_sources(reader: Reader, key: str, sources: Iterable[Any], *, listed_in: str = "") -> None:
    """Say of each data set that a key names how it becomes a dataset here.

    `listed_in` is the file in which that program looks up such names.
    """
    reader.get(key)
    for source in sources:
        reader.leave_out(key, mask_secrets(_how_to_prepare(source, listed_in)))


def _how_to_prepare(source: Any, listed_in: str) -> str:
    if not isinstance(source, str) or not source:
        return f"what it names is prepared first: {_PREPARE}"
    if _exists(source):
        command = f"`models prepare-data {shlex.quote(source)} --out NAME`"
        return f"'{source}' is prepared first: {command}, then give --dataset NAME"
    if listed_in:
        return f"'{source}' is a name of {listed_in}; with the file that it names: {_PREPARE}"
    if _REPOSITORY.fullmatch(source) and not source.lower().endswith(_FILES):
        command = f"`models prepare-data hf://{source} --out NAME`"
        return f"'{source}' is a data set of the Hugging Face hub: {command}"
    return f"'{source}' is not on this machine; when it is: {_PREPARE}"


def note_eval_share(reader: Reader, key: str) -> None:
    """Say how rows are kept for evaluation; nothing when none are."""
    share = reader.read(key, number)
    if not share:
        return
    if share < 1:
        reader.leave_out(key, f"give it when preparing: `models prepare-data --eval-share {share}`")
    else:
        reader.leave_out(
            key,
            f"is a number of rows, {share:,.0f}; `models prepare-data --eval-share` takes a share",
        )


def _exists(source: str) -> bool:
    with suppress(OSError, ValueError):
        return Path(source).exists()
    return False
