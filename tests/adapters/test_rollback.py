from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from sound_versions import moves, require_agreement

from killed import interruptions
from modelyard.adapters.manifest import DamagedVersion
from modelyard.adapters.pointer import PointerMove, pointer_history
from modelyard.adapters.promote import promote_version
from modelyard.adapters.rollback import earlier_versions, roll_back
from modelyard.adapters.versions import AdapterVersion, active_number, load_version
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.files import replace_link
from modelyard.core.layout import Project

Register = Callable[..., AdapterVersion]


@pytest.fixture
def used(bare_project: Project, register: Register) -> Callable[..., Project]:
    """A project in which these versions became active, one after the other."""

    def use(*numbers: int) -> Project:
        for number in range(1, max(numbers) + 1):
            register(f"run-{number}")
        for number in numbers:
            promote_version(bare_project, load_version(bare_project, "demo", number))
        return bare_project

    return use


def active_after(project: Project, steps: int) -> list[int]:
    return [roll_back(project, "demo").move.to_version for _ in range(steps)]


def history_of(*steps: str) -> list[PointerMove]:
    """A history from words such as `1+` (promoted) and `1-` (rolled back to)."""
    history: list[PointerMove] = []
    for sequence, step in enumerate(steps, 1):
        action = "rollback" if step.endswith("-") else "promote"
        before = history[-1].to_version if history else None
        history.append(
            PointerMove(
                sequence=sequence,
                adapter="demo",
                action=action,
                from_version=before,
                to_version=int(step[:-1]),
                reason=None,
                moved_at="then",
            )
        )
    return history


def test_rolling_back_uses_the_version_that_was_active_before(used: Callable[..., Project]) -> None:
    project = used(1, 3)  # 2 was never active
    done = roll_back(project, "demo", reason="a bad answer")
    assert (done.move.from_version, done.move.to_version, done.move.moved) == (3, 1, True)
    assert active_number(project, "demo") == 1
    last = pointer_history(project, "demo")[-1]
    assert (last.action, last.reason) == ("rollback", "a bad answer")


def test_rolling_back_again_goes_further_back_and_not_forth(used: Callable[..., Project]) -> None:
    project = used(1, 2, 3, 4)
    assert active_after(project, 3) == [3, 2, 1]
    with pytest.raises(ModelyardError, match="no version of demo was active before demo@1") as no:
        roll_back(project, "demo")
    assert "models adapters promote demo@V" in str(no.value.hint)
    assert active_number(project, "demo") == 1


@pytest.mark.parametrize(
    ("steps", "earlier"),
    [
        (("1+",), []),
        (("1+", "2+"), [1]),
        (("1+", "2+", "1+"), [2, 1]),
        (("1+", "2+", "1-"), []),
        (("1+", "2+", "3+", "2-"), [1]),
        (("1+", "2+", "3+", "1-"), []),
        (("1+", "2+", "3+", "2-", "4+"), [2, 1]),
        (("1+", "2+", "3+", "2-", "3-"), [2, 1]),
        (("1+", "2+", "1+", "2+", "1-"), [2, 1]),
    ],
)
def test_the_history_is_a_stack_of_what_came_into_use(
    steps: tuple[str, ...], earlier: list[int]
) -> None:
    history = history_of(*steps)
    assert earlier_versions(history, history[-1].to_version) == earlier


def test_a_link_moved_by_hand_counts_as_a_promotion(used: Callable[..., Project]) -> None:
    project = used(1, 2)
    replace_link(project.trained_link("demo"), project.adapter_version("demo", 1))
    assert roll_back(project, "demo").move.to_version == 2
    assert earlier_versions(history_of("1+", "2+"), None) == [2, 1]
    project.trained_link("demo").unlink()
    assert roll_back(project, "demo").move.to_version == 2


def test_without_a_history_there_is_nothing_to_go_back_to(used: Callable[..., Project]) -> None:
    project = used(1, 2)
    shutil.rmtree(project.local_state)
    with pytest.raises(ModelyardError, match="no version of demo was active before demo@2"):
        roll_back(project, "demo")


def test_versions_that_are_gone_are_passed_over_and_named(used: Callable[..., Project]) -> None:
    project = used(1, 2, 3)
    shutil.rmtree(project.adapter_version("demo", 2))
    done = roll_back(project, "demo")
    assert (done.move.to_version, done.skipped) == (1, (2,))
    project = used(4, 5)
    for number in (1, 4):
        shutil.rmtree(project.adapter_version("demo", number))
    with pytest.raises(ModelyardError, match=r"still here \(gone: demo@4, demo@1\)"):
        roll_back(project, "demo")


