from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from sound_versions import register_sound, require_agreement

from adapter_samples import BETTER
from killed import interruptions
from modelyard.adapters.manifest import DamagedVersion
from modelyard.adapters.pointer import pointer_history
from modelyard.adapters.promote import apply_gate, promote_if_allowed, promote_version
from modelyard.adapters.versions import AdapterVersion, active_number
from modelyard.core.errors import GateBreached, InvalidInput, ModelyardError
from modelyard.core.files import LockHeld, exclusive_lock, replace_link
from modelyard.core.layout import Project
from modelyard.core.state import open_state
from modelyard.records.evaluation import ModelFigures
from modelyard.records.provenance import Origin
from modelyard.weights.local import LocalBase

Register = Callable[..., AdapterVersion]


def moves(project: Project) -> list[tuple[int | None, int]]:
    return [(move.from_version, move.to_version) for move in pointer_history(project, "demo")]


def leave_pending(project: Project, to_version: int) -> None:
    with open_state(project) as state:
        state.execute(
            "INSERT INTO pointer_moves (adapter, action, to_version, moved_at, settled) "
            "VALUES ('demo', 'promote', ?, 'then', 0)",
            (to_version,),
        )


def test_promoting_points_the_link_at_the_version(
    bare_project: Project, register: Register
) -> None:
    version = register("run-1")
    move = promote_version(bare_project, version, reason="first")
    link = bare_project.root / "models" / "trained" / "demo"
    assert os.readlink(link) == "../versions/demo/1"  # noqa: PTH115
    assert link.resolve() == version.path.resolve()
    assert (move.moved, move.from_version, move.to_version) == (True, None, 1)
    assert pointer_history(bare_project, "demo") == [move]
    assert (move.action, move.reason) == ("promote", "first")


def test_a_version_whose_weights_were_changed_is_not_promoted(
    bare_project: Project, register: Register
) -> None:
    good, bad = register("run-1"), register("run-2")
    promote_version(bare_project, good)
    weights = bad.path / "adapter_model.safetensors"
    weights.chmod(0o600)
    weights.write_bytes(b"WEIGHTS 2")
    with pytest.raises(DamagedVersion):
        promote_version(bare_project, bad)
    assert moves(bare_project) == [(None, 1)]


def test_history_is_the_order_of_moves_of_one_adapter(
    bare_project: Project, register: Register
) -> None:
    first, second = register("run-1"), register("run-2")
    promote_version(bare_project, register("run-1", adapter="other"))
    for version in (first, second, first):
        promote_version(bare_project, version)
    assert moves(bare_project) == [(None, 1), (1, 2), (2, 1)]
    assert len(pointer_history(bare_project, "other")) == 1
    sequences = [move.sequence for move in pointer_history(bare_project, "demo")]
    assert sequences == sorted(sequences)


def test_promoting_the_active_version_changes_nothing_and_says_so(
    bare_project: Project, register: Register
) -> None:
    version = register("run-1")
    promote_version(bare_project, version)
    move = promote_version(bare_project, version)
    assert not move.moved
    assert (move.from_version, move.to_version) == (1, 1)
    assert moves(bare_project) == [(None, 1)]


def test_a_version_whose_files_are_gone_is_not_promoted(
    bare_project: Project, register: Register
) -> None:
    promote_version(bare_project, register("run-1"))
    gone = register("run-2")
    shutil.rmtree(gone.path)
    with pytest.raises(DamagedVersion):
        promote_version(bare_project, gone)
    assert active_number(bare_project, "demo") == 1
    assert moves(bare_project) == [(None, 1)]


def test_a_folder_in_the_place_of_the_link_is_left_alone(
    bare_project: Project, register: Register
) -> None:
    link = bare_project.trained_link("demo")
    link.mkdir(parents=True)
    with pytest.raises(ModelyardError, match="where a link to a version belongs"):
        promote_version(bare_project, register("run-1"))
    assert link.is_dir()
    assert moves(bare_project) == []


