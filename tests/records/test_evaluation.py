from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from modelyard.core.errors import InvalidInput
from modelyard.records.evaluation import (
    Answers,
    Evaluation,
    Kind,
    ModelFigures,
    PairedDifference,
    comparison_table,
    pool_answers,
)


def answers(group: str, base: int, tuned: int, *, rows: int = 10, kind: Kind = "facts") -> Answers:
    return Answers(
        group=group,
        kind=kind,
        rows=rows,
        base_right=base,
        tuned_right=tuned,
        tuned_interval=(0.4, 0.9),
    )


EVALUATION = Evaluation(
    rows=1200,
    tokens=20_000,
    fingerprint="sha256:eval",
    base=ModelFigures(loss=7.25, perplexity=1408.1048, facts_recalled=0.0),
    tuned=ModelFigures(loss=1.2, perplexity=3.3201, facts_recalled=0.7),
    difference=PairedDifference(-6.05, -6.5, -5.6),
    answers=(answers("facts", 0, 7), answers("general", 6, 5)),
)


def read(values: Any) -> Evaluation:
    return Evaluation.from_mapping(values, lambda _: "validation.json")


def test_the_rows_of_figures_are_what_every_place_shows() -> None:
    rows = [(row.name, row.base, row.adapter, row.interval) for row in EVALUATION.all_rows()]
    assert rows == [
        ("loss", "7.250", "1.200", "-6.500 to -5.600 (difference)"),
        ("perplexity", "1,408.10", "3.32", ""),
        ("facts recalled", "0%", "70%", "40% to 90% (10 answers)"),
        ("facts recalled (general)", "60%", "50%", "40% to 90% (10 answers)"),
    ]
    assert EVALUATION.summary == (
        "On 1,200 conversations it never saw, the loss differs by -6.050 from the base's "
        "(95% interval -6.500 to -5.600)."
    )


def test_several_datasets_are_a_row_each_of_one_table() -> None:
    labels = replace(
        EVALUATION,
        rows=3,
        base=ModelFigures(loss=2.0, perplexity=7.39, exact_match=0.25),
        tuned=ModelFigures(loss=1.0, perplexity=2.72, exact_match=0.5),
        difference=PairedDifference(-1.0, None, None),
        answers=(),
    )
    columns, rows = comparison_table({"facts": EVALUATION, "labels": labels})
    assert [column.lstrip(">") for column in columns] == [
        "dataset",
        "rows",
        "loss",
        "perplexity",
        "facts recalled",
        "exact match",
        "loss difference, 95%",
    ]
    assert rows == [
        (
            "facts",
            "1,200",
            "7.250 → 1.200",
            "1,408.10 → 3.32",
            "0% → 70% of 10",
            "—",
            "-6.500 to -5.600",
        ),
        ("labels", "3", "2.000 → 1.000", "7.39 → 2.72", "—", "25% → 50%", "—"),
    ]


def test_groups_are_listed_below_their_sum_which_has_no_interval() -> None:
    several = (answers("old: a", 1, 8), answers("old: b", 2, 6), answers("old: general", 6, 5))
    rows = list(replace(EVALUATION, answers=several).all_rows())
    assert [(row.name, row.interval) for row in rows[2:]] == [
        ("facts recalled", "20 answers"),
        ("facts recalled (old: a)", "40% to 90% (10 answers)"),
        ("facts recalled (old: b)", "40% to 90% (10 answers)"),
        ("facts recalled (old: general)", "40% to 90% (10 answers)"),
    ]
    pool = pool_answers(several, "facts")
    assert pool is not None
    assert (pool.rows, pool.base_share, pool.tuned_share) == (20, 0.15, 0.7)
    assert pool_answers(several, "labels") is None


def test_a_card_shows_the_same_figures_without_the_details() -> None:
    kept = read(EVALUATION.figures_mapping())
    assert (kept.tokens, kept.answers) == (None, ())
    shown = [(row.name, row.base, row.adapter) for row in EVALUATION.main_rows()]
    assert [(row.name, row.base, row.adapter) for row in kept.all_rows()] == shown


def test_few_rows_have_no_interval_and_say_so() -> None:
    alone = replace(EVALUATION, rows=1, difference=PairedDifference(-1.0, None, None))
    assert next(alone.main_rows()).interval == ""
    assert alone.summary == "On 1 conversation it never saw; too few for an interval."
    assert read(alone.to_mapping()) == alone


def test_an_evaluation_is_read_as_it_was_written() -> None:
    assert read(json.loads(json.dumps(EVALUATION.to_mapping()))) == EVALUATION
    assert "exact_match" not in EVALUATION.to_mapping()["base"]
    assert "old" not in EVALUATION.to_mapping()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": "87"}, "'rows' must be a whole number"),
        ({"fingerprint": None}, "'fingerprint' must be text, not null"),
        ({"difference": {"mean": -1.0}}, "'difference.low' is required"),
        ({"tuned": {"loss": float("nan")}}, "'tuned.loss' must be a number, not nan"),
        ({"answers": [{}]}, "'answers[0].group' is required"),
        ({"examples": {}}, "'examples' must be a list"),
    ],
)
def test_what_is_missing_or_odd_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(EVALUATION.to_mapping() | changes)
    assert any(message in problem.message for problem in caught.value.problems)
    assert caught.value.where == "validation.json"


def test_an_interval_has_two_ends_and_a_group_was_asked_something() -> None:
    values = EVALUATION.to_mapping()
    values["answers"][0] |= {"tuned_interval": [0.1, 0.2, 0.3], "rows": 0}
    with pytest.raises(InvalidInput) as caught:
        read(values)
    assert sorted(problem.message for problem in caught.value.problems) == [
        "'answers[0].rows' must be at least 1, not 0",
        "'answers[0].tuned_interval' must be a list of 2 items, not [0.1, 0.2, 0.3]",
    ]
    with pytest.raises(InvalidInput, match="needs both 'low' and 'high'"):
        read(EVALUATION.to_mapping() | {"difference": {"mean": 1.0, "low": 0.5, "high": None}})
