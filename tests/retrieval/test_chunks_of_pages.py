"""Pages of Markdown, HTML and PDF go by heading or page, and every chunk stands on its lines."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunk_reading import check_lines, count_words, read, small_pdf
from modelyard.configs.kinds.embedding_models import IndexSettings
from modelyard.retrieval.reading.chunks import read_chunks

SOAK = int(os.environ.get("MODELYARD_SOAK", "1"))


def test_markdown_goes_by_heading_with_its_trail() -> None:
    long = " ".join(["words"] * 60)
    text = f"# Guide\n\nIntro {long}.\n\n## Roll `back`\n\n```sh\n# no heading\n```\n{long}\n"
    text += f"\nSetext\n------\n\n{long}\n"
    found = read(text, "a.md")
    assert [finding.title for finding in found] == ["Guide", "Guide > Roll back", "Guide > Setext"]
    assert [(finding.first_line, finding.last_line) for finding in found] == [
        (1, 3),
        (5, 10),
        (12, 15),
    ]
    assert "# no heading" in found[1].text


@pytest.mark.parametrize(
    "block",
    [
        "<!--\n# Not this\n\n## Nor this\n-->",
        "<pre>\n# Not this\n\n## Nor this\n</pre>",
        "<script>\n\n# Not this\n</script>",
        "```\n# Not this\n    ```\n# Nor this\n```",
        "````\n```\n# Not this\n```\n````",
        "- ```\n  # Not this\n  ```",
        "> # Not this",
        "- # Not this",
        "    # Not this",
        "\\# Not this",
        "#Not this",
        "| Not |\n| --- |\n| this |",
        "Not this\n***",
        " ".join(["Not this paragraph"] * 20) + "\n---",
    ],
)
def test_what_only_looks_like_a_heading_is_text(block: str) -> None:
    long = " ".join(["words"] * 60)
    text = f"# Page\n\n{long}\n\n{block}\n\n{long}\n\n# Next\n\n{long}\n"
    found = read(text, "a.md", tokens=400)
    last = text.split("\n").index("# Next") + 1
    assert [(one.title, one.first_line) for one in found] == [("Page", 1), ("Next", last)]
    assert block.partition("\n")[2].strip("\n") in found[0].text or "\n" not in block
    check_lines(text.encode(), found)


@pytest.mark.parametrize(
    ("heading", "title"),
    [
        ("## With `code` and [a link](https://x) ##", "With code and a link"),
        ("   ## Indented", "Indented"),
        ("Over\ntwo lines\n---", "Over two lines"),
        ("##", ""),
        ("## A\tb\r", "A b"),
    ],
)
def test_a_heading_is_what_commonmark_says(heading: str, title: str) -> None:
    long = " ".join(["words"] * 60)
    text = f"# Page\n\n{long}\n\n{heading}\n\n{long}\n"
    found = read(text, "a.md")
    assert [one.title for one in found] == ["Page", f"Page > {title}" if title else "Page"]
    assert [one.first_line for one in found] == [1, 5]
    assert found[1].last_line == text.rstrip("\n").count("\n") + 1


def test_lines_stay_exact_below_odd_characters_and_front_matter() -> None:
    long = " ".join(["words"] * 60)
    odd = "Odd \x0b \x0c \x85 \u2028 one"
    text = f"---\na: b\n---\r\n\r\n# {odd}\r\n{long}\r\n\n# Two\n\n{long}\n"
    found = read(text, "a.md")
    assert [(one.first_line, one.last_line) for one in found] == [(5, 6), (8, 10)]
    check_lines(text.encode(), found)


def test_tiny_sections_under_one_heading_are_kept_together() -> None:
    text = "# Errors\n\n" + "".join(f"## E{n}\n\nWhat it is {n}.\n\n" for n in range(5))
    assert len(read(text, "a.md")) == 1
    assert read(text, "a.md")[0].title == "Errors"


MARKDOWN_BLOCKS = st.sampled_from(
    ["# Top {n}", "## Second {n}", "### Third {n}", "###### Deep {n}", "Set {n}\n---", "body {n}"]
)


@settings(derandomize=True, max_examples=200 * SOAK, deadline=None, database=None)
@given(blocks=st.lists(MARKDOWN_BLOCKS, min_size=1, max_size=12))
def test_a_title_covers_all_of_its_chunk_and_no_heading_is_lost(blocks: list[str]) -> None:
    text = "\n\n".join(block.format(n=f"w{n}") for n, block in enumerate(blocks)) + "\n"
    found = read(text, "a.md")
    check_lines(text.encode(), found)
    trail: list[tuple[int, str]] = []
    for number, block in enumerate(blocks):
        level = 2 if "---" in block else len(block) - len(block.lstrip("#"))
        words = block.format(n=f"w{number}").lstrip("# ").partition("\n")[0]
        trail = [*(item for item in trail if item[0] < level), (level, words)] if level else trail
        (here, *_) = [finding for finding in found if words in finding.embedded]
        if not level:
            assert all(heading in here.embedded for _, heading in trail)
            assert [heading for _, heading in trail[: here.title.count(" > ") + 1]] == (
                here.title.split(" > ") if here.title else []
            )


def test_a_heading_without_a_text_is_found() -> None:
    (alone,) = read("# watched platypus\n", "a.md")
    assert (alone.title, alone.first_line, alone.last_line) == ("watched platypus", 1, 1)
    long = " ".join(["words"] * 100)
    *_, last = read(f"# Guide\n\n{long}\n\n## Told\n\n{long}\n\n## Lonely heading\n", "a.md")
    assert (last.title, last.first_line) == ("Guide > Lonely heading", 9)
    (page,) = read("<p>\n<h2>Lonely heading</h2>", "a.html")
    assert (page.title, page.first_line) == ("Lonely heading", 2)


def test_a_long_section_is_split_between_paragraphs_and_keeps_its_code_whole() -> None:
    code = "```\n" + "\n\n".join("code line" for _ in range(20)) + "\n```"
    text = "# T\n\n" + "\n\n".join(["some words here " * 8] * 10) + "\n\n" + code + "\n"
    found = read(text, "a.md", tokens=64)
    assert len(found) > 3
    assert (
        sum(finding.text.count("```") for finding in found if finding.text.count("```") == 2) == 2
    )
    check_lines(text.encode(), found)


def test_html_goes_by_heading_without_its_scripts() -> None:
    text = "<h1>Guide</h1>\n<script>var x</script>\n<h2>Back</h2>\n<p>Roll it\nback.</p>\n"
    (found,) = read(text, "a.html")
    assert (found.title, found.text) == ("Guide > Back", "Roll it back.")
    assert found.first_line == 4


def test_the_words_of_a_page_are_redacted_and_not_its_tags() -> None:
    secret = "hunter2x" + "Qz"
    text = (
        f'<p>password: <a href="https://u:{secret}@h/">how to</a> set it</p>\n'
        f"<p>password: {secret}</p>\n<password>{secret}</password>\n"
    )
    (found,) = read(text, "a.html")
    assert "href" not in found.text and "how to" not in found.title
    assert found.text.endswith("password: ****\npassword: ****")
    assert secret not in found.embedded


def test_what_a_page_shows_as_typed_keeps_its_lines() -> None:
    text = "<h1>Run</h1>\n<pre><b>models</b> list\n  second\n\nlast</pre>\n<p>End\nof it</p>\n"
    (found,) = read(text, "a.html")
    assert found.text == "models list\n  second\nlast\nEnd of it"
    assert (found.first_line, found.last_line) == (2, 6)


def test_what_is_called_a_pdf_and_is_none_is_reported() -> None:
    reported: list[str] = []
    chosen = IndexSettings(description="x", sources=("**",), chunker="auto")
    assert read_chunks(b"not a pdf", "a.pdf", chosen, count_words, report=reported.append) == []
    assert reported == ["not a PDF"]


def test_a_pdf_goes_by_page() -> None:
    (found,) = read(small_pdf("Roll back an adapter"), "a.pdf")
    assert found.text == "Roll back an adapter"
    assert found.facts["page"] == "1"