def test_a_damaged_version_is_refused_and_another_named(used: Callable[..., Project]) -> None:
    project = used(1, 2, 3)
    card = project.adapter_version("demo", 2) / "TRAINING_INFO.md"
    card.chmod(0o600)
    card.write_text("other words")
    with pytest.raises(DamagedVersion, match="is not as it was registered") as caught:
        roll_back(project, "demo")
    assert "--to 1" in str(caught.value.hint)
    assert active_number(project, "demo") == 3
    assert roll_back(project, "demo", to=1).move.to_version == 1


def test_it_goes_to_a_named_version_only_if_that_was_active(used: Callable[..., Project]) -> None:
    project = used(1, 3)
    with pytest.raises(InvalidInput, match="demo@2 was never active") as caught:
        roll_back(project, "demo", to=2)
    assert "promote demo@2" in str(caught.value.hint)
    with pytest.raises(InvalidInput, match="there is no demo@9"):
        roll_back(project, "demo", to=9)
    assert not roll_back(project, "demo", to=3).move.moved
    assert roll_back(project, "demo", to=1).move.moved
    shutil.rmtree(project.adapter_version("demo", 3))
    with pytest.raises(InvalidInput, match="demo@3 was active, and its files are gone"):
        roll_back(project, "demo", to=3)
    with pytest.raises(InvalidInput, match="there is no adapter 'other'"):
        roll_back(project, "other")


def test_a_dry_run_says_where_it_would_go_and_changes_nothing(used: Callable[..., Project]) -> None:
    project = used(1, 2)
    done = roll_back(project, "demo", dry_run=True)
    assert (done.move.to_version, done.move.moved, done.move.sequence) == (1, True, None)
    assert active_number(project, "demo") == 2
    assert moves(project) == [(None, 1), (1, 2)]


def unsettled(project: Project) -> int:
    with sqlite3.connect(project.state_db) as state:
        found = state.execute("SELECT count(*) FROM pointer_moves WHERE settled = 0").fetchone()
    state.close()
    return int(found[0])


@pytest.mark.parametrize("how", ["kill", "fail"])
@pytest.mark.parametrize("looked_at", [True, False])
def test_a_rollback_cut_off_at_any_call_goes_back_once_whoever_looks_at_the_history(
    used: Callable[..., Project], how: str, looked_at: bool
) -> None:
    project = used(1, 2, 3)
    number = completed = 0
    for number in interruptions(lambda: roll_back(project, "demo"), how):
        assert active_number(project, "demo") in (2, 3), number
        if looked_at:
            require_agreement(project)
        if active_number(project, "demo") == 3 or unsettled(project):
            completed += roll_back(project, "demo").completed
        assert active_number(project, "demo") == 2, number
        require_agreement(project)
        assert os.listdir(project.trained) == ["demo"], number  # noqa: PTH208
        promote_version(project, load_version(project, "demo", 3))
    print(f"{completed} rollbacks completed by the next")
    assert number > 15
    assert completed


def test_a_rollback_that_was_cut_off_is_completed_under_its_own_name(
    used: Callable[..., Project],
) -> None:
    project = used(1, 2)

    def pending() -> None:
        with sqlite3.connect(project.state_db) as state:
            state.execute(
                "INSERT INTO pointer_moves (adapter, action, from_version, to_version, reason, "
                "moved_at, settled) VALUES ('demo', 'rollback', 2, 1, 'then', 'then', 0)"
            )
        state.close()
        replace_link(project.trained_link("demo"), project.adapter_version("demo", 1))

    pending()
    done = roll_back(project, "demo")
    assert (done.completed, done.move.to_version, done.move.reason) == (True, 1, "then")
    assert moves(project) == [(None, 1), (1, 2), (2, 1)]
    promote_version(project, load_version(project, "demo", 2))
    pending()
    # Asked for another version, it is not taken for the rollback that was cut off.
    assert roll_back(project, "demo", to=2).move.to_version == 2


@pytest.mark.parametrize("name", ["..", "../demo", "/etc/passwd", "Demo", "DEMO", "demo/1", ""])
def test_names_that_leave_their_folder_or_differ_in_case_are_refused(
    used: Callable[..., Project], tmp_path: Path, name: str
) -> None:
    project = used(1, 2)
    with pytest.raises(InvalidInput, match="is not a valid adapter name"):
        roll_back(project, name)
    assert moves(project) == [(None, 1), (1, 2)]


def test_a_version_that_is_a_link_out_of_the_project_is_refused(
    used: Callable[..., Project], tmp_path: Path
) -> None:
    project = used(1, 2)
    place = project.adapter_version("demo", 1)
    shutil.move(place, tmp_path / "outside")
    place.symlink_to(tmp_path / "outside")
    with pytest.raises(InvalidInput, match="leaves the project"):
        roll_back(project, "demo")
    assert active_number(project, "demo") == 2
