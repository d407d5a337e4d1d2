"""Schema, settings class and documentation say one thing, because they are made from one."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from killed import SOAK
from modelyard.cli.reference import render_config_reference
from modelyard.configs.kinds import KINDS, STANDARD_ENVIRONMENTS, Kind
from modelyard.configs.reading.document import Document, load_document
from modelyard.configs.reading.shape import check_shape
from modelyard.configs.reading.spellings import respell
from modelyard.configs.schema import build_schema, load_schema
from modelyard.settings.build import build_settings
from modelyard.settings.json_schema import render_schema

REPOSITORY = Path(__file__).parents[2]
PACKAGED = REPOSITORY / "src" / "modelyard" / "configs" / "schemas"
CONFIGS = sorted(
    path
    for path in (REPOSITORY / "configs").rglob("*.yaml")
    if path.parent.name in KINDS or path.stem in KINDS
)
KIND = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
CONFIG = pytest.mark.parametrize(
    "path", CONFIGS, ids=lambda path: f"{path.parent.name}-{path.stem}"
)

IN_EACH_CONFIG = SOAK >= 10
"""Whether a key is changed in each config that has it, and not only in the first."""

# One of each sort of value that a person might write.
VALUES = (
    *(None, True, 0, -1, 3, 0.5, 10**12, "", "x", "no such name", "a\nb", "x\n", "auto", "5"),
    *("5 seconds", "5 seconds\n", "5 parsecs", "85%", "$1.50", "1,200", "128k", "2 MB"),
    *("env:KEY", "https://example.com/v1", [], ["x"], [1], {}, {"x": 1}, {"A b": "x"}),
)


def schema_says(document: Document, values: Any) -> bool:
    return jsonschema.Draft7Validator(load_schema(document.kind.name)).is_valid(values)


@KIND
def test_the_packaged_schema_is_fresh(kind: Kind) -> None:
    file = PACKAGED / f"{kind.name}.json"
    assert file.read_text() == render_schema(build_schema(kind)), (
        "run `models config schema --all --to src/modelyard/configs/schemas`"
    )


def test_there_is_a_schema_for_each_kind_and_no_other() -> None:
    assert sorted(file.stem for file in PACKAGED.iterdir()) == sorted(KINDS)


def test_the_project_has_the_schemas_where_its_configs_look_for_them() -> None:
    link = REPOSITORY / "configs" / "schemas"
    assert link.is_symlink() and link.resolve() == PACKAGED.resolve()


def test_the_documentation_is_fresh() -> None:
    page = REPOSITORY / "docs" / "configs.md"
    assert page.read_text() == render_config_reference(), "run `make docs`"


@KIND
def test_a_schema_is_a_schema(kind: Kind) -> None:
    jsonschema.Draft7Validator.check_schema(load_schema(kind.name))


@KIND
def test_every_key_is_described_and_no_other_key_is_allowed(kind: Kind) -> None:
    for part in objects_in(load_schema(kind.name)):
        spread = part["additionalProperties"]  # domains may stand beside the keys of a group
        assert spread is False or (spread, "tasks" in part["properties"]) == (
            {"type": "string"},
            True,
        )
        assert all(item["description"] for item in part["properties"].values())


@KIND
def test_every_default_and_example_is_right(kind: Kind) -> None:
    schema = load_schema(kind.name)
    checked = 0
    for part in objects_in(schema):
        for property_ in part["properties"].values():
            defaults = [property_["default"]] if "default" in property_ else []
            texts = [*property_.get("examples", []), *defaults]
            for value in texts:
                alone = {**property_, "definitions": schema["definitions"]}
                jsonschema.Draft7Validator(alone).validate(value)
                checked += 1
    assert checked


@KIND
def test_every_default_of_the_first_level_is_that_of_the_class(kind: Kind) -> None:
    properties = load_schema(kind.name)["properties"]
    given = {key: item["default"] for key, item in properties.items() if "default" in item}
    _, problems = build_settings(kind.settings_class, given, lambda path: ".".join(map(str, path)))
    assert {problem.code for problem in problems} <= {"missing"}


@CONFIG
def test_every_config_of_the_repository_meets_its_schema(path: Path) -> None:
    document = load_document(path)
    jsonschema.Draft7Validator(load_schema(document.kind.name)).validate(document.source.value)


@CONFIG
def test_every_config_of_the_repository_names_its_schema(path: Path) -> None:
    document = load_document(path)
    first = path.read_text().splitlines()[0]
    named = first.removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / named).resolve() == (PACKAGED / f"{document.kind.name}.json").resolve()


def test_an_overlay_may_leave_out_what_the_base_has() -> None:
    document = load_document(REPOSITORY / "configs" / "language_models" / "gpt4_config.yaml")
    values = copy.deepcopy(document.source.value)
    values["environments"] = {"production": {"prices": {"input_per_million": "$3"}}}
    assert schema_says(document, values)
    del values["prices"]["output_per_million"]
    assert not schema_says(document, values)


def test_an_item_of_a_list_is_complete_in_an_overlay_too() -> None:
    document = load_document(REPOSITORY / "configs" / "integration.yaml")
    values = copy.deepcopy(document.source.value)
    rules = [{"domains": ["summarization"]}]
    values["environments"] = {"test": {"model_integration": {"routing": {"rules": rules}}}}
    assert not schema_says(document, values)


@pytest.mark.parametrize(
    "header",
    [
        {"name": "No name"},
        {"environments": {"No name": {}}},
        {"environments": {"eu-production": {"x": 1}}},
        {"x": 1},
    ],
)
def test_the_header_is_in_the_schema(header: dict[str, Any]) -> None:
    document = load_document(REPOSITORY / "configs" / "integration.yaml")
    assert not schema_says(document, document.source.value | header)


@KIND
def test_schema_and_class_agree_on_every_value_of_every_key(kind: Kind) -> None:
    validator = jsonschema.Draft7Validator(load_schema(kind.name))
    done = set()
    for document in map(load_document, CONFIGS):
        if document.kind != kind:
            continue
        for path in paths_in(document.source.value, ()):
            if path == ("name",) or (path[0] == "environments" and len(path) < 3):
                continue  # load_document judges these
            key = (IN_EACH_CONFIG and document.label, *map(without_index, path))
            if key not in done:
                done.add(key)
                check_agreement(document, validator, path)
    assert done


def without_index(step: str | int) -> str:
    return step if isinstance(step, str) else "[]"


def check_agreement(
    document: Document, validator: jsonschema.Draft7Validator, path: tuple[Any, ...]
) -> None:
    """Schema and class say the same of a config with each of VALUES in one place."""
    for value in VALUES:
        values = changed_in_one_place(document.source.value, path, value)
        source = respell(replace(document.source, value=values), document.kind, lambda name: name)
        problems = check_shape(replace(document, source=source)).problems
        accepted = validator.is_valid(values)
        if not problems:
            assert accepted, (document.label, path, value)
        elif accepted:
            # What JSON Schema has no words for.
            rules = {problem.code for problem in problems}
            own = replace(source, value={**values, "environments": None})
            in_overlay = not check_shape(replace(document, source=own)).problems
            known = {*(["out-of-range"] * isinstance(value, str)), *(["missing"] * in_overlay)}
            assert rules <= known, (document.label, path, value)


def changed_in_one_place(values: Any, path: tuple[Any, ...], value: Any) -> Any:
    """The config with another value in one place; what is beside the way there is not copied."""
    if not path:
        return value
    changed = copy.copy(values)
    first, *rest = path
    changed[first] = changed_in_one_place(values[first] if rest else None, tuple(rest), value)
    return changed


def paths_in(values: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(values, dict):
        yield (*path, "no_such_key")
    steps = (
        values
        if isinstance(values, dict)
        else range(len(values))
        if isinstance(values, list)
        else ()
    )
    for step in steps:
        yield from paths_in(values[step], (*path, step))


def objects_in(schema: Any) -> Iterator[dict[str, Any]]:
    """Every part of a schema that says what keys an object has."""
    if isinstance(schema, dict):
        if "properties" in schema and schema.get("type") == "object":
            yield schema
        for value in schema.values():
            yield from objects_in(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from objects_in(value)


def test_a_schema_offers_the_standard_environments_and_takes_any_other() -> None:
    for kind in KINDS.values():
        if kind.deployable:
            environments = load_schema(kind.name)["properties"]["environments"]
            assert tuple(environments["properties"]) == STANDARD_ENVIRONMENTS
    document = load_document(REPOSITORY / "configs" / "language_models" / "gpt4_config.yaml")
    overlay = {"environments": {"eu-production": {"timeout": "9 seconds"}}}
    assert schema_says(document, document.source.value | overlay)


def test_a_schema_stays_readable() -> None:
    for file in PACKAGED.iterdir():
        assert json.loads(file.read_text())["title"] in {kind.title for kind in KINDS.values()}
