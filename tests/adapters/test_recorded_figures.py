"""Figures given to a version afterwards: they count wherever figures are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from adapter_samples import BETTER, facts, fill_with
from modelyard.adapters.manifest import require_intact
from modelyard.adapters.overview import summarize_adapters
from modelyard.adapters.pointer import pointer_history
from modelyard.adapters.promote import apply_gate, promote_version
from modelyard.adapters.recorded import (
    RecordedFigures,
    add_recorded,
    figures_of,
    record_figures,
    recorded_figures,
)
from modelyard.adapters.remove import remove_adapter
from modelyard.adapters.versions import AdapterVersion, register_version
from modelyard.core.database import transaction
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project
from modelyard.core.merging import COPY, merge_copy
from modelyard.core.state import STATE_MERGES, open_state
from modelyard.records.evaluation import Evaluation, ModelFigures, PairedDifference

WORSE = replace(BETTER, tuned=ModelFigures(loss=3.2), difference=PairedDifference(0.1, -0.1, 0.3))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Project]:
    for folder in ("configs", "models/base"):
        (tmp_path / "home" / folder).mkdir(parents=True)
    yield Project(tmp_path / "home")


def add(project: Project, evaluation: Evaluation | None, run_key: str) -> AdapterVersion:
    return register_version(
        project, "demo", fill=fill_with(evaluation), provenance=facts(run_key, org="acme")
    )


def test_the_gate_and_every_list_take_figures_that_were_recorded(home: Project) -> None:
    version = add(home, None, "import/1")
    assert apply_gate(home, version) == (False, "it has not been evaluated")
    older = RecordedFigures(dataset="a", recorded_at="2026-11-01T00:00:00Z", evaluation=WORSE)
    add_recorded(home, version, [older])
    assert not apply_gate(home, version).allowed
    record_figures(home, version, "sales", BETTER)
    decision = apply_gate(home, version)
    assert decision.allowed and decision.reason.endswith(" on sales")
    (summary,) = summarize_adapters(home)
    assert summary.shown and summary.shown.evaluation == BETTER
    assert summary.shown.recorded and summary.shown.recorded.dataset == "sales"
    require_intact(version.path, version.manifest)
    promote_version(home, version, reason=decision.reason)
    assert "recorded 2" in (pointer_history(home, "demo")[0].reason or "")


def test_the_active_version_is_compared_with_by_what_was_recorded_of_it(home: Project) -> None:
    active = add(home, None, "import/1")
    record_figures(home, active, "sales", replace(BETTER, tuned=ModelFigures(loss=1.0)))
    promote_version(home, active)
    new = add(home, BETTER, "run-2")
    assert "worse than the active version: loss 1.200 against 1.000" in apply_gate(home, new).reason


def test_a_version_with_figures_of_its_own_keeps_them(home: Project) -> None:
    version = add(home, WORSE, "run-1")
    with pytest.raises(InvalidInput, match="has figures of its own"):
        record_figures(home, version, "sales", BETTER)
    assert figures_of(home, version) == (WORSE, None)


def test_a_version_of_the_same_number_with_other_files_has_none_of_them(home: Project) -> None:
    version = add(home, None, "import/1")
    record_figures(home, version, "sales", BETTER)
    manifest = version.path / "MANIFEST.json"
    manifest.chmod(0o600)
    manifest.write_bytes(manifest.read_bytes() + b" ")
    assert recorded_figures(home, version) == []


def test_the_newest_counts_and_the_same_is_added_once(home: Project) -> None:
    version = add(home, None, "import/1")
    older = RecordedFigures(dataset="a", recorded_at="2026-11-01T00:00:00Z", evaluation=WORSE)
    newer = RecordedFigures(dataset="b", recorded_at="2026-11-02T00:00:00Z", evaluation=BETTER)
    assert add_recorded(home, version, [newer, older]) == 2
    assert add_recorded(home, version, [older]) == 0
    assert figures_of(home, version) == (BETTER, newer)


def test_a_damaged_row_is_named(home: Project) -> None:
    version = add(home, None, "import/1")
    record_figures(home, version, "sales", BETTER)
    with open_state(home) as state:
        state.execute("""UPDATE recorded_figures SET figures = '{"rows": 0}'""")
    with pytest.raises(InvalidInput) as raised:
        apply_gate(home, version)
    assert "figures of demo@1" in str([raised.value.where, raised.value.problems])


def test_they_go_with_the_adapter_and_come_back_with_a_backup(home: Project) -> None:
    version = add(home, None, "import/1")
    record_figures(home, version, "sales", BETTER)
    copy = home.root / "copy.db"
    with open_state(home) as state, closing(state.execute("VACUUM INTO ?", (str(copy),))):
        pass
    remove_adapter(home, "demo")

    def merge(everything: bool, gone: bool) -> int:
        with open_state(home) as state:
            state.execute(f"ATTACH ? AS {COPY}", (str(copy),))
            with transaction(state):
                merge_copy(
                    state,
                    STATE_MERGES,
                    owners={"adapter": ["demo"]},
                    everything=everything,
                    develops=True,
                    is_gone=lambda row: gone and row["org"] == "acme" and bool(row["recorded_at"]),
                )
            return int(state.execute("SELECT count(*) FROM recorded_figures").fetchone()[0])

    assert merge(everything=True, gone=True) == 0
    assert merge(everything=False, gone=False) == 1
    assert merge(everything=True, gone=False) == 1
