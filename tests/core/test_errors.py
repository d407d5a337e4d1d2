from __future__ import annotations

import ast
from pathlib import Path

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


def test_the_place_of_a_diagnostic_is_read_from_where_it_says() -> None:
    assert Diagnostic(message="bad", where="a:b.yaml:12:3").place == ("a:b.yaml", 12, 3)
    assert Diagnostic(message="bad", where="a.yaml").place == ("a.yaml", 1, 1)
    assert Diagnostic(message="bad").place == ("", 1, 1)


def test_the_tree_of_errors_names_every_class_of_the_source() -> None:
    """Run this file as a program to print the tree for the docstring of core/errors.py."""
    assert error_tree() in (errors.__doc__ or ""), error_tree()


def error_tree() -> str:
    """Every subclass of ModelyardError below the one it derives from, with its package."""
    source = Path(errors.__file__).parents[1]
    base_of: dict[str, str] = {}
    package_of: dict[str, str] = {}
    exit_codes: dict[str, int] = {}
    for path in source.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.ClassDef(name=name, bases=[ast.Name(base), *_], body=body):
                    base_of[name] = base
                    package_of[name] = path.relative_to(source).parts[0]
                    for statement in body:
                        match statement:
                            case ast.Assign([ast.Name("exit_code")], ast.Constant(int(code))):
                                exit_codes[name] = code

    def lines(name: str, depth: int) -> list[str]:
        code = f"exit code {exit_codes[name]}" if name in exit_codes else ""
        line = f"{' ' * (4 + 2 * depth)}{name:<{28 - 2 * depth}}{package_of[name]:<13}{code}"
        below = [other for other, base in base_of.items() if base == name]
        below.sort(key=lambda other: (exit_codes.get(other, 0), other))
        return [line.rstrip(), *(line for other in below for line in lines(other, depth + 1))]

    return "\n".join(lines("ModelyardError", 0))


if __name__ == "__main__":
    print(error_tree())
