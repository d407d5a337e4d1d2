"""Figures that a version was given after it was registered, as rows of state.db.

A version never changes, and an imported one has no figures. `models evaluate --record` measures it
and keeps the figures here, for the SHA-256 of its manifest. They stand for those that its card
lacks: wherever figures of a version are asked for, `figures_of` says which. A push stores them in
the registry beside the version, and a pull brings them. Does not know how anything is measured.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from modelyard.adapters.manifest import MANIFEST_NAME
from modelyard.adapters.training_info import load_training_info
from modelyard.adapters.versions import AdapterVersion
from modelyard.core.clock import utc_now
from modelyard.core.database import transaction
from modelyard.core.errors import InvalidInput
from modelyard.core.json_reading import InvalidJson, parse_json
from modelyard.core.layout import Project
from modelyard.core.state import open_state, read_state
from modelyard.records.evaluation import Evaluation
from modelyard.records.stored import build_stored

_COLUMNS = ("adapter", "version", "manifest", "org", "dataset", "recorded_at", "figures")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedFigures:
    """The figures of one evaluation of a version, recorded after it was registered."""

    dataset: str
    """The dataset whose evaluation rows were used."""
    recorded_at: str
    """When, UTC."""
    evaluation: Evaluation
    """The figures, without the rows' details."""

    @property
    def origin(self) -> str:
        """Where they are from, in words."""
        return f"recorded {self.recorded_at[:10]} on {self.dataset}"

    def to_mapping(self) -> dict[str, Any]:
        """What a registry stores of them."""
        return {
            "dataset": self.dataset,
            "recorded_at": self.recorded_at,
            "evaluation": self.evaluation.figures_mapping(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    dataset: str
    recorded_at: str
    evaluation: Any


def parse_recorded(values: Any, where: str) -> RecordedFigures:
    """The figures that `to_mapping` gave. Raises InvalidInput with what is wrong in them."""
    stored = build_stored(_Stored, "the figures", values, lambda _: where)
    evaluation = Evaluation.from_mapping(stored.evaluation, lambda _: where, path=("evaluation",))
    return RecordedFigures(
        dataset=stored.dataset, recorded_at=stored.recorded_at, evaluation=evaluation
    )


def figures_of(
    project: Project, version: AdapterVersion
) -> tuple[Evaluation | None, RecordedFigures | None]:
    """The figures that count for a version, and how they were recorded if the card has none.

    Of several that were recorded the newest count. Raises DamagedVersion for a damaged card.
    """
    if own := load_training_info(version.path).evaluation:
        return own, None
    recorded = recorded_figures(project, version)
    return (recorded[-1].evaluation, recorded[-1]) if recorded else (None, None)


def recorded_figures(project: Project, version: AdapterVersion) -> list[RecordedFigures]:
    """What was recorded of a version, the oldest first.

    Raises InvalidInput when a row is damaged.
    """
    rows = read_state(
        project,
        "SELECT dataset, recorded_at, figures FROM recorded_figures"
        " WHERE adapter = ? AND version = ? AND manifest = ? ORDER BY recorded_at, figures",
        (version.adapter, version.number, _manifest_digest(version)),
    )
    where = f"{project.show(project.state_db)}, figures of {version.name}"
    found = []
    for row in rows:
        try:
            figures = parse_json(row["figures"].encode())
        except InvalidJson as error:
            raise InvalidInput(error.message, where=where) from error
        values = {"dataset": row["dataset"], "recorded_at": row["recorded_at"]}
        found.append(parse_recorded({**values, "evaluation": figures}, where))
    return found


def require_recordable(version: AdapterVersion) -> None:
    """Raise InvalidInput for a version whose card has figures: those of its training count."""
    if load_training_info(version.path).evaluation:
        raise InvalidInput(
            f"{version.name} has figures of its own, from its training",
            hint="leave --record out to measure it again; its card says how it was evaluated",
        )


def record_figures(
    project: Project, version: AdapterVersion, dataset: str, evaluation: Evaluation
) -> RecordedFigures:
    """Keep the figures of an evaluation of a version that has none of its own."""
    require_recordable(version)
    new = RecordedFigures(dataset=dataset, recorded_at=utc_now(), evaluation=evaluation)
    add_recorded(project, version, [new])
    return new


def add_recorded(
    project: Project, version: AdapterVersion, recorded: Iterable[RecordedFigures]
) -> int:
    """Add figures that are not there yet, such as those of a registry; returns how many were."""
    rows = [
        (
            *(version.adapter, version.number, _manifest_digest(version), version.manifest.org),
            *(each.dataset, each.recorded_at, json.dumps(each.evaluation.figures_mapping())),
        )
        for each in recorded
    ]
    if not rows:
        return 0
    places = ", ".join("?" for _ in _COLUMNS)
    with open_state(project) as state, transaction(state):
        query = f"INSERT OR IGNORE INTO recorded_figures ({', '.join(_COLUMNS)}) VALUES ({places})"
        return sum(state.execute(query, row).rowcount for row in rows)


def _manifest_digest(version: AdapterVersion) -> str:
    return hashlib.sha256((version.path / MANIFEST_NAME).read_bytes()).hexdigest()
