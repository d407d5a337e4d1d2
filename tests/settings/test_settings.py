from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest

from modelyard.settings.build import build_settings, build_valid_part
from modelyard.settings.fields import field_docs, settings_mapping
from modelyard.settings.marks import Range


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """The low-rank part."""

    rank: Annotated[int, Range(1, 1024)] = 16
    """How many directions
    each module learns."""
    targets: tuple[str, ...] = ("q_proj",)
    """Which modules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a step costs."""

    name: str
    """Its name."""
    how: Literal["flat", "tiered"]
    """How it is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Steps with prices."""

    steps: Annotated[int, Range(1, 9)]
    """How many."""
    prices: tuple[Price, ...] = ()
    """Their prices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """All settings of a run."""

    dataset: str
    """The dataset to train on."""
    rate: Annotated[float, Range(low=0)] = 5e-4
    """The learning rate."""
    warmup: Annotated[float, Range(high=1)] | None = None
    """The share of steps to warm up in."""
    seed: Annotated[int | None, Range(0, 9)] = None
    """The seed."""
    packing: bool = False
    """Whether to pack."""
    schedule: Literal["cosine", "linear"] = "cosine"
    """The shape of the rate."""
    bits: Literal[4, 8] | None = None
    """The bits of a weight."""
    batch: Annotated[int, Range(1)] | Literal["auto"] = "auto"
    """Rows a step."""
    lora: Lora = field(default_factory=Lora)
    """The low-rank part."""
    tags: Mapping[str, int] = field(default_factory=dict)
    """Free words with numbers."""
    anything: Any = None
    """Whatever."""


def build(**values: Any) -> Spec:
    spec, problems = build_settings(Spec, {"dataset": "d", **values}, lambda path: None)
    assert problems == []
    assert spec is not None
    return spec


def problems_with(**values: Any) -> list[str]:
    spec, problems = build_settings(Spec, {"dataset": "d", **values}, lambda path: str(path))
    assert spec is None
    return [problem.message for problem in problems]


def test_defaults_hold_where_nothing_is_given() -> None:
    assert build() == Spec(dataset="d")


def test_nested_mappings_become_nested_settings() -> None:
    spec = build(lora={"rank": 8, "targets": ["q_proj", "v_proj"]}, tags={"a": 1}, anything=[1])
    assert spec.lora == Lora(rank=8, targets=("q_proj", "v_proj"))
    assert spec.tags == {"a": 1}
    assert spec.anything == [1]


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ({"rate": 1}, 1.0),
        ({"warmup": None}, None),
        ({"warmup": 0.1}, 0.1),
        ({"seed": 3}, 3),
        ({"bits": 4}, 4),
        ({"batch": 4}, 4),
        ({"batch": "auto"}, "auto"),
    ],
)
def test_what_a_type_allows_is_kept(values: dict[str, Any], kept: Any) -> None:
    (name,) = values
    read = getattr(build(**values), name)
    assert read == kept
    assert type(read) is type(kept)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lora": {"rank": 0}}, "'lora.rank' must be between 1 and 1024, not 0"),
        ({"lora": {"rank": 1.5}}, "'lora.rank' must be a whole number, not 1.5"),
        ({"lora": {"rank": True}}, "'lora.rank' must be a whole number, not true"),
        ({"lora": {"targets": "q_proj"}}, "'lora.targets' must be a list, not 'q_proj'"),
        ({"lora": {"targets": [1]}}, "'lora.targets[0]' must be text, not 1"),
        ({"lora": 5}, "'lora' must be a mapping, not 5"),
        ({"rate": -1}, "'rate' must be at least 0, not -1.0"),
        ({"rate": "fast"}, "'rate' must be a number, not 'fast'"),
        ({"rate": float("nan")}, "'rate' must be a number, not nan"),
        ({"rate": float("inf")}, "'rate' must be a number, not inf"),
        ({"rate": None}, "'rate' must be a number, not null"),
        ({"warmup": 2}, "'warmup' must be at most 1, not 2.0"),
        ({"seed": 10}, "'seed' must be between 0 and 9, not 10"),
        ({"packing": 1}, "'packing' must be true or false, not 1"),
        ({"packing": "true"}, "'packing' must be true or false, not 'true'"),
        (
            {"schedule": "cosin"},
            "'schedule' must be one of cosine, linear, not 'cosin' (did you mean 'cosine'?)",
        ),
        ({"bits": 4.0}, "'bits' must be one of 4, 8, not 4.0"),
        ({"batch": 0}, "'batch' must be a whole number at least 1 or auto, not 0"),
        ({"batch": "all"}, "'batch' must be a whole number at least 1 or auto, not 'all'"),
        ({"dataset": 5}, "'dataset' must be text, not 5"),
        ({"tags": {"a": "x"}}, "'tags.a' must be a whole number, not 'x'"),
        ({"tags": [1]}, "'tags' must be a mapping, not [1]"),
        ({"lora": {"rnak": 8}}, "unknown key 'lora.rnak' (did you mean 'lora.rank'?)"),
        ({"banana": 8}, "unknown key 'banana'"),
    ],
)
def test_what_a_type_does_not_allow_is_said_in_words(values: dict[str, Any], message: str) -> None:
    assert problems_with(**values) == [message]


def test_a_number_too_large_for_a_float_is_no_number() -> None:
    assert problems_with(rate=10**400)[0].startswith("'rate' must be a number")


def test_every_problem_is_reported_with_its_place() -> None:
    spec, problems = build_settings(
        Spec, {"rate": "x", "lora": {"rank": 0, "b": 1}}, lambda path: f"a.yaml:{path}"
    )
    assert spec is None
    assert [(problem.message, problem.where) for problem in problems] == [
        ("'rate' must be a number, not 'x'", "a.yaml:('rate',)"),
        ("'lora.rank' must be between 1 and 1024, not 0", "a.yaml:('lora', 'rank')"),
        ("unknown key 'lora.b'", "a.yaml:('lora', 'b')"),
        ("'dataset' is required", "a.yaml:()"),
    ]


def test_the_words_under_each_field_are_its_help() -> None:
    assert field_docs(Lora) == {
        "rank": "How many directions\neach module learns.",
        "targets": "Which modules.",
    }


def test_settings_are_plain_when_they_are_saved_and_read_back_the_same() -> None:
    spec = build(lora={"targets": ["a", "b"]}, tags={"x": 1})
    plain = settings_mapping(spec)
    assert plain["lora"] == {"rank": 16, "targets": ["a", "b"]}
    assert build_settings(Spec, plain, lambda path: None) == (spec, [])


def test_a_number_with_an_exponent_is_shown_as_it_is_written() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Run:
        label: str
        """Its label."""
        steps: int
        """Its steps."""

    texts = {("label",): "1e3", ("steps",): "1e6"}
    values = {"label": 1e3, "steps": 1e6}
    _, problems = build_settings(Run, values, lambda _: None, written=texts.get)
    assert [(problem.message, problem.hint) for problem in problems] == [
        ("'label' must be text, not 1e3", 'write "1e3"'),
        ("'steps' must be a whole number, not 1e6", "write 1000000"),
    ]


def test_the_valid_part_leaves_out_what_is_wrong_and_says_so() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Run:
        steps: int
        """Its steps."""
        words: tuple[str, ...] = ()
        """Its words."""

    built, doubtful = build_valid_part(Run, {"steps": 5, "words": ["a", 7], "wrods": 1})
    assert built == [Run(steps=5)]
    assert doubtful == {("words", 1), ("wrods",), ("words",)}


def test_what_is_missing_is_filled_in_from_one_extreme_to_the_other() -> None:
    values = {"steps": "x", "prices": [{"name": "a"}]}
    built, doubtful = build_valid_part(Plan, values)
    assert [(run.steps, run.prices[0].how) for run in built] == [
        *((1, "flat"), (9, "flat"), (1, "tiered"), (9, "tiered"))
    ]
    assert {run.prices[0].name for run in built} == {"a"}
    assert doubtful == {("steps",), ("prices", 0, "how")}
    assert values == {"steps": "x", "prices": [{"name": "a"}]}
