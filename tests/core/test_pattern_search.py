"""Regular expressions of others come to an end."""

from __future__ import annotations

import pytest

from modelyard.core.pattern_search import SearchTooLong, is_found, why_no_pattern


def test_what_is_found_is_found_anywhere() -> None:
    assert is_found(r"\b[A-Z]{2}\d{4}\b", "Your ticket is AB1234.")
    assert not is_found(r"^\d+$", "12 of 13")


def test_a_search_that_would_never_end_is_given_up() -> None:
    with pytest.raises(SearchTooLong, match="without an end"):
        is_found(r"(a|aa)+$", "a" * 200 + "b", within_s=0.05)


@pytest.mark.parametrize("wrong", ["(", "[a-", "a{99999999999999999999}", "(?P<x>a)(?P=y)"])
def test_what_is_no_pattern_is_told_apart(wrong: str) -> None:
    assert why_no_pattern(wrong)
    with pytest.raises(ValueError, match="no regular expression"):
        is_found(wrong, "a")
    assert why_no_pattern("a+") is None
