"""Verdicts that were kept: the report is the same as without them, whatever was changed."""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from test_mutations import mutated_bytes

from example_configs import EXAMPLES, make_project
from killed import SOAK
from modelyard.backup.inventory import never_stored
from modelyard.configs.checking import check, verdicts
from modelyard.configs.checking.check import check_configs
from modelyard.configs.checking.report import CheckReport
from modelyard.configs.checking.verdicts import KeptVerdicts
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.core.layout import Project
from modelyard.core.sharing import Sharing, project_file_text

MODEL = """\
description: A hosted model
provider: openai
model: gpt-4.1
api_key: env:KEY_{key}
context_tokens: 128k
max_output_tokens: 4k
prices: {{input_per_million: $2.00, output_per_million: $8.00}}
"""
WORDS = ("m0", "m1", "m2", "m3", "gpt4", "claude", "basic_nlp", "gpt-4", "nick", "none")
ALIASES = (
    "aliases: [{word}]\n",
    "aliases:\n  # nick\n  - {word}\n  - 'other'\n",
    "'aliases' : [\n  a,\n  {word}]\n",
    "x-names: &names [{word}]\naliases: *names\n",
    "? aliases\n: [{word}]\n",
    "<<: {{aliases: [{word}], timeout: 5 seconds}}\n",
)
"""As people write them, and as they could."""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project in which every check keeps verdicts."""
    project = make_project(tmp_path / "project")
    project.local_state.mkdir()
    monkeypatch.setattr(check, "_FEWEST_KEPT", 1)
    return project


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose verdicts held, as they are looked up."""
    files: list[Path] = []
    find = KeptVerdicts.find

    def noted(kept: KeptVerdicts, path: Path) -> object:
        if (verdict := find(kept, path)) is not None:
            files.append(path)
        return verdict

    monkeypatch.setattr(KeptVerdicts, "find", noted)
    return files


def both(project: Project, paths: list[Path], **options: object) -> tuple[CheckReport, CheckReport]:
    """The report with what is kept, and the one without."""
    kept = check_configs(ConfigCatalogue(project), paths, keep=True, **options)  # type: ignore[arg-type]
    return kept, check_configs(ConfigCatalogue(project), paths, **options)  # type: ignore[arg-type]


