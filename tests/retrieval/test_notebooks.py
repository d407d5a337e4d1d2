"""Notebooks give their cells and what these printed; bytes written as letters give nothing."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Sequence

import pytest

from modelyard.configs.kinds.embedding_models import IndexSettings
from modelyard.retrieval.chunk import Chunk
from modelyard.retrieval.reading.chunks import read_chunks

PICTURE = base64.b64encode(random.Random(3).randbytes(40_000)).decode()
KEY = "AKIA" + "Z7Q2M4X9" * 2


def count_words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) + 2 for text in texts]


def read(
    text: str | bytes, name: str = "a.ipynb", report: Callable[[str], None] = lambda _: None
) -> list[Chunk]:
    settings = IndexSettings(description="x", sources=("**",), chunker="auto", chunk_tokens=60)
    content = text.encode() if isinstance(text, str) else text
    return read_chunks(content, name, settings, count_words, report=report)


def code(source: str, *outputs: dict[str, object]) -> dict[str, object]:
    return {"cell_type": "code", "source": source.splitlines(True), "outputs": list(outputs)}


def notebook(*cells: object, indent: int | None = 1) -> str:
    info = {"language_info": {"name": "python"}}
    return json.dumps({"cells": cells, "metadata": info, "nbformat": 4}, indent=indent)


CELLS = (
    {"cell_type": "markdown", "source": ["# Sales\n", "\n", "What was sold in spring."]},
    code(
        "frame = load('sales.csv')\nframe.plot()\n",
        {
            "output_type": "display_data",
            "data": {"image/png": PICTURE, "text/plain": ["<Figure with 1 Axes>"]},
        },
        {"output_type": "stream", "text": ["\x1b[32mread 12 rows\x1b[0m\n", "1%\r99%\n"]},
    ),
    code("def total(rows):\n    return sum(rows)\n"),
    code("1 / 0", {"output_type": "error", "ename": "ZeroDivisionError", "evalue": "by zero"}),
    {"cell_type": "raw", "source": "kept as it is"},
)


def test_cells_have_their_kind_their_headings_and_the_text_of_their_outputs() -> None:
    found = {(chunk.kind, chunk.facts["cell"]): chunk for chunk in read(notebook(*CELLS))}
    assert list(found) == [
        ("section", "1"),
        ("cell", "2"),
        ("output", "2"),
        ("function", "3"),
        ("cell", "4"),
        ("output", "4"),
        ("text", "5"),
    ]
    assert found["cell", "2"].title == "Sales"
    assert found["output", "2"].text == "<Figure with 1 Axes>\nread 12 rows\n99%"
    assert found["function", "3"].facts["symbol"] == "total"
    assert found["output", "4"].text == "ZeroDivisionError: by zero"


def test_chunks_of_a_notebook_stand_on_the_lines_that_hold_them() -> None:
    text = notebook(*CELLS)
    lines = text.split("\n")
    for chunk in read(text):
        if chunk.text.startswith("ZeroDivisionError"):
            continue  # put together from two keys
        there = "\n".join(lines[chunk.first_line - 1 : chunk.last_line])
        assert json.dumps(chunk.text.split("\n")[-1])[1:-1] in there
    (only,) = read(notebook(code("x = 1\ny = 2"), indent=None))
    assert (only.first_line, only.last_line) == (1, 1)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "not a notebook: broken JSON"),
        ("[" * 100_000, "not a notebook: broken JSON"),
        ('{"a": ' * 5_000 + "1" + "}" * 5_000, "not a notebook: broken JSON"),
        ('{"cells": {}}', "not a notebook: it has no cells"),
        ("[]", "not a notebook: it has no cells"),
        ('{"cells": [' + "9" * 6_000 + "]}", "not a notebook: broken JSON"),
    ],
    ids=["cut off", "deep lists", "deep objects", "cells are an object", "a list", "long number"],
)
def test_a_broken_notebook_is_reported_and_gives_nothing(content: str, reason: str) -> None:
    reported: list[str] = []
    assert read(content, report=reported.append) == []
    assert reported == [reason]


@pytest.mark.parametrize(
    "cells",
    [
        [1, None, "a", [], {}],
        [{"cell_type": "code", "source": 5, "outputs": {"a": 1}}],
        [{"cell_type": [], "source": ["words ", 7, None], "outputs": [3, {"data": {"a": 2}}]}],
        [code("\0nul \ud800 half", {"output_type": "stream", "text": "\x1b[" * 999 + "end"})],
        [code("word " * 100_000, {"output_type": "stream", "text": "out " * 100_000})],
        [code("x\n" * 20_000, {"output_type": "stream", "text": ["x\n"] * 20_000})],
    ],
    ids=["no objects", "other types", "mixed lists", "odd characters", "huge", "many lines"],
)
def test_no_cell_makes_the_reader_fail(cells: list[object]) -> None:
    text = notebook(*cells)
    for chunk in read(text):
        assert 1 <= chunk.first_line <= chunk.last_line <= text.count("\n") + 1
        chunk.embedded.encode()
    assert sum(len(chunk.text) for chunk in read(text) if chunk.kind == "output") <= 20_000


def test_cells_that_are_given_twice_are_those_that_were_written() -> None:
    twice = '{"cells": [{"cell_type": "raw", "source": "one"}], "cells": [], "a": "cells"}'
    assert [chunk.text for chunk in read(twice)] in ([], ["one"])


def test_secrets_of_a_notebook_are_masked_in_what_it_says() -> None:
    shown = notebook(code(f'key = "{KEY}"\n', {"output_type": "stream", "text": f"got {KEY}"}))
    assert [chunk.text for chunk in read(shown)] == ['key = "****"', "got ****"]


@pytest.mark.parametrize(
    "text",
    [
        f'<img src="data:image/png;base64,{PICTURE}">',
        "icon = '" + PICTURE[200:320] + "'",
        "\n".join(f"    {PICTURE[at : at + 76]}" for at in range(0, 3_800, 76)) + "\n    Zm9v==",
        "\n".join(f'"{PICTURE[at : at + 76]}\\n",' for at in range(0, 3_800, 76)),
        PICTURE.replace("+", "-").replace("/", "_"),
    ],
    ids=["data URI", "a small one", "indented lines", "lines as JSON", "for URLs"],
)
def test_a_picture_leaves_no_letters_between_the_masks(text: str) -> None:
    found = read(f"# The logo\n\nbefore\n\n{text}\n\nafter\n", "a.md")
    assert len(found) == 1
    left = found[0].text.replace("****", "")
    assert not any(PICTURE[at : at + 4] in left for at in range(0, 4_000, 4))
    assert "before" in left and "after" in left


@pytest.mark.parametrize(
    "words",
    [
        "src/main2/java/Acme/store3/impl/Deep1/more/Files/of/the/Same/Kind9/inside/it",
        "sha256:" + "0f3c9ab1" * 8,
        "| " + "-" * 300,
        "test_that_" + "of_a_long_name_" * 10 + "Issue_17",
    ],
)
def test_long_names_paths_and_digests_are_no_pictures(words: str) -> None:
    assert words in read(f"before\n{words}\nafter\n", "a.md")[0].text
