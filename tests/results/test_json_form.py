"""A result as JSON: keys, marks and order."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.errors import InvalidInput
from modelyard.records.evaluation import Evaluation, ModelFigures, PairedDifference
from modelyard.results.json_form import published, result_of, to_json


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part."""

    name: str
    """Its name."""
    secret: str = "hidden"
    """What is left out where it is shown."""
    share: float | None = field(default=None, metadata=published(if_known=True))
    """Its share."""


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A whole."""

    available: bool = field(metadata=published("at_hand"))
    """Whether it is there."""
    folder: Path
    """Where it is."""
    first: Part | None = field(metadata=published(inline=True))
    parts: tuple[Part, ...] = field(metadata=published(without=("secret",)))
    """The others."""
    sizes: dict[str, list[int]]
    """By name."""
    problem: str | None = None
    """What is wrong."""


WHOLE = Whole(
    available=True,
    folder=Path("a/b"),
    first=Part(name="one", share=0.5),
    parts=(Part(name="two"),),
    sizes={"x": [1]},
)


def test_keys_stand_in_the_order_of_the_fields_with_their_published_names() -> None:
    assert list(to_json(WHOLE).items()) == [
        ("at_hand", True),
        ("folder", "a/b"),
        ("name", "one"),
        ("secret", "hidden"),
        ("share", 0.5),
        ("parts", [{"name": "two"}]),
        ("sizes", {"x": [1]}),
        ("problem", None),
    ]


def test_a_part_that_is_not_there_gives_no_keys() -> None:
    assert "name" not in to_json(result_of(Whole, WHOLE, first=None))


def test_a_number_that_json_does_not_have_is_null() -> None:
    diverged = Evaluation(
        rows=3,
        fingerprint="sha256:eval",
        base=ModelFigures(loss=2.5, perplexity=math.inf),
        tuned=ModelFigures(loss=math.nan),
        difference=PairedDifference(math.nan, -math.inf, None),
    )
    found = json.loads(json.dumps(to_json(diverged), allow_nan=False))
    assert found["base"] == {"loss": 2.5, "perplexity": None}
    assert found["tuned"] == {"loss": None}
    assert found["difference"] == {"mean": None, "low": None, "high": None}


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_diverged_evaluation_is_not_read_so_no_result_has_one(number: float) -> None:
    figures = {"loss": 2.5}
    stored = {"rows": 3, "fingerprint": "x", "base": figures, "tuned": {"loss": number}}
    stored["difference"] = {"mean": 0.0, "low": None, "high": None}
    with pytest.raises(InvalidInput, match="the evaluation cannot be read") as refused:
        Evaluation.from_mapping(stored, lambda path: "validation.json")
    assert "'tuned.loss' must be" in str(refused.value.problems[0])


@pytest.mark.parametrize("value", [date(2026, 1, 1), {1, 2}, b"x", object()])
def test_what_json_cannot_hold_is_refused_with_its_type(value: Any) -> None:
    with pytest.raises(TypeError, match=f"a result holds a {type(value).__name__}"):
        to_json([value])


def test_a_result_takes_what_it_has_in_common_and_the_rest() -> None:
    assert result_of(Part, WHOLE, name="three") == Part(name="three")
    with pytest.raises(TypeError, match="name"):
        result_of(Part, WHOLE)