class Changes:
    """Changes of a project at random: of configs, and of all that a config may name."""

    def __init__(self, project: Project, draw: random.Random) -> None:
        self.project, self.draw = project, draw
        self.real = {path: path.read_bytes() for path in ConfigCatalogue(project).paths()}
        self.examples = [
            path
            for path in sorted(EXAMPLES.rglob("*.yaml"))
            if (project.configs / path.parent.name).is_dir()
        ]

    def any(self) -> None:
        ways: list[Callable[[], None]] = [self.model] * 6
        ways += [self.spoil, self.mend, self.example, self.example, self.remove, self.declare]
        ways += [self.dataset, self.adapter, self.card, self.variable, self.touch]
        self.draw.choice(ways)()

    def model(self) -> None:
        """A language model with some of what others look at."""
        draw, number = self.draw, self.draw.randrange(4)
        text = MODEL.format(key=draw.randrange(2))
        if draw.random() < 0.7:
            text += f"fallback: {draw.choice(WORDS)}\n"
        if draw.random() < 0.3:
            text += draw.choice(ALIASES).format(word=draw.choice(WORDS))
        if draw.random() < 0.2:
            text += f"name: {draw.choice(WORDS)}\n"
        if draw.random() < 0.1:
            text += '"ali\\x61ses": [nick]\n'
        if draw.random() < 0.2:
            text += f"environments: {{test: {{fallback: {draw.choice(WORDS)}}}}}\n"
        if draw.random() < 0.2:
            text = text.replace("provider: openai", "provider: opanai")
        (self.project.configs / "language_models" / f"m{number}.yaml").write_text(text)

    def spoil(self) -> None:
        path = self.draw.choice(list(self.real))
        path.write_bytes(mutated_bytes(self.draw, self.real[path]))

    def mend(self) -> None:
        for path, data in self.real.items():
            path.write_bytes(data)

    def example(self) -> None:
        path = self.draw.choice(self.examples)
        shutil.copyfile(path, self.project.configs / path.parent.name / path.name)

    def remove(self) -> None:
        paths = [path for path in ConfigCatalogue(self.project).paths() if path not in self.real]
        for path in self.draw.sample(paths, len(paths) // 2):
            path.unlink()
        self.draw.choice(list(self.real)).unlink(missing_ok=True)

    def declare(self) -> None:
        more = self.draw.choice(["", "  canary: {inherits: test}\n", "  test: {}\n"])
        text = f"environments:\n  development: {{}}\n  production: {{}}\n{more}"
        (self.project.configs / "environments.yaml").write_text(text)

    def dataset(self) -> None:
        _exchange(self.project.dataset(self.draw.choice(["techcorp", "other"])))

    def adapter(self) -> None:
        link = self.project.trained_link("support")
        if self.draw.random() < 0.5:
            _exchange(self.project.adapter_version("support", self.draw.choice([2, 3])))
        elif link.is_symlink():
            link.unlink()
        else:
            link.symlink_to("../versions/support/2")

    def card(self) -> None:
        card = self.draw.choice(sorted(self.project.bases.glob("*/MODEL_INFO.md")))
        text = card.read_text()
        length = self.draw.choice(["1024", "32768"])
        lines = [
            f"context_length: {length}" if line.startswith("context_length") else line
            for line in text.splitlines()
        ]
        card.write_text("\n".join(lines) + "\n")

    def variable(self) -> None:
        os.environ[f"KEY_{self.draw.randrange(2)}"] = self.draw.choice(["", "set"])

    def touch(self) -> None:
        self.draw.choice(ConfigCatalogue(self.project).paths()).touch()


def _exchange(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    else:
        folder.mkdir(parents=True)


@pytest.mark.parametrize("seed", range(SOAK))
def test_the_report_is_the_one_without_kept_verdicts(
    project: Project, held: list[Path], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setenv("KEY_0", "")
    monkeypatch.setenv("KEY_1", "")
    draw = random.Random(seed)
    changes = Changes(project, draw)
    checked = 0
    for _ in range(25):
        for _ in range(draw.randint(0, 2)):
            changes.any()
        paths = ConfigCatalogue(project).paths()
        if draw.random() < 0.5:
            paths = draw.sample(paths, draw.randint(1, len(paths)))
        chosen = draw.choice([None, None, None, ("test",)])
        checked += len(paths)
        kept, without = both(project, paths, environments=chosen, strict=draw.random() < 0.2)
        assert kept == without
    print(f"{len(held)} of {checked} verdicts were kept from before")
    assert len(held) > checked / 20


def models(project: Project, count: int) -> list[Path]:
    """Language models, each of which falls back to the next, and the last to basic_nlp."""
    paths = [project.configs / "language_models" / f"m{number}.yaml" for number in range(count)]
    for path, following in zip(paths, [*paths[1:], None], strict=True):
        fallback = following.stem if following else "basic_nlp"
        path.write_text(f"{MODEL.format(key=0)}fallback: {fallback}\n")
    return paths


def test_only_what_hangs_on_a_changed_file_is_checked_again(
    project: Project, held: list[Path]
) -> None:
    paths = models(project, 6)
    both(project, paths)
    assert held == []
    paths[2].write_text(MODEL.format(key=0) + "fallback: basic_nlp\n")
    kept, without = both(project, paths)
    assert kept == without
    assert held == paths[3:]


def test_a_cycle_is_found_by_a_file_that_does_not_name_what_closes_it(project: Project) -> None:
    paths = models(project, 3)
    both(project, paths)
    paths[2].write_text(MODEL.format(key=0) + "fallback: m0\n")
    kept, without = both(project, paths[:1])
    assert kept == without
    assert [found.code for found in kept.findings] == ["fallback-cycle"]


def test_many_files_are_checked_in_several_processes_and_kept(
    project: Project, held: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "_FEWEST_SHARED", 4)
    paths = models(project, 8)
    kept, without = both(project, paths, processes=2)
    assert kept == without
    assert held == []
    both(project, paths, processes=2)
    assert held == paths


@pytest.mark.parametrize("processes", [1, 2])
def test_a_word_may_become_an_alias(
    project: Project, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    monkeypatch.setattr(check, "_FEWEST_SHARED", 4)
    paths = models(project, 6)
    paths[0].write_text(MODEL.format(key=0) + "fallback: nick\n")
    kept, _ = both(project, paths, processes=processes)
    assert [found.code for found in kept.findings] == ["unknown-reference"]
    paths[5].write_text(paths[5].read_text() + "aliases: [nick]\n")
    kept, without = both(project, paths, processes=processes)
    assert kept == without
    assert kept.valid


def test_many_models_with_aliases_are_kept(
    project: Project, held: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdicts, "_MOST_ASKED", 12)
    paths = models(project, 20)
    for path in paths:
        path.write_text(MODEL.format(key=0) + f"aliases: [nick-{path.stem}]\n")
    both(project, paths)
    kept, without = both(project, paths)
    assert kept == without
    assert held == paths
    held.clear()
    paths[3].write_text(f"{paths[3].read_text()}# changed\n")
    both(project, paths)
    assert held == [path for path in paths if path != paths[3]]
    held.clear()
    paths[3].write_text(MODEL.format(key=0) + "aliases: [nick-m0]\n")
    kept, without = both(project, paths)
    assert kept == without
    assert held == [path for path in paths if path not in (paths[0], paths[3])]
    assert [found.code for found in kept.findings] == ["name-taken"] * 2


def kept_file(project: Project) -> Path:
    [file] = project.kept_verdicts.iterdir()
    return file


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


def other_shape(file: Path) -> None:
    body = file.read_bytes().partition(b"\n")[2]
    found = {name: [entry[0], 7, {"x": 1}, None] for name, entry in json.loads(body).items()}
    check_digest(file, found)


def other_words(file: Path) -> None:
    body = file.read_bytes().partition(b"\n")[2]
    found = {
        name: [entry[0], [[1, 2, 3, 4, 5]], [], {}] for name, entry in json.loads(body).items()
    }
    check_digest(file, found)


def no_object(file: Path) -> None:
    check_digest(file, [1])


def a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def check_digest(file: Path, value: object) -> None:
    from modelyard.configs.checking.verdicts import _digest

    body = json.dumps(value).encode()
    file.write_bytes(_digest(body).encode() + b"\n" + body)


@pytest.mark.parametrize("damage", [cut, other_shape, other_words, no_object, a_pipe])
def test_a_damaged_file_of_verdicts_counts_as_none(
    project: Project, held: list[Path], damage: Callable[[Path], None]
) -> None:
    paths = models(project, 3)
    both(project, paths)
    damage(kept_file(project))
    kept, without = both(project, paths)
    assert kept == without
    assert held == []
    both(project, paths)
    assert held == paths


def test_where_nothing_can_be_written_the_report_is_the_same(
    project: Project, held: list[Path]
) -> None:
    paths = models(project, 3)
    project.kept_verdicts.write_text("a file, where the folder would be")
    for _ in range(2):
        kept, without = both(project, paths)
        assert kept == without
    assert held == []
    project.kept_verdicts.unlink()
    project.local_state.rmdir()
    both(project, paths)
    assert not project.local_state.exists()


def test_files_of_verdicts_are_few_and_follow_the_sharing(project: Project) -> None:
    project.project_file.write_text(project_file_text(Sharing.GROUP))
    paths = models(project, 1)
    for number in range(12):
        check_configs(
            ConfigCatalogue(project), paths, keep=True, environments=("test",) * (number + 1)
        )
    files = list(project.kept_verdicts.iterdir())
    assert len(files) == 8
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o660}
    assert project.kept_verdicts in never_stored(project)


def test_no_secret_is_kept(project: Project) -> None:
    paths = models(project, 1)
    key = "sk-proj-" + "Ab3dEf6hIj9kLm2nOp5q" * 2
    paths[0].write_text(MODEL.format(key=0) + f"description: {key}\n")
    kept, _ = both(project, paths)
    assert "inline-secret" in {found.code for found in kept.findings}
    assert key not in kept_file(project).read_text()
