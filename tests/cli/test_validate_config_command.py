"""`models validate-config` as a person, a script and a CI server see it."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from test_light_start import HEAVY, RUN_AND_LIST_HEAVY_MODULES

from modelyard.setup.init import init_project

Models = Callable[..., int]

MODEL = """\
description: A model for tests
provider: local
model: smollm2-135m-instruct
context_tokens: 2k
max_output_tokens: 512
fallback: {fallback}
"""
BUILTIN = """\
description: The end of every chain
provider: builtin
model: none
context_tokens: 2k
max_output_tokens: 512
"""
WRONG = MODEL.format(fallback="end") + "generation:\n  temprature: 0.2\ntimeout: 60\n"
PLACE = "configs/language_models"
SECRET = "sk-ant-" + "api03-Zq8" * 6


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two configs that are right: `good`, and the `end` of its chain."""
    root = tmp_path / "project"
    init_project(root)
    for path in (root / "configs").rglob("*.yaml"):
        path.unlink()
    write(root / PLACE / "good.yaml", MODEL.format(fallback="end"))
    write(root / PLACE / "end.yaml", BUILTIN)
    monkeypatch.chdir(root)
    return root


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def validate(models: Models) -> Models:
    return partial(models, "validate-config")


def test_a_project_without_mistakes_is_valid(
    validate: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert validate() == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "2 files checked: no problems\n"


def test_every_mistake_is_a_line_that_an_editor_can_jump_to(
    validate: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    write(Path(PLACE, "wrong.yaml"), WRONG)
    assert validate(f"{PLACE}/wrong.yaml") == 2
    printed = capsys.readouterr()
    first, second = printed.out.splitlines()
    assert first == (
        f"{PLACE}/wrong.yaml:8:3: unknown key 'generation.temprature' "
        "(did you mean 'generation.temperature'?)"
    )
    assert second.startswith(f"{PLACE}/wrong.yaml:9:1: 'timeout' must be a duration")
    assert printed.err == "1 file checked: 2 errors\n"


@pytest.mark.parametrize(
    "word", [f"{PLACE}/good.yaml", "language_models/good.yaml", "language_models/good", "good"]
)
def test_a_config_may_be_called_by_path_kind_or_name(
    validate: Models, capsys: pytest.CaptureFixture[str], word: str
) -> None:
    assert validate(word) == 0
    assert capsys.readouterr().err == "1 file checked: no problems\n"


@pytest.mark.parametrize(
    "word",
    [f"{PLACE}/good.yaml", "language_models/good_model.yaml", "language_models/good", "good"],
)
def test_a_config_is_called_the_same_from_a_folder_of_the_project(
    validate: Models,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    word: str,
) -> None:
    write(Path(PLACE, "named_config.yaml"), "name: good_model\n" + MODEL.format(fallback="end"))
    Path("docs/deep").mkdir(parents=True)
    monkeypatch.chdir("docs/deep")
    assert validate(word) == 0
    assert capsys.readouterr().err == "1 file checked: no problems\n"
    assert validate(PLACE) == 0
    assert capsys.readouterr().err == "3 files checked: no problems\n"


@pytest.mark.parametrize(
    "word", [".", "configs", PLACE, "language_models", f"{PLACE}/../../configs"]
)
def test_a_folder_stands_for_the_configs_below_it(
    validate: Models, capsys: pytest.CaptureFixture[str], word: str
) -> None:
    write(Path("configs/compose.yaml"), "services: {}\n")
    write(Path(".hidden/language_models/x.yaml"), "services: {}\n")
    assert validate(word) == 0
    assert capsys.readouterr().err == "2 files checked: no problems\n"


def test_a_file_that_is_named_twice_is_checked_once(
    validate: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert validate("good", f"{PLACE}/good.yaml", PLACE) == 0
    assert capsys.readouterr().err == "2 files checked: no problems\n"


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("GOOD", "'good'"),
        ("Good.yaml", "'good'"),
        ("gooood", "'good'"),
        ("other-name", "'good', which has this alias"),
        ("language_models/GOOD", "'language_models/good'"),
    ],
)
def test_a_name_that_is_nearly_one_says_which(
    validate: Models, project: Path, capsys: pytest.CaptureFixture[str], word: str, meant: str
) -> None:
    path = project / PLACE / "good.yaml"
    path.write_text(path.read_text() + "aliases: [other-name]\n")
    assert validate(word) == 2
    assert f"there is no config '{word}' (did you mean {meant}?)" in capsys.readouterr().err


def test_the_name_of_a_file_is_taken_for_that_of_its_config(
    validate: Models, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project / PLACE
    (folder / "good.yaml").rename(folder / "good_config.yaml")
    assert validate("language_models/good_config", "good_config", "good") == 0
    assert capsys.readouterr().err == "1 file checked: no problems\n"


def test_files_of_several_projects_are_each_checked_in_their_own(
    validate: Models, models: Models, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = project.parent / "other"
    write(project / "outside.yaml", BUILTIN)
    write(other / PLACE / "far.yaml", WRONG.replace("end", "only_here"))
    write(other / PLACE / "only_here.yaml", BUILTIN)
    (other / "models").mkdir()
    here, there = f"{PLACE}/good.yaml", f"../other/{PLACE}/far.yaml"
    assert validate(here, there) == 2
    out, err = capsys.readouterr()
    assert [line.partition(":")[0] for line in out.splitlines()] == [there] * 3
    assert "temprature" in out and "only_here" not in out
    assert err == "2 files checked: 3 errors\n"
    assert validate(here, there, "--json") == 2
    result = json.loads(capsys.readouterr().out)
    assert result["files"] == [f"project/{here}", f"other/{PLACE}/far.yaml"]
    assert {finding["file"] for finding in result["findings"]} == {f"other/{PLACE}/far.yaml"}
    for unclear in ("good", "outside.yaml", "-"):
        assert validate(here, there, unclear) == 2
        assert "configs of several projects are named" in capsys.readouterr().err
    assert models("deploy-config", here, there, "--env", "test", "--dry-run") == 2
    assert "configs of several projects are named" in capsys.readouterr().err


def test_a_name_that_is_nothing_is_wrong_usage(
    validate: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert validate("gud") == 2
    assert "there is no config 'gud'" in capsys.readouterr().err


def test_nothing_to_check_is_not_valid(
    validate: Models, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    assert validate(str(tmp_path / "empty")) == 5
    assert "there is no config in" in capsys.readouterr().err


def test_a_fifo_in_a_folder_does_not_hang(
    validate: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(Path(PLACE, "pipe.yaml"))
    assert validate(PLACE) == 2
    assert validate() == 2
    assert f"{PLACE}/pipe.yaml:1:1: is no regular file" in capsys.readouterr().out


def test_an_overlay_is_looked_at_in_its_environment_only(
    validate: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    overlay = "environments:\n  production:\n    fallback: nobody\n"
    write(Path(PLACE, "good.yaml"), MODEL.format(fallback="end") + overlay)
    assert validate("--env", "development") == 0
    assert validate("--env", "production") == 2
    assert validate() == 2
    assert f"{PLACE}/good.yaml:9:5: " in capsys.readouterr().out


def test_a_warning_fails_only_a_strict_check(
    validate: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    write(Path(PLACE, "good.yaml"), MODEL.format(fallback="&unused end"))
    assert validate() == 0
    assert "good.yaml:6:11: warning: the anchor &unused is never used" in capsys.readouterr().out
    assert validate("--strict") == 2


def test_secrets_are_listed_with_whether_they_are_set_and_never_shown(
    validate: Models, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hosted = MODEL.format(fallback="end").replace("local", "openai") + "api_key: env:{}\nprices:\n"
    hosted += "  input_per_million: $1\n  output_per_million: $1\n"
    write(Path(PLACE, "a.yaml"), hosted.format("KEY_ONE"))
    write(Path(PLACE, "b.yaml"), hosted.format("KEY_TWO"))
    monkeypatch.setenv("KEY_ONE", SECRET)
    assert validate() == 0
    printed = capsys.readouterr().out
    assert printed.splitlines() == [
        f"env:KEY_ONE: set (named in {PLACE}/a.yaml:7:1)",
        f"env:KEY_TWO: not set (named in {PLACE}/b.yaml:7:1)",
    ]


@pytest.mark.parametrize("form", ["text", "json", "sarif", "junit", "github"])
def test_no_form_repeats_a_secret_of_a_file(
    validate: Models, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    write(Path(PLACE, "leak.yaml"), WRONG + f"api_key: {SECRET}\n{SECRET}: x\n")
    assert validate("--format", form) == 2
    printed = capsys.readouterr()
    assert SECRET[8:] not in printed.out + printed.err
    assert "temprature" in printed.out


def test_json_has_the_documented_shape(
    validate: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    write(Path(PLACE, "wrong.yaml"), WRONG)
    assert validate("--format", "json") == 2
    facts = json.loads(capsys.readouterr().out)
    assert set(facts) == {"valid", "strict", "errors", "warnings", "files", "findings", "secrets"}
    assert (facts["valid"], facts["errors"], facts["warnings"]) == (False, 2, 0)
    assert facts["files"] == [f"{PLACE}/{name}.yaml" for name in ("end", "good", "wrong")]
    assert facts["findings"][0]["rule"] == "unknown-key"


def test_sarif_junit_and_github_say_the_same(
    validate: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    write(Path(PLACE, "wrong.yaml"), WRONG)
    validate("--format", "sarif")
    results = json.loads(capsys.readouterr().out)["runs"][0]["results"]
    validate("--format", "junit")
    suite = ElementTree.fromstring(capsys.readouterr().out)
    validate("--format", "github")
    commands = capsys.readouterr().out.splitlines()
    assert [result["ruleId"] for result in results] == ["unknown-key", "wrong-unit"]
    assert (suite.attrib["tests"], suite.attrib["failures"]) == ("3", "1")
    assert [line.startswith(f"::error file={PLACE}/wrong.yaml,line=") for line in commands] == [
        True,
        True,
    ]


def test_an_unknown_form_is_wrong_usage(
    validate: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert validate("--format", "xml") == 2
    assert "'sarif'" in capsys.readouterr().err


# Outside a project


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "elsewhere"
    write(folder / "language_models" / "one.yaml", MODEL.format(fallback="two"))
    write(folder / "language_models" / "two.yaml", BUILTIN)
    monkeypatch.chdir(folder)
    return folder


def test_files_outside_a_project_are_checked_among_themselves(
    validate: Models, outside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert validate("language_models") == 0
    assert "they can only name each other" in capsys.readouterr().err
    assert validate("language_models/one.yaml") == 2
    assert "names the language model 'two', which does not exist" in capsys.readouterr().out


def test_a_file_in_another_project_is_checked_in_that_one(
    validate: Models, outside: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert validate(str(project / PLACE / "good.yaml")) == 0
    assert capsys.readouterr().err == "1 file checked: no problems\n"


def test_no_project_and_no_file_is_wrong_usage(
    validate: Models, outside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert validate() == 2
    assert "is not inside a project" in capsys.readouterr().err


def test_a_project_that_is_named_and_is_none_is_no_reason_to_look_elsewhere(
    models: Models, outside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models("--project", "nowhere", "validate-config", "language_models") == 2


def test_the_kind_of_a_loose_file_is_said_by_its_schema_line(
    validate: Models, outside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "# yaml-language-server: $schema=../schemas/language_models.json\n"
    write(outside / "loose.yaml", line + BUILTIN)
    write(outside / "other.yaml", BUILTIN)
    assert validate("loose.yaml") == 0
    assert validate("other.yaml") == 2
    assert "other.yaml:1:1: the kind of this config is unknown" in capsys.readouterr().out


# In processes of its own


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "modelyard", "validate-config", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_plain_check_of_a_valid_file_loads_nothing_that_it_does_not_need() -> None:
    unneeded = ("rich", "pydantic", "jsonschema", "sqlite3", "numpy", "jinja2", "torch")
    check = RUN_AND_LIST_HEAVY_MODULES.replace(str(HEAVY), str(unneeded))
    command = [sys.executable, "-c", check, "validate-config", "good"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1].strip() == "loaded:"


def test_a_file_whose_name_is_not_utf8_is_reported() -> None:
    Path(PLACE, os.fsdecode(b"caf\xe9.yaml")).write_text(WRONG)
    for form in ("text", "json", "sarif", "junit", "github"):
        done = run("--format", form)
        assert done.returncode == 2, done.stderr
        assert "a bug" not in done.stderr


def test_a_full_disk_behind_stdout_is_no_success() -> None:
    write(Path(PLACE, "wrong.yaml"), WRONG)
    for form in ("text", "json", "junit"):
        with Path("/dev/full").open("w") as full:
            command = [sys.executable, "-m", "modelyard", "validate-config", "--format", form]
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 1
        assert "No space left on device" in done.stderr


def on_a_terminal(*words: str, columns: int = 100) -> tuple[int, str]:
    """What a terminal of that width gets; returns the exit code and the text without colours."""
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns)}
    terminal, behind = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "modelyard", *words],
        stdin=behind,
        stdout=behind,
        stderr=behind,
        env=environment,
    )
    os.close(behind)
    shown = b""
    with suppress(OSError):  # how Linux says that the other side is closed
        while piece := os.read(terminal, 65536):
            shown += piece
    os.close(terminal)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode())
    return process.wait(60), plain.replace("\r\n", "\n")


def test_a_terminal_shows_the_line_and_marks_the_place() -> None:
    write(Path(PLACE, "wrong.yaml"), WRONG)
    code, shown = on_a_terminal("validate-config", "wrong")
    assert code == 2
    assert "    8 │   temprature: 0.2\n      │   ^^^^^^^^^^\n" in shown
    assert "1 file checked: 2 errors" in shown


def test_a_terminal_never_shows_a_secret_of_the_line() -> None:
    key = "\n".join(["-----BEGIN PRIVATE KEY-----", SECRET[8:30], "-----END PRIVATE KEY-----"])
    write(Path(PLACE, "leak.yaml"), WRONG + f"api_kee: {SECRET}  # {SECRET}\n{key}\n")
    _, shown = on_a_terminal("validate-config", "leak")
    assert SECRET[8:] not in shown and SECRET[8:30] not in shown
    assert "****" in shown


# What is called like a config and is none


@pytest.mark.parametrize("word", [None, "configs", PLACE, f"{PLACE}/x.yaml"])
@pytest.mark.parametrize("what", ["nowhere", "loop", "fifo", "device", "folder"])
def test_what_is_no_file_is_an_error_however_it_is_named(
    validate: Models, capsys: pytest.CaptureFixture[str], what: str, word: str | None
) -> None:
    path = Path(PLACE, "x.yaml")
    if what == "fifo":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    else:
        path.symlink_to({"nowhere": "gone", "loop": "x.yaml", "device": "/dev/zero"}[what])
    code = validate(*([word] if word else []))
    if what == "folder" and word == str(path):
        assert code == 5
    else:
        assert code == 2
        assert f"{path}:1:1: " in capsys.readouterr().out


def test_an_empty_name_is_wrong_usage(validate: Models, capsys: pytest.CaptureFixture[str]) -> None:
    assert validate("") == 2
    assert "a config's name is empty" in capsys.readouterr().err


@pytest.mark.parametrize("words", [(), ("configs",)])
def test_hidden_files_are_no_configs(
    validate: Models, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    Path(PLACE, ".#good.yaml").symlink_to("someone@somewhere.1")
    Path(PLACE, "._good.yaml").write_bytes(b"\0\5\x16\7")
    assert validate(*words) == 0
    assert capsys.readouterr().err == "2 files checked: no problems\n"


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("langage_models/y.yaml", "did you mean 'language_models'?"),
        ("integraton.yaml", "did you mean 'integration.yaml'?"),
        ("language_models/sub/x.yaml", "it lies deeper than configs/language_models/"),
        ("language_models/UP.YAML", "did you mean 'up.yaml'?"),
    ],
)
def test_what_nobody_reads_is_a_warning_when_the_project_is_checked(
    validate: Models, capsys: pytest.CaptureFixture[str], place: str, said: str
) -> None:
    write(Path("configs", place), BUILTIN)
    assert validate() == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(f"configs/{place}:1:1: warning: is not read: ")
    assert said in printed.out
    assert "1 warning" in printed.err
    assert validate("--strict") == 2


def test_a_schema_line_of_another_kind_is_a_warning(
    validate: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "# yaml-language-server: $schema=../schemas/specialized_models.json\n"
    write(Path(PLACE, "end.yaml"), line + BUILTIN)
    assert validate() == 0
    assert f"{PLACE}/end.yaml:1:1: warning: the schema line says specialized_models" in (
        capsys.readouterr().out
    )


def test_two_files_of_one_name_are_told_apart_by_their_paths(
    validate: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    write(Path(PLACE, "good_config.yaml"), BUILTIN)
    for word in ("good", "language_models/good"):
        assert validate(word) == 2
        shown = capsys.readouterr().err
        assert f"{PLACE}/good.yaml and {PLACE}/good_config.yaml" in shown
        assert "say which: the path of its file" in shown


def test_json_says_that_warnings_counted(
    validate: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    write(Path(PLACE, "good.yaml"), MODEL.format(fallback="&unused end"))
    assert validate("--strict", "--format", "json") == 2
    facts = json.loads(capsys.readouterr().out)
    assert (facts["valid"], facts["strict"], facts["errors"], facts["warnings"]) == (
        False,
        True,
        0,
        1,
    )


def test_words_say_what_is_wrong_and_what_was_meant(
    validate: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert validate("--env", "prodution") == 2
    shown = capsys.readouterr().err
    assert "Value error" not in shown and "did you mean 'production'?" in " ".join(shown.split())
    write(Path(PLACE, "good.yaml"), MODEL.format(fallback="end").replace("2k", "32K"))
    assert validate("good") == 2
    assert "did you mean '32k'?" in capsys.readouterr().out


def test_a_terminal_without_unicode_gets_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    write(Path(PLACE, "wrong.yaml"), WRONG + "# é\ncaffè: 1\n")
    code, shown = on_a_terminal("validate-config", "wrong")
    assert code == 2
    assert "    8 |   temprature: 0.2\n" in shown and "caff\\xe8" in shown
