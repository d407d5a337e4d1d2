"""The part of a chunk that is shown, with its terms marked."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from modelyard.retrieval.snippets import make_snippet
from search_samples import marked_text


@pytest.mark.parametrize(
    ("terms", "first", "marked"),
    [
        (["three"], 7, "line ‹three›\nline four\nline five"),
        ([], 5, "line one\nline two\nline three\nline four"),
        (["on", "five"], 5, "line ‹one›\nline two\nline three\nline four"),
    ],
)
def test_a_snippet_begins_where_it_matches(terms: Sequence[str], first: int, marked: str) -> None:
    text = "line one\nline two\nline three\nline four\nline five"
    snippet = make_snippet(text, terms, first_line=5)
    assert (snippet.first_line, marked_text(snippet)) == (first, marked)


def test_a_long_line_is_shown_around_its_match() -> None:
    snippet = make_snippet("x " * 2_000 + "needle" + " y" * 2_000, ["needl"])
    assert len(snippet.text) < 320
    assert "‹needle›" in marked_text(snippet)


def test_marks_are_right_where_lines_are_cut() -> None:
    long = "needle " + "x " * 200 + "needle"
    snippet = make_snippet(f"a needle\n{long}\nlast needle", ["needl"])
    assert marked_text(snippet).count("‹needle›") == 3
    assert snippet.text.splitlines()[1].endswith("…")
