"""A page's front matter names it, and what stands in a comment is no heading."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from modelyard.retrieval.chunk import Chunk
from modelyard.retrieval.reading.markdown import markdown_pieces
from modelyard.retrieval.reading.restructured_text import rst_pieces
from modelyard.retrieval.reading.splitting import make_document, split_into_chunks

TEXT = "\n# Setup\n\n" + "how to set it up " * 9 + "\n\n# Use\n\n" + "how to use it " * 9 + "\n"


def count_words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) + 2 for text in texts]


def read(text: str) -> list[Chunk]:
    document = make_document(text, 60, count_words)
    return split_into_chunks(document, markdown_pieces(document))


@pytest.mark.parametrize(
    ("front", "title"),
    [
        ("---\ntitle: The guide\ntags: [a]\n---\n", "The guide"),
        ('---\ntitle: "The: guide" # x\n---\n', "The: guide"),
        ("---\ntitle: 'It''s: one'\n---\n", "It's: one"),
        ("---\ntitle: >-\n  The\n  guide\n---\n", "The guide"),
        ("---\nid: x\ntitle: Broken: yaml # y\n---\n", "Broken: yaml"),
        ('+++\ntitle = "The guide"\n+++\n', "The guide"),
        ("\n\n---\ntitle: The guide\n...\n", "The guide"),
    ],
)
def test_front_matter_names_every_section_and_is_no_chunk(front: str, title: str) -> None:
    found = read(front + TEXT)
    assert [chunk.title for chunk in found] == [f"{title} > Setup", f"{title} > Use"]
    assert not any("title" in chunk.text for chunk in found)
    assert found[0].first_line == front.count("\n") + 2


def test_a_title_that_is_a_heading_too_stands_once_and_a_description_with_the_first() -> None:
    front = "---\ntitle: Setup\ndescription: All of the first day\n---\n"
    titles = [chunk.title for chunk in read(front + TEXT)]
    assert titles == ["Setup: All of the first day", "Setup > Use"]


def test_a_page_of_front_matter_alone_is_still_found() -> None:
    (found,) = read("---\ntitle: Moved\nredirect_to: /new\n---\n")
    assert (found.title, found.first_line, found.last_line) == ("Moved", 1, 3)
    assert "redirect_to: /new" in found.text


@pytest.mark.parametrize(
    "block",
    [
        "<!--\n# hidden\n\n# hidden\n-->",
        "words <!-- begin\n# hidden\n-->",
        "{/*\n\n# hidden\n\nhidden\n---\n*/}",
        "<!-- begin\n\n```\n-->\n",
        "```sh\n# hidden\n\n<!--\n# hidden\n```",
        "- item\n\n  ```sh\n  # hidden\n  ```",
        ":::note\n\n```sh\n# hidden\n```\n\n:::",
        "```{code-block} sh\n:name: x\n\n# hidden\n```",
    ],
    ids=[
        "comment",
        "comment in a line",
        "comment of MDX",
        "fence in a comment",
        "comment in a fence",
        "fence in a list",
        "fence in a directive",
        "directive",
    ],
)
def test_comments_and_code_hold_no_headings_and_hide_none(block: str) -> None:
    titles = [chunk.title for chunk in read(f"# One\n\n{block}\n\n# Two\n\n{'x ' * 40}\n")]
    assert set(titles) == {"One", "Two"}


RST = """\
=====
Guide
=====

Some words at first, which are enough to stand alone as one section of this page here.

Setup of :mod:`x`
-----------------

Another text that is long enough to stand alone, so that it is not joined with the next.

.. code-block:: sh

   hidden
   ======

+---+
| a |
+---+

=====  =====
a      b
=====  =====

-----

Use
---

The last line of a paragraph
is not a title
--------------
"""


def test_restructured_text_goes_by_title() -> None:
    document = make_document(RST, 60, count_words)
    found = split_into_chunks(document, rst_pieces(document))
    titles = [chunk.title for chunk in found]
    assert titles == ["Guide", "Guide > Setup of x", "Guide > Use"]
    assert [chunk.first_line for chunk in found] == [1, 7, 27]


def test_a_comment_that_never_ends_hides_no_heading() -> None:
    assert read(f"words <!-- begin\n\n# Two\n\n{'x ' * 40}\n")[-1].title == "Two"


@pytest.mark.parametrize(
    "heading",
    ["# Two {#two .x}", "# Two <!-- omit in toc -->", "Two {#two}\n====", "# Two {/* no */}"],
)
def test_anchors_and_comments_are_no_words_of_a_heading(heading: str) -> None:
    assert read(f"{heading}\n\nwords\n")[0].title == "Two"
