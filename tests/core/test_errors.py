from __future__ import annotations

import pytest

from modelyard.core import errors
from modelyard.core.errors import (
    Diagnostic,
    InvalidInput,
    ModelyardError,
    ProblemsFound,
    did_you_mean,
)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("ModelyardError", 1),
        ("InvalidInput", 2),
        ("GateBreached", 4),
        ("NoData", 5),
        ("Interrupted", 130),
    ],
)
def test_each_kind_of_failure_has_its_exit_code(name: str, code: int) -> None:
    assert getattr(errors, name).exit_code == code
    assert issubclass(getattr(errors, name), ModelyardError)


def test_an_error_reads_as_where_and_what() -> None:
    error = InvalidInput("unknown key 'x'", where="a.yaml:3:1", hint="remove it")
    assert str(error) == "a.yaml:3:1: unknown key 'x'"
    assert str(ModelyardError("nothing fits")) == "nothing fits"


def test_problems_are_kept_in_their_order() -> None:
    problems = [Diagnostic(message="bad", where="a:1"), Diagnostic(message="worse")]
    error = ProblemsFound("two things are wrong", problems)
    assert [str(problem) for problem in error.problems] == ["a:1: bad", "worse"]
    assert ModelyardError("alone").problems == ()


def test_a_near_word_is_suggested_and_a_far_one_is_not() -> None:
    assert did_you_mean("rnak", ["rank", "alpha"]) == " (did you mean 'rank'?)"
    assert did_you_mean("banana", ["rank", "alpha"]) == ""
