"""`models adapters ...` as a person and as a program see it: words, JSON, exit codes."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_light_start import RUN_AND_LIST_HEAVY_MODULES

from modelyard.adapters.manifest import Manifest
from modelyard.adapters.versions import active_number, register_version, version_numbers
from modelyard.core.layout import Project
from modelyard.core.state import change_state
from modelyard.records.provenance import Origin, Provenance
from modelyard.settings.cards import write_card

Models = Callable[..., int]
LOSSES = (1.2, 1.0, 1.5)


@pytest.fixture(autouse=True)
def adapters(project: Project) -> None:
    """Three versions of `demo` on a base that is not available locally; the third is worse."""
    for number, loss in enumerate(LOSSES, 1):
        register_version(
            project, "demo", fill=_fill(loss), provenance=_facts(f"run-{number}", number)
        )


def _fill(loss: float) -> Callable[[Path, Manifest], None]:
    evaluation = {
        "rows": 60,
        "fingerprint": "sha256:eval",
        "base": {"loss": 3.1, "perplexity": 22.2},
        "tuned": {"loss": loss, "perplexity": 3.32},
        "difference": {"mean": -1.9, "low": -2.1, "high": -1.7},
    }

    def fill(staged: Path, manifest: Manifest) -> None:
        (staged / "adapter_model.safetensors").write_bytes(b"weights %d" % manifest.version)
        (staged / "adapter_config.json").write_text("{}")
        (staged / "chat_template.jinja").write_text("{{ messages }}")
        front = {"dataset": {"rows": 1315}, "duration_s": 431.9, "evaluation": evaluation}
        write_card(staged / "TRAINING_INFO.md", front, "# demo")

    return fill


def _facts(run_key: str, number: int) -> Provenance:
    return Provenance(
        run_key=run_key,
        org="techcorp",
        base=Origin(name="far", fingerprint="sha256:0123456789abcdef"),
        data=Origin(name="techcorp", fingerprint="sha256:fedcba"),
        template_hash=f"sha256:{hashlib.sha256(b'{{ messages }}').hexdigest()}",
        spec={"lora": {"rank": 16}},
        packages={"peft": "0.21.2"},
        code_commit="abc123",
        machine={"description": "cpu, 2 threads"},
        parent=f"demo@{number - 1}" if number > 1 else None,
    )


@pytest.fixture
def far_base(project: Project) -> None:
    """A card of the base `far`, whose files are not on this machine."""
    card = project.base_card("far")
    card.parent.mkdir()
    text = project.base_card("tiny").read_text().replace("name: tiny", "name: far")
    card.write_text(re.sub("path: /.*", "path: /nowhere", text))


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[[], Any]:
    return lambda: json.loads(capsys.readouterr().out)


def test_from_promotion_over_a_bad_answer_to_rollback(
    models: Models, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models("adapters", "promote", "demo@1") == 0
    assert models("adapters", "promote", "demo@2") == 0
    out, err = capsys.readouterr()
    assert "demo@2 is active, instead of demo@1" in out
    assert "undo with `models adapters rollback demo`" in out
    assert "only the version's own files were checked" in err
    assert models("adapters", "rollback", "demo", "--reason", "29 days, not 30") == 0
    assert "demo@1 is active, instead of demo@2" in capsys.readouterr().out
    assert active_number(project, "demo") == 1
    assert models("adapters", "history", "demo") == 0
    assert "29 days, not 30" in capsys.readouterr().out
    assert models("adapters", "rollback", "demo") == 1
    assert "no version of demo was active before demo@1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        "history {}",
        "rollback {} --dry-run",
        "gc {} --dry-run",
        "verify --all {}",
        "show {}",
        "verify {}",
        "diff demo@1 {}",
        "promote {} --dry-run",
        "pin {} --dry-run",
        "unpin {} --dry-run",
        "push {} file:///nowhere-at-all --dry-run",
    ],
)
def test_an_adapter_may_be_named_with_its_kind(
    models: Models, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    models("adapters", "promote", "demo@1")
    models("adapters", "promote", "demo@2")
    capsys.readouterr()
    shown = [
        (models("adapters", *words.format(name).split()), *capsys.readouterr())
        for name in ("demo", "adapter:demo")
    ]
    assert shown[0] == shown[1]
    assert models("adapters", *words.format("base:demo").split()) == 2
    assert "'base:demo' names a base model, where an adapter belongs" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["demo@1", "adapter:demo@1"])
@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("adapters history {}", "write demo"),
        ("adapters gc {}", "write demo"),
        ("adapters verify --all {}", "write demo"),
        ("adapters import out --base-model far --name {}", "write demo"),
        ("fine-tune --dataset techcorp --check --adapter {}", "write demo"),
        ("adapters rollback {}", "the version to go to with --to"),
    ],
)
def test_a_version_is_refused_where_all_are_meant(
    models: Models, capsys: pytest.CaptureFixture[str], words: str, hint: str, name: str
) -> None:
    assert models(*words.format(name).split()) == 2
    said = capsys.readouterr().err
    assert f"'{name}' names a version, where an adapter without one belongs" in said
    assert hint in said


def test_a_worse_version_exits_with_4_and_the_numbers(
    models: Models, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    models("adapters", "promote", "demo@2")
    capsys.readouterr()
    assert models("adapters", "promote", "demo@3") == 4
    assert "loss 1.500 against 1.000 on the same 60 rows" in capsys.readouterr().err
    assert models("adapters", "promote", "demo@3", "--force") == 2
    assert models("adapters", "promote", "demo@3", "--force", "--reason", "shorter") == 0
    assert active_number(project, "demo") == 3


@pytest.mark.parametrize("name", ["Demo@1", "../demo@1", "/etc@1", "demo@0", "demo@9", "other@1"])
def test_a_version_that_is_not_there_exits_with_2(models: Models, name: str) -> None:
    for command in ("promote", "show", "pin", "unpin"):
        assert models("adapters", command, name) == 2


def test_doing_it_twice_says_that_there_is_nothing_to_do(
    models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (
        ("promote", "demo@1"),
        ("pin", "demo@1"),
        ("unpin", "demo@1"),
        ("rollback", "demo", "--to", "1"),
        ("gc", "--keep", "3"),
    ):
        models("adapters", *words)
        capsys.readouterr()
        assert models("adapters", *words) == 0
        out = capsys.readouterr().out
        assert "nothing to" in out, words


def test_a_dry_run_of_everything_changes_nothing(
    models: Models, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    models("adapters", "promote", "demo@1")
    models("adapters", "promote", "demo@2")
    before = (project.state_db.read_bytes(), version_numbers(project, "demo"))
    capsys.readouterr()
    for words, said in (
        (("rollback", "demo"), "Would make demo@1 active, instead of demo@2"),
        (("pin", "demo@1"), "Would pin demo@1"),
        (("gc", "--keep", "1"), "There is nothing to remove."),
    ):
        assert models("adapters", *words, "--dry-run") == 0
        assert said in capsys.readouterr().out
    assert (project.state_db.read_bytes(), version_numbers(project, "demo")) == before


def test_gc_says_what_goes_and_why_the_rest_stays(
    models: Models, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    models("adapters", "promote", "demo@2")
    capsys.readouterr()
    assert models("adapters", "gc", "--keep", "1", "--dry-run") == 0
    assert re.search(r"demo@1 .* would go", capsys.readouterr().out)
    assert models("adapters", "gc", "demo", "--keep", "1") == 0
    out = capsys.readouterr().out
    assert re.search(r"demo@1 .* removed", out)
    assert "kept: active" in out
    assert "1 version removed" in out
    assert version_numbers(project, "demo") == [2, 3]
    assert models("adapters", "gc", "demo", "other") == 2


def test_the_list_shows_versions_figures_and_the_saving(
    models: Models, far_base: None, capsys: pytest.CaptureFixture[str]
) -> None:
    models("adapters", "promote", "demo@2")
    capsys.readouterr()
    assert models("adapters", "list") == 0
    out = capsys.readouterr().out
    header, _, row, *_ = (line.split() for line in out.splitlines() if line.strip())
    assert header[:3] == ["adapter", "active", "versions"]
    assert len(header) == len(row)  # "of base", and a size with its unit
    assert row[:3] == ["demo", "@2", "1-3"]
    assert row[-2:] == ["1.000", "3.100"]
    assert "On far (0.2 MB, not available locally: counted from its card, in bf16): demo" in out
    assert "3 versions of 1 adapter: 0.0 MB." in out
    assert "As full fine-tunes of their bases they would take 0.6 MB" in out
    assert models("adapters", "list", "--org", "nobody") == 0
    assert "There are no adapters of organisation 'nobody' here" in capsys.readouterr().out


def test_show_tells_lineage_figures_and_history(
    models: Models, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    models("adapters", "promote", "demo@2", "--reason", "first")
    models("adapters", "pin", "demo@2")
    capsys.readouterr()
    assert models("adapters", "show", "demo") == 0
    out = capsys.readouterr().out
    assert "demo@2  (active, pinned)" in out
    for shown in (
        "far (sha256:0123456789ab)",
        "1,315 conversations of techcorp",
        "demo@1",
        "432 s",
    ):
        assert shown in out
    assert "became active (promote): first" in out
    assert models("adapters", "show", "demo@3") == 0
    assert "It was never active." in capsys.readouterr().out
    with change_state(project) as state:
        state.execute("DELETE FROM pointer_moves")
    assert models("adapters", "show", "demo") == 0
    assert "When it became active is not recorded." in capsys.readouterr().out


def test_every_change_and_every_list_can_be_read_by_a_program(
    models: Models, far_base: None, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (
        ("promote", "demo@1"),
        ("promote", "demo@2", "--dry-run"),
        ("promote", "demo@2"),
        ("rollback", "demo"),
        ("pin", "demo@1"),
        ("list",),
        ("show", "demo"),
        ("history", "demo"),
        ("gc", "--keep", "1"),
    ):
        capsys.readouterr()
        assert models("adapters", *words, "--json") == 0, words
        assert json.loads(capsys.readouterr().out)


def test_the_list_as_json_adds_up(
    models: Models, far_base: None, printed: Callable[[], Any]
) -> None:
    models("adapters", "list", "--json")
    found = printed()
    (adapter,) = found["adapters"]
    assert [version["number"] for version in adapter["versions"]] == [1, 2, 3]
    assert adapter["versions"][2]["parent"] == "demo@2"
    assert found["bases"] == {"far": {"size_bytes": 2 * 99000, "measured": False}}
    assert found["total"] == {
        "adapters": 1,
        "versions": 3,
        "size_bytes": sum(version["size_bytes"] for version in adapter["versions"]),
        "full_fine_tunes": 3,
        "full_fine_tunes_bytes": 3 * 2 * 99000,
    }


@pytest.mark.parametrize("line", ["list --json", "show demo@1", "promote demo@1", "gc --keep 1"])
def test_no_machine_learning_library_is_loaded_for_real_adapters(
    project: Project, line: str
) -> None:
    command = [sys.executable, "-c", RUN_AND_LIST_HEAVY_MODULES, "adapters", *line.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=project.root)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1].strip() == "loaded:"
