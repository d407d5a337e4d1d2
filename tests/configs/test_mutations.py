"""Thousands of broken configs: never a traceback, never a hang, never an unknown key let through.

Bytes are changed at random in the real configs, and values, keys and whole branches in what they
say. `make soak` tries thirty times as many.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator
from jsonschema.validators import extend

from example_configs import REPOSITORY, make_project
from killed import SOAK
from modelyard.configs.checking.check import check_configs
from modelyard.configs.checking.report import CheckReport
from modelyard.configs.kinds import KINDS, STANDARD_ENVIRONMENTS
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.configs.reading.document import load_document, resolve
from modelyard.configs.reading.shape import check_shape
from modelyard.configs.schema import load_schema
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project
from modelyard.settings.yaml_files import load_yaml

BYTES_CHANGED, SETTINGS_CHANGED = (500, 150) if SOAK == 1 else (1500 * SOAK, 500 * SOAK)
LONGEST_S = 1.0
REAL = sorted(ConfigCatalogue(Project(REPOSITORY)).paths())
HOSTILE = (
    *(b"\t", b"\x00", b"\xff", b"\xc3\x28", b"\xef\xbb\xbf", b"\r", b"\xe2\x80\xa8", b"'", b'"'),
    *(b"{", b"[", b"]", b"}", b": ", b"- ", b"# ", b"&a ", b"*a", b"<<: *a\n", b"---\n", b"!!x "),
    *(b"? ", b"|\n", b">\n", b"%TAG ! !\n", b"no", b"12:30", b"1e999", b"9" * 200, b"0o17", b"~"),
    *(b"environments:\n", b"  production:\n", b"name: x\n", b"fallback: basic_nlp\n", b"...", b"@"),
)


class Checker:
    """A project in which one config at a time is exchanged for a mutated one."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.clean = ConfigCatalogue(project)
        self.slowest_s = 0.0

    def place(self, real: Path) -> Path:
        """Where a mutated config is written: outside the project, under the folder of its kind."""
        kind = real.stem if real.stem in KINDS else real.parent.name
        folder = self.project.root.parent / "mutated" / kind
        folder.mkdir(parents=True, exist_ok=True)
        return folder / real.name

    def check(self, real: Path, data: bytes) -> tuple[Path, CheckReport]:
        path = self.place(real)
        path.write_bytes(data)
        catalogue = ConfigCatalogue(self.project)
        catalogue._read = {**self.clean._read}  # the others are read once for all mutations
        began = time.monotonic()
        report = check_configs(catalogue, [path])
        seconds = time.monotonic() - began
        if seconds >= LONGEST_S:  # on a busy machine: the work counts, not the wait
            began_cpu = time.process_time()
            check_configs(ConfigCatalogue(self.project), [path])
            seconds = time.process_time() - began_cpu
        assert seconds < LONGEST_S, f"{seconds:.2f} s"
        self.slowest_s = max(self.slowest_s, seconds)
        return path, report


@pytest.fixture(scope="module")
def checker(tmp_path_factory: pytest.TempPathFactory) -> Checker:
    found = Checker(make_project(tmp_path_factory.mktemp("mutations") / "project"))
    for path in found.clean.paths():
        found.clean.read(path)
    return found


def mutated_bytes(draw: random.Random, data: bytes) -> bytes:
    """The bytes of a file with one to eight changes at random places."""
    for _ in range(draw.randint(1, 8)):
        place, end = sorted(draw.choices(range(len(data) + 1), k=2))
        end = min(end, place + draw.choice((0, 1, 2, 8, 64)))
        change = draw.randrange(6)
        piece = data[place:end]
        lines = data.split(b"\n")
        if change == 0:
            piece = b""
        elif change == 1:
            piece = draw.choice(HOSTILE) + piece
        elif change == 2:
            piece = bytes(draw.choices(range(256), k=draw.randint(1, 4)))
        elif change == 3:
            piece += piece
        elif change == 4:
            piece = draw.choice(lines) + b"\n" + piece
        else:
            piece = draw.choice(HOSTILE)
        data = data[:place] + piece + data[end:]
    return data


def test_changed_bytes_end_in_findings(checker: Checker) -> None:
    draw = random.Random(4)
    verdicts = {True: 0, False: 0}
    for _ in range(BYTES_CHANGED):
        real = draw.choice(REAL)
        path, report = checker.check(real, mutated_bytes(draw, real.read_bytes()))
        verdicts[report.valid] += 1
        if report.valid:
            assert unknown_keys(path) == []
    print(
        f"{verdicts[True]} of {BYTES_CHANGED} were valid still; the slowest: {checker.slowest_s} s"
    )
    assert verdicts[False] > BYTES_CHANGED / 2
    assert verdicts[True] > BYTES_CHANGED / 100