def test_a_link_folder_that_leaves_the_project_is_refused(
    bare_project: Project, register: Register, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    bare_project.trained.symlink_to(tmp_path / "outside")
    with pytest.raises(InvalidInput, match="leaves the project"):
        promote_version(bare_project, register("run-1"))
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_second_promotion_waits_or_says_who_is_at_it(
    bare_project: Project, register: Register
) -> None:
    version = register("run-1")
    held = exclusive_lock(bare_project.lock("adapter", "demo"), what="adapter demo")
    said = f"adapter demo is in use by process {os.getpid()}"
    with held, pytest.raises(LockHeld, match=said):
        promote_version(bare_project, version, wait_s=0.1)
    assert promote_version(bare_project, version).moved


def test_a_move_that_did_not_happen_is_forgotten_when_history_is_read(
    bare_project: Project, register: Register
) -> None:
    promote_version(bare_project, register("run-1"))
    register("run-2")
    leave_pending(bare_project, 2)
    assert moves(bare_project) == [(None, 1)]


def test_a_move_that_happened_is_settled_when_history_is_read(
    bare_project: Project, register: Register
) -> None:
    version = register("run-1")
    leave_pending(bare_project, 1)
    replace_link(bare_project.trained_link("demo"), version.path)
    assert moves(bare_project) == [(None, 1)]


def test_the_next_move_settles_the_last_one_first(
    bare_project: Project, register: Register
) -> None:
    first, second = register("run-1"), register("run-2")
    leave_pending(bare_project, 1)
    replace_link(bare_project.trained_link("demo"), first.path)
    promote_version(bare_project, second)
    assert moves(bare_project) == [(None, 1), (1, 2)]


def test_history_can_be_read_while_a_link_is_broken(
    bare_project: Project, register: Register
) -> None:
    promote_version(bare_project, register("run-1"))
    leave_pending(bare_project, 2)
    bare_project.trained_link("demo").unlink()
    bare_project.trained_link("demo").symlink_to("nowhere")
    assert moves(bare_project) == [(None, 1)]


def test_without_its_history_the_link_still_holds(
    bare_project: Project, register: Register
) -> None:
    first, second = register("run-1"), register("run-2")
    promote_version(bare_project, first)
    shutil.rmtree(bare_project.local_state)
    promote_version(bare_project, second)
    assert moves(bare_project) == [(1, 2)]


@pytest.mark.parametrize("how", ["kill", "fail"])
def test_a_promotion_cut_off_at_any_call_moves_link_and_history_together(
    bare_project: Project, register: Register, how: str
) -> None:
    first, second = register("run-1"), register("run-2")
    promote_version(bare_project, first)
    number = 0
    for number in interruptions(lambda: promote_version(bare_project, second), how):
        assert active_number(bare_project, "demo") in (1, 2), number
        before = moves(bare_project)
        assert before[-1][1] == active_number(bare_project, "demo"), number
        promote_version(bare_project, second)
        assert active_number(bare_project, "demo") == 2
        assert moves(bare_project)[len(before) - 1 :] in ([(1, 2)], [before[-1], (1, 2)]), number
        assert list(bare_project.trained.iterdir()) == [bare_project.trained_link("demo")], number
        promote_version(bare_project, first)
    assert number > 15


def test_processes_that_promote_at_once_leave_one_order(
    bare_project: Project, register: Register
) -> None:
    for index in range(3):
        register(f"run-{index}")
    script = """
import random, sys
from pathlib import Path
from modelyard.adapters.promote import promote_version
from modelyard.adapters.versions import list_versions, resolve_version
from modelyard.core.layout import Project
project = Project(Path(sys.argv[1]))
versions = list_versions(project, "demo")
for _ in range(15):
    promote_version(project, random.choice(versions), wait_s=60)
    resolve_version(project, "demo")
"""
    command = [sys.executable, "-c", script, str(bare_project.root)]
    processes = [subprocess.Popen(command) for _ in range(8)]
    while any(process.poll() is None for process in processes):
        assert active_number(bare_project, "demo") in (None, 1, 2, 3)
        moves(bare_project)
    assert [process.returncode for process in processes] == [0] * 8
    order = moves(bare_project)
    assert order[0][0] is None
    assert order[-1][1] == active_number(bare_project, "demo")
    assert all(after[0] == before[1] for before, after in pairwise(order))


def test_the_gate_compares_with_the_active_version(
    bare_project: Project, register: Register
) -> None:
    better = replace(BETTER, tuned=ModelFigures(loss=1.1))
    promote_version(bare_project, register("run-1", evaluation=better))
    worse = register("run-2")
    allowed, reason = apply_gate(bare_project, worse)
    assert not allowed
    assert "loss 1.200 against 1.100" in reason


def test_the_gate_does_not_compare_across_bases_or_with_what_is_broken(
    bare_project: Project, register: Register
) -> None:
    strong = replace(BETTER, tuned=ModelFigures(loss=0.1))
    other_base = Origin(name="other", fingerprint="sha256:other")
    active = register("run-1", evaluation=strong, base=other_base)
    promote_version(bare_project, active)
    assert apply_gate(bare_project, register("run-2")).allowed

    active = register("run-3", evaluation=strong)
    promote_version(bare_project, active)
    assert not apply_gate(bare_project, register("run-2")).allowed
    (active.path / "MANIFEST.json").unlink()
    assert apply_gate(bare_project, register("run-2")).allowed


def test_the_gate_judges_the_active_version_by_its_own_figures(
    bare_project: Project, register: Register
) -> None:
    version = register("run-1")
    promote_version(bare_project, version)
    assert apply_gate(bare_project, version).allowed


def test_a_better_version_comes_into_use_and_the_history_says_why(bare_project: Project) -> None:
    promote_if_allowed(bare_project, register_sound(bare_project, "run-1", loss=1.2), base=None)
    move = promote_if_allowed(
        bare_project, register_sound(bare_project, "run-2", loss=1.0), base=None
    )
    assert (move.from_version, move.to_version, move.moved) == (1, 2, True)
    assert "loss 1.000 against 3.100 of the base" in (move.reason or "")
    assert pointer_history(bare_project, "demo")[-1] == move


def test_a_worse_version_is_refused_with_the_numbers(bare_project: Project) -> None:
    promote_if_allowed(bare_project, register_sound(bare_project, "run-1", loss=1.0), base=None)
    worse = register_sound(bare_project, "run-2", loss=1.5)
    for dry_run in (True, False):
        with pytest.raises(GateBreached, match=r"loss 1\.500 against 1\.000") as caught:
            promote_if_allowed(bare_project, worse, base=None, dry_run=dry_run)
        assert caught.value.exit_code == 4
    assert active_number(bare_project, "demo") == 1


def test_a_worse_version_can_be_forced_with_a_reason(bare_project: Project) -> None:
    promote_if_allowed(bare_project, register_sound(bare_project, "run-1", loss=1.0), base=None)
    worse = register_sound(bare_project, "run-2", loss=1.5)
    for no_reason in (None, "", " "):
        with pytest.raises(InvalidInput, match="--force needs a reason"):
            promote_if_allowed(bare_project, worse, base=None, force=True, reason=no_reason)
    move = promote_if_allowed(bare_project, worse, base=None, force=True, reason="shorter answers")
    assert move.reason
    assert move.reason.startswith("shorter answers (forced, although it is worse")


def test_a_version_that_was_never_judged_needs_force(bare_project: Project) -> None:
    version = register_sound(bare_project, "run-1", loss=None)
    with pytest.raises(GateBreached, match="it has not been evaluated"):
        promote_if_allowed(bare_project, version, base=None)
    assert promote_if_allowed(bare_project, version, base=None, force=True, reason="imported").moved


def test_what_fails_verify_cannot_be_forced(bare_project: Project) -> None:
    version = register_sound(bare_project, "run-1")
    (version.path / "chat_template.jinja").chmod(0o600)
    (version.path / "chat_template.jinja").write_text("another")
    with pytest.raises(DamagedVersion, match="does not pass `models adapters verify`") as caught:
        promote_if_allowed(bare_project, version, base=None, force=True, reason="I want it")
    assert {problem.where for problem in caught.value.problems} == {"chat_template.jinja"}
    assert active_number(bare_project, "demo") is None


def test_a_version_trained_on_another_base_is_refused(
    bare_project: Project, tiny_base: LocalBase
) -> None:
    version = register_sound(bare_project, "run-1")
    with pytest.raises(DamagedVersion) as caught:
        promote_if_allowed(bare_project, version, base=tiny_base)
    assert any(
        "was trained on tiny (sha256:base)" in str(problem) for problem in caught.value.problems
    )


def test_the_active_version_stays_active_without_being_evaluated(bare_project: Project) -> None:
    version = register_sound(bare_project, "run-1", loss=9.0)
    promote_version(bare_project, version)
    assert not promote_if_allowed(bare_project, version, base=None).moved


def test_a_dry_run_of_a_promotion_leaves_no_trace(bare_project: Project) -> None:
    version = register_sound(bare_project, "run-1")
    before = sorted(bare_project.root.rglob("*"))
    move = promote_if_allowed(bare_project, version, base=None, dry_run=True)
    assert (move.moved, move.from_version, move.to_version, move.sequence) == (True, None, 1, None)
    assert sorted(bare_project.root.rglob("*")) == before


@pytest.mark.parametrize("how", ["kill", "fail"])
def test_a_judged_promotion_cut_off_at_any_call_leaves_old_or_new(
    bare_project: Project, how: str
) -> None:
    first = register_sound(bare_project, "run-1", loss=1.2)
    second = register_sound(bare_project, "run-2", loss=1.0)
    promote_if_allowed(bare_project, first, base=None)
    number = 0
    for number in interruptions(lambda: promote_if_allowed(bare_project, second, base=None), how):
        assert active_number(bare_project, "demo") in (1, 2), number
        require_agreement(bare_project)
        promote_if_allowed(bare_project, second, base=None)
        assert active_number(bare_project, "demo") == 2
        require_agreement(bare_project)
        promote_version(bare_project, first)
    assert number > 25


def test_a_link_to_a_version_that_is_gone_or_elsewhere_is_found(
    bare_project: Project, register: Register
) -> None:
    from modelyard.adapters.verify import verify_pointer

    version = register("run-1")
    assert verify_pointer(bare_project, "demo") == []
    promote_version(bare_project, version)
    assert verify_pointer(bare_project, "demo") == []
    version.path.chmod(0o700)
    shutil.rmtree(version.path)
    assert "demo@1 is not here" in verify_pointer(bare_project, "demo")[0].message
    link = bare_project.trained_link("demo")
    link.unlink()
    link.symlink_to("/somewhere/versions/demo/1")
    assert "no version of demo" in verify_pointer(bare_project, "demo")[0].message
