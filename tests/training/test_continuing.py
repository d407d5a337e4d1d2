"""An adapter that goes on from a version: what must be equal, and what it is judged on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from training_runs import FLOWERS, arguments, flower_rows, run_here

from modelyard.adapters.training_info import load_training_info
from modelyard.adapters.versions import load_version, resolve_version
from modelyard.chatdata.dataset import load_dataset
from modelyard.core.errors import InvalidInput, ProblemsFound
from modelyard.core.layout import Project
from modelyard.records.evaluation import Evaluation
from modelyard.training.continuing import load_rows
from modelyard.training.spec import load_spec


def write_dataset(project: Project, name: str, rows: list[dict[str, Any]], org: str = "") -> None:
    folder = project.root / "datasets" / name
    folder.mkdir(parents=True)
    lines = [json.dumps(row) + "\n" for row in rows]
    (folder / "train.jsonl").write_text("".join(lines[:-4]))
    (folder / "eval.jsonl").write_text("".join(lines[-4:]))
    owner = f"org: {org}\n" if org else ""
    (folder / "DATASET.md").write_text(f"---\nname: {name}\n{owner}---\n\n# {name}\n")


def continuing(*more: str, settings: tuple[str, ...] = ()) -> list[str]:
    words = arguments("--from", "flowers@1", *more, settings=settings)
    words[words.index("flowers")] = "trees"
    return words


@pytest.fixture
def trained(finished: Project) -> Project:
    """A project with flowers@1, and a second dataset."""
    write_dataset(finished, "trees", flower_rows(24, start=500))
    return finished


def test_the_new_version_goes_on_from_its_parent_and_says_so(trained: Project) -> None:
    ended = run_here(*continuing(settings=("schedule.learning_rate=1e-8",)))
    assert ended.returncode == 0, ended.stderr
    child = load_version(trained, "flowers", 2)
    assert child.manifest.parent == "flowers@1"
    assert "continuing flowers@1" in (child.path / "TRAINING_INFO.md").read_text()
    # At a rate of nearly nothing the child is its parent, which a fresh adapter never is.
    from safetensors.numpy import load_file

    weights = [
        load_file(trained.adapter_version("flowers", number) / "adapter_model.safetensors")
        for number in (1, 2)
    ]
    assert max(float(abs(weights[0][name] - weights[1][name]).max()) for name in weights[0]) < 1e-5


def evaluation_of(project: Project, number: int) -> Evaluation:
    found = load_training_info(load_version(project, "flowers", number).path).evaluation
    assert found is not None
    return found


def test_old_and_new_eval_rows_are_reported_apart(trained: Project) -> None:
    ended = run_here(*continuing())
    assert ended.returncode == 0, ended.stderr
    found = json.loads((trained.experiment("flowers-trees") / "validation.json").read_text())
    old = load_dataset(trained, "flowers").evaluation
    assert {group["name"]: group["rows"] for group in found["groups"]} == {
        "new": 4,
        "old": len(old),
    }
    assert evaluation_of(trained, 2).rows == 4 + len(old)


def test_a_version_that_forgot_what_its_parent_knew_is_not_promoted(trained: Project) -> None:
    from modelyard.adapters.promote import apply_gate, promote_version

    promote_version(trained, load_version(trained, "flowers", 1))
    rows = flower_rows(24, start=500)
    for row in rows:
        row["messages"][1]["content"] = "Nobody knows, and nobody asks."
    write_dataset(trained, "wrong", rows)
    words = continuing(settings=("schedule.epochs=12", "schedule.learning_rate=2e-2"))
    words[words.index("trees")] = "wrong"
    ended = run_here(*words)
    assert ended.returncode == 0, ended.stderr
    child = load_version(trained, "flowers", 2)
    before, old = evaluation_of(trained, 1), evaluation_of(trained, 2).old
    assert old is not None
    assert old.fingerprint == before.fingerprint
    assert old.loss > before.tuned.loss
    assert not apply_gate(trained, child).allowed


def test_replay_mixes_in_the_asked_share_of_old_rows_always_the_same(trained: Project) -> None:
    def rows(seed: int) -> list[str]:
        spec = load_spec(
            config=None,
            assignments=["base_model=tiny", f"seed={seed}"],
            flags={"dataset": "trees", "parent": "flowers@1", "data.replay_share": 0.2},
        )
        dataset = load_rows(trained, spec)[0]
        return [row.source for row in dataset.train if "flowers" in row.source]

    assert len(rows(0)) == 5  # a fifth of 25, beside 20 new ones
    assert rows(0) == rows(0)
    assert set(rows(0)) != set(rows(1))


def test_a_row_that_is_learned_now_is_not_judged_as_an_old_one(trained: Project) -> None:
    judged = load_dataset(trained, "flowers").evaluation[0]
    turns = [{"role": message.role, "content": message.content} for message in judged.messages]
    write_dataset(trained, "again", [{"messages": turns}, *flower_rows(10, start=900)])
    spec = load_spec(
        config=None,
        assignments=["base_model=tiny"],
        flags={"dataset": "again", "parent": "flowers@1"},
    )
    dataset = load_rows(trained, spec)[0]
    assert judged.messages in {row.messages for row in dataset.train}
    assert judged.messages not in {row.messages for row in dataset.evaluation}


def test_replay_without_a_parent_or_its_rows_is_refused(trained: Project) -> None:
    flags = {"dataset": "trees", "data.replay_share": 0.5}
    alone = load_spec(config=None, assignments=["base_model=tiny"], flags=flags)
    with pytest.raises(InvalidInput, match="without a version to continue from"):
        load_rows(trained, alone)
    path = trained.root / "datasets/flowers/train.jsonl"
    path.write_text(path.read_text().replace(FLOWERS[0], "orchid"))
    ended = run_here(*continuing("--replay", "0.5"))
    assert ended.returncode == 2
    assert "dataset flowers was changed since" in ended.stderr
    ended = run_here(*continuing("--check"))
    assert ended.returncode == 0, ended.stderr
    assert "are not evaluated again: its dataset flowers was changed since" in ended.stderr


def test_other_lora_settings_than_the_parents_are_named_together(trained: Project) -> None:
    ended = run_here(*continuing(settings=("lora.rank=8", "lora.targets=[q_proj]")))
    assert ended.returncode == 2
    assert "lora.rank: is 8, and 4 in flowers@1" in ended.stderr
    assert "--set 'lora.rank=4'" in ended.stderr
    assert "lora.targets" in ended.stderr


def test_the_data_of_another_organisation_cannot_continue_an_adapter(
    flowers: Project, tmp_path: Path
) -> None:
    assert run_here(*arguments("--org", "acme")).returncode == 0
    write_dataset(flowers, "trees", flower_rows(24, start=500), org="umbrella")
    ended = run_here(*continuing())
    assert ended.returncode == 2
    assert "acme" in ended.stderr
    assert "umbrella" in ended.stderr
    assert resolve_version(flowers, "flowers@1").manifest.org == "acme"


def test_an_adapter_never_gets_versions_of_two_organisations(finished: Project) -> None:
    write_dataset(finished, "trees", flower_rows(24, start=500), org="acme")
    for look in ((), ("--check",)):
        ended = run_here(*continuing(*look))
        assert ended.returncode == 2
        assert "flowers@1: belongs to none, and the new version would belong" in ended.stderr
    assert run_here(*continuing("--adapter", "acme-flowers")).returncode == 0
    assert resolve_version(finished, "acme-flowers@1").manifest.org == "acme"
    manifest = finished.adapter_version("acme-flowers", 1) / "MANIFEST.json"
    manifest.chmod(0o600)
    manifest.write_text("damaged")
    ended = run_here(*continuing("--adapter", "acme-flowers", "--experiment", "again", "--check"))
    assert ended.returncode == 0, ended.stderr  # a damaged version blocks no new one


def test_a_parent_that_does_not_exist_is_refused(flowers: Project) -> None:
    ended = run_here(*arguments("--from", "flowrs@1"))
    assert ended.returncode == 2
    assert "there is no adapter 'flowrs'" in ended.stderr


def test_the_parent_is_the_version_that_was_in_use_when_the_run_began(trained: Project) -> None:
    from modelyard.adapters.promote import promote_version
    from modelyard.training.continuing import pin_models

    promote_version(trained, load_version(trained, "flowers", 1))
    flags = {"dataset": "trees", "parent": "flowers"}
    spec = load_spec(config=None, assignments=["base_model=tiny"], flags=flags)
    assert pin_models(trained, spec).parent == "flowers@1"
    assert (spec.adapter, spec.experiment) == ("flowers", "flowers-trees")


def test_settings_that_cannot_be_continued_are_problems_of_the_check(trained: Project) -> None:
    ended = run_here(*continuing("--check", settings=("lora.alpha=99",)))
    assert ended.returncode == ProblemsFound.exit_code
    assert "lora.alpha" in ended.stderr


def test_a_parent_of_another_base_is_refused_before_anything_is_fetched(trained: Project) -> None:
    words = continuing("--check")
    words[words.index("tiny")] = "qwen-3b-instruct"
    ended = run_here(*words)
    assert ended.returncode == 2
    assert "flowers@1 was trained on tiny, not on qwen-3b-instruct" in ended.stderr
    assert "--base-model tiny" in ended.stderr
