"""Snippets of pages: the command that is asked for rather than the heading above it."""

from __future__ import annotations

import pytest

from modelyard.retrieval.chunk import Chunk
from modelyard.retrieval.snippets import chunk_snippet
from modelyard.retrieval.terms import query_terms

PAGE = """\
## Installing

Take the wheel of your platform.

## Rolling back an adapter

The link moves to the version before it.
Requests that run meanwhile end
on the version that they began with,
and new ones get the older one.

```sh
# as the user who serves
models adapters --to 4 acme
```

Nothing is deleted."""


def shown(text: str, query: str, *, title: str = "Guide", kind: str = "section") -> list[str]:
    lines = 1 + text.count("\n")
    chunk = Chunk(text=text, title=title, kind=kind, first_line=1, last_line=lines)
    snippet = chunk_snippet(chunk, query_terms(query))
    assert text.split("\n")[snippet.first_line - 1] == snippet.text.split("\n")[0]
    return snippet.text.split("\n")


@pytest.mark.parametrize("query", ["how do I roll back an adapter", "rolling back"])
def test_the_command_below_a_heading_is_shown(query: str) -> None:
    assert "models adapters --to 4 acme" in shown(PAGE, query)


def test_the_command_of_a_section_is_shown_where_its_title_has_the_words() -> None:
    text = PAGE.partition("an adapter\n\n")[2]
    found = shown(text, "rolling back an adapter", title="Guide > Rolling back an adapter")
    assert "models adapters --to 4 acme" in found


def test_a_command_of_another_heading_is_not_preferred() -> None:
    text = PAGE.replace("## Installing", "## Installing\n\n```sh\npip install modelyard\n```")
    assert "models adapters --to 4 acme" in shown(text, "roll back an adapter")
    assert "pip install modelyard" in shown(text, "installing")


def test_a_paragraph_that_answers_comes_before_a_command_that_does_not() -> None:
    found = shown(PAGE, "what do requests get that run meanwhile")
    assert "Requests that run meanwhile end" in found


def test_output_is_no_command() -> None:
    page = "## Limits\n\none\ntwo\nthree\nfour\n\n```json\n{}\n```\n\n$ models limits\n"
    assert "$ models limits" in shown(page, "limits")


def test_a_comment_of_code_is_no_heading() -> None:
    code = "# open the lock\ntake()\n\n\n\n$ x\nlock = 1"
    assert shown(code, "open lock", kind="function")[0] == "# open the lock"