@cache
def said(real: Path) -> dict[str, Any]:
    """What a real config says."""
    return dict(load_yaml(real).value)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats().filter(lambda one: not one.is_integer()),  # JSON Schema takes 1.0 for whole
    st.text(max_size=20),
    st.sampled_from(
        ["5 seconds", "85%", "$0.10", "128k", "basic_nlp", "gpt4", "env:X", "auto", "1e3", "", " "]
    ),
    st.sampled_from([[], {}, [[]], [{}], ["x"], [None], {"x": 1}, {"": None}, [1, "a", None]]),
)
KEYS = st.one_of(
    st.text(max_size=10), st.sampled_from(["name", "environments", "production", "model", "prices"])
)


def branches(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in nested mappings and lists: what holds it, and its key."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in list(items):
        yield value, key
        if isinstance(item, (dict, list)):
            yield from branches(item)


@st.composite
def mutated_settings(draw: Callable[..., Any]) -> tuple[Path, dict[str, Any]]:
    """What a real config says with one to three branches replaced, removed, renamed or added."""
    real = draw(st.sampled_from(REAL))
    values = deepcopy(said(real))
    for _ in range(draw(st.integers(1, 3))):
        places = list(branches(values))
        if not places:
            break
        holder, key = draw(st.sampled_from(places))
        change = draw(st.sampled_from(["replace", "remove", "rename", "add", "overlay"]))
        if change == "remove":
            del holder[key]
        elif change == "replace" or not isinstance(holder, dict):
            holder[key] = deepcopy(draw(VALUES))
        elif change == "rename":
            holder[draw(KEYS)] = holder.pop(key)
        elif change == "add":
            holder[draw(KEYS)] = deepcopy(draw(VALUES))
        else:
            overlay = {draw(KEYS): deepcopy(draw(VALUES))}
            values["environments"] = {draw(st.sampled_from(STANDARD_ENVIRONMENTS)): overlay}
    return real, values


@given(mutated_settings())
@settings(
    max_examples=SETTINGS_CHANGED,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
def test_changed_settings_end_in_findings_and_both_judges_agree(
    checker: Checker, mutated: tuple[Path, dict[str, Any]]
) -> None:
    real, values = mutated
    text = yaml.dump(values, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True)
    path, report = checker.check(real, text.encode("utf-8", "surrogatepass"))
    if report.valid:
        assert unknown_keys(path) == []
    rules = {finding.code for finding in report.findings}
    if not any(rule.startswith("yaml-") for rule in rules):
        assert_judges_agree(path, report)


def assert_judges_agree(path: Path, report: CheckReport) -> None:
    """The settings class and the JSON Schema give one verdict, but for the bounds of quantities."""
    kind = path.parent.name
    try:
        document = load_document(path)
    except ModelyardError as error:
        if all("unknown environment" in str(problem) for problem in error.problems):
            return  # a schema takes any name of an environment
        header = True
    else:
        header = False
        shaped = check_shape(document)
        if {problem.code for problem in shaped.problems} - {"out-of-range"} != set():
            by_class = False
        elif shaped.problems:
            return  # a schema cannot compare `5 minutes` with `60 seconds`
        else:
            by_class = True
    values = load_yaml(path).value
    by_schema = _validator(kind).is_valid(values)
    if header:
        assert not by_schema, f"only the header check refuses {values}: {report.findings}"
    elif by_class:
        errors = [error.message for error in _validator(kind).iter_errors(values)]
        assert by_schema, f"only the schema refuses: {errors}"
    else:
        merged = [_validator(kind).is_valid(value) for value in merged_values(path)]
        assert not (by_schema and all(merged)), f"only the class refuses: {report.findings}"


def merged_values(path: Path) -> list[Any]:
    document = load_document(path)
    return [resolve(document).values] + [
        resolve(document, environment).values for environment in STANDARD_ENVIRONMENTS
    ]


# JSON Schema takes 1.0 for a whole number, also where it is written `1e0`; the class does not.
_Validator = extend(
    Draft7Validator,
    type_checker=Draft7Validator.TYPE_CHECKER.redefine("integer", lambda _, one: type(one) is int),
)


@cache
def _validator(kind: str) -> Draft7Validator:
    return _Validator(load_schema(kind))


def unknown_keys(path: Path) -> list[str]:
    """Keys of a file that its settings class has no field for; found without the checking code."""
    document = load_document(path)
    values = dict(document.source.value)
    header = {key: values.pop(key, None) for key in document.kind.header_keys}
    overlays = header.get("environments") or {}
    assert set(overlays) <= set(STANDARD_ENVIRONMENTS)
    found = []
    for item in (values, *(overlay or {} for overlay in overlays.values())):
        found += list(_unknown(item, KINDS[document.kind.name].settings_class))
    return found


UNITS = ("_s", "_usd", "_bytes")


def _unknown(values: Any, settings_class: type) -> Iterator[str]:
    if not isinstance(values, dict):
        return
    hints = get_type_hints(settings_class)
    known = {}
    for field in fields(settings_class):
        known[field.name] = hints[field.name]
        for unit in UNITS:
            known[field.name.removesuffix(unit)] = hints[field.name]
    for key, value in values.items():
        if key not in known:
            yield key
        elif is_dataclass(known[key]):
            yield from _unknown(value, known[key])
