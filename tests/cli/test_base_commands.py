"""`models base list | show | pull`: what they print, for people and for programs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.cli.base import list_bases, pull_base, show_base
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.layout import Project, cache_folder
from modelyard.weights.grid import Blocks, write_grid
from modelyard.weights.local import BaseDamaged
from modelyard.weights.pull import BaseUnavailable


@pytest.fixture
def absent(project: Project) -> str:
    """A second base, whose only folder is not there."""
    card = project.base_card("absent")
    card.parent.mkdir()
    text = project.base_card("tiny").read_text().replace("name: tiny", "name: absent")
    card.write_text(text.replace("path: ", "path: /nowhere"))
    return "absent"


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[[], Any]:
    return lambda: json.loads(capsys.readouterr().out)


def test_list_says_which_bases_are_here_and_how_to_get_the_others(
    project: Project, absent: str, capsys: pytest.CaptureFixture[str]
) -> None:
    list_bases()
    out = capsys.readouterr().out
    lines = {line.split()[0]: line.split() for line in out.splitlines() if line.strip()}
    assert "no" in lines["absent"] and "yes" in lines["tiny"]
    assert lines["tiny"][-1] == "path"
    assert "Fetch one with `models base pull absent`." in out


def test_list_as_json_has_the_documented_shape(
    project: Project, absent: str, tiny_base_folder: Path, printed: Callable[[], Any]
) -> None:
    list_bases(as_json=True)
    first, second = printed()
    assert list(first) == list(second)
    assert (first["name"], first["at_hand"], first["fingerprint"]) == ("absent", False, None)
    assert (second["name"], second["at_hand"], second["path"]) == (
        "tiny",
        True,
        str(tiny_base_folder),
    )


def test_list_goes_on_past_a_damaged_base(
    project: Project, tiny_base_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project.root / "weights"
    shutil.copytree(tiny_base_folder, folder)
    (folder / "model.safetensors").write_bytes(b"cut off")
    card = project.base_card("broken")
    card.parent.mkdir()
    text = project.base_card("tiny").read_text().replace("name: tiny", "name: broken")
    card.write_text(text.replace(str(tiny_base_folder), "weights"))
    list_bases()
    out = capsys.readouterr().out
    assert "damaged" in out and "is not a safetensors file, or is truncated" in out
    assert "yes" in out


def test_list_of_a_project_without_bases_says_so(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(project.bases)
    list_bases()
    assert "no base models" in capsys.readouterr().out


def test_show_gives_the_card_and_the_place(
    project: Project, tiny_base_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show_base("tiny", verify=True)
    said = capsys.readouterr()
    assert "Apache-2.0" in said.out and "sha256:" in said.out
    assert str(tiny_base_folder) in said.out and "every byte as recorded" in said.out
    assert "verify: " in said.err


def test_show_as_json_has_the_documented_shape(
    project: Project, absent: str, tiny_base_folder: Path, printed: Callable[[], Any]
) -> None:
    show_base("tiny", as_json=True)
    here = printed()
    show_base("absent", as_json=True)
    elsewhere = printed()
    assert list(here) == list(elsewhere)
    assert here["sources"] == [{"kind": "path", "path": str(tiny_base_folder)}]
    assert here["verified"] is None and elsewhere["at_hand"] is False
    assert here["four_bit"] is False and elsewhere["four_bit"] is None


def test_show_says_that_integers_of_four_bits_are_kept(
    project: Project, tiny_base_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project.root / "weights"
    shutil.copytree(tiny_base_folder, folder)
    write_grid(folder, {"w": Blocks("Q4_1", np.zeros((2, 1, 20), np.uint8))})
    card = project.base_card("tiny")
    card.write_text(card.read_text().replace(str(tiny_base_folder), "weights"))

    show_base("tiny")

    assert "four bits    kept too" in capsys.readouterr().out


def test_show_says_how_a_base_that_was_made_without_them_gets_them(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    show_base("tiny")
    assert "four bits" not in capsys.readouterr().out
    (record,) = cache_folder().glob("bases/tiny/*/BASE.json")
    made = json.loads(record.read_text())
    record.write_text(json.dumps(made | {"source": "wheel tiny==1.0"}))

    show_base("tiny")

    assert "four bits    not kept; `models base pull tiny --force`" in capsys.readouterr().out


def test_nothing_can_be_verified_that_is_not_here(project: Project, absent: str) -> None:
    with pytest.raises(ModelyardError) as caught:
        show_base("absent", verify=True)
    assert caught.value.hint == "run `models base pull absent`"


def test_verify_finds_damage(project: Project, tiny_base_folder: Path) -> None:
    import os

    folder = project.root / "weights"
    shutil.copytree(tiny_base_folder, folder)
    card = project.base_card("tiny")
    card.write_text(card.read_text().replace(str(tiny_base_folder), "weights"))
    show_base("tiny")
    file = folder / "tokenizer.json"
    before = file.stat()
    file.write_bytes(file.read_bytes().replace(b"the", b"teh"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(BaseDamaged, match="damaged"):
        show_base("tiny", verify=True)


def test_pull_of_what_is_there_says_so(
    project: Project, tiny_base_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pull_base("tiny")
    assert capsys.readouterr().out == f"tiny is already available: {tiny_base_folder}\n"
    pull_base("tiny", force=True)
    assert "tiny is available, " in capsys.readouterr().out


def test_pull_as_json_has_the_documented_shape(
    project: Project, printed: Callable[[], Any]
) -> None:
    pull_base("tiny", as_json=True)
    result = printed()
    assert (result["changed"], result["dry_run"], result["at_hand"]) == (False, False, True)


def test_a_dry_run_says_what_would_be_tried(
    project: Project, absent: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pull_base("absent", dry_run=True)
    assert capsys.readouterr().out.startswith(
        "Would pull absent from the first source that has it: path"
    )
    pull_base("absent", dry_run=True, as_json=True)
    assert json.loads(capsys.readouterr().out)["changed"] is True


def test_a_base_that_cannot_be_had_is_told_with_every_reason(
    project: Project, absent: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from modelyard.cli.render import print_error

    with pytest.raises(BaseUnavailable) as caught:
        pull_base("absent")
    print_error(caught.value)
    said = capsys.readouterr().err
    assert "error: base 'absent' cannot be had from any of its sources" in said
    assert "path /nowhere" in said and "there is no folder /nowhere" in said
    assert "hint: add `- kind: path`" in said
    assert caught.value.exit_code == 1


def test_a_name_that_is_no_base_is_wrong_usage(project: Project) -> None:
    for command in (show_base, pull_base):
        with pytest.raises(InvalidInput) as caught:
            command("gpt-4o")
        assert caught.value.exit_code == 2
