"""Files are cut where a reader would cut them, and every chunk stands on its lines."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunk_reading import NAMES, check_lines, count_words, read, small_pdf
from modelyard.core.layout import Project
from modelyard.retrieval.indexes import SearchIndex, load_indexes
from modelyard.retrieval.reading.chunks import read_chunks
from modelyard.retrieval.reading.sources import find_sources
from modelyard.retrieval.snippets import chunk_snippet

SOAK = int(os.environ.get("MODELYARD_SOAK", "1"))


FUZZES = 60 if SOAK == 1 else 200 * SOAK


REPOSITORY = Project(Path(__file__).parents[2])


INDEXES = load_indexes(REPOSITORY)


@pytest.mark.parametrize("index", INDEXES.values(), ids=list(INDEXES))
def test_every_file_of_this_repository_is_split_with_exact_lines(index: SearchIndex) -> None:
    for file in find_sources(REPOSITORY, index).files[:: 1 if SOAK > 1 else 4]:
        content = Path(file.path).read_bytes()
        chunks = read_chunks(content, file.shown, index.settings, count_words)
        if not file.path.endswith((".csv", ".jsonl", ".prom", ".log")):
            check_lines(content, chunks)
        for chunk in chunks:
            assert count_words([chunk.embedded])[0] <= index.settings.chunk_tokens


@pytest.mark.parametrize("name", ["a.yaml", "a.json", "a.toml"])
def test_settings_go_by_key_path(name: str) -> None:
    words = " ".join(["word"] * 30)
    text = {
        "a.yaml": f"# What it is.\none:\n  deep: {words}\n  # Why.\n  other: {words}\ntwo: {words}\n",  # noqa: E501
        "a.json": f'{{\n"one": {{\n\t"deep": "{words}",\n"other": "{words}"}},\n"two": "{words}"}}\n',  # noqa: E501
        "a.toml": f'two = "{words}"\n[one]\ndeep = "{words}"\n# Why.\nother = "{words}"\n',
    }[name]
    found = read(text, name, tokens=48)
    assert {"one.deep", "one.other", "two"} <= {finding.title for finding in found}
    check_lines(text.encode(), found)


def test_broken_yaml_is_still_split() -> None:
    text = "a: {{ .Values }}\n" + "b:\n  - x: [\n" * 100
    found = read(text, "a.yaml", tokens=32)
    assert len(found) > 3
    check_lines(text.encode(), found)


def test_openapi_goes_by_operation() -> None:
    text = (
        "openapi: 3.1.0\npaths:\n  /users/{id}:\n    get:\n      summary: Read a user\n"
        "      operationId: readUser\n    delete:\n      summary: Remove a user\n"
        "components:\n  schemas:\n    User: {type: object}\n"
    )
    found = {item.title: item for item in read(text, "api.yaml") if item.kind == "operation"}
    assert list(found) == ["GET /users/{id}: Read a user", "DELETE /users/{id}: Remove a user"]
    first = found["GET /users/{id}: Read a user"]
    assert (first.first_line, first.last_line) == (3, 6)
    check_lines(text.encode(), list(found.values()))


def test_a_line_too_long_is_split_between_words() -> None:
    found = read("word " * 1000, "a.txt", tokens=32)
    assert len(found) >= 30
    assert all(count_words([finding.text])[0] <= 32 for finding in found)
    assert sum(finding.text.count("word") for finding in found) == 1000


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.py", '"""What it is for."""\n\nLIMIT = 5\n\ndef one():\n    return LIMIT\n'),
        ("x.yaml", "# Who answers.\n" + "".join(f"key{n}: value {n}\n" for n in range(99))),
        ("broken.yaml", "a: [1\nb: }\n"),
        ("Makefile", "ready = .venv\n\n.PHONY: demo\ndemo: $(ready)\n\techo hello\n"),
        ("x.md", "---\nname: one\n---\n\nA text before any heading.\n\n# One\n\nMore.\n"),
        ("x.sh", "#!/bin/sh\nset -eu\ngo() {\n    ls\n}\ngo\n"),
        ("x.csv", "time,p50\n1,20\n2,30\n"),
    ],
)
def test_a_path_is_no_part_of_what_is_embedded(name: str, text: str) -> None:
    here, there = read(text, f"here/{name}"), read(text, f"there/deep/{name}")
    assert here and [item.embedded for item in here] == [item.embedded for item in there]


def test_a_path_without_operations_is_still_text() -> None:
    text = "openapi: 3.1.0\npaths:\n  /bad: wombat\n  /users:\n    get: {summary: Read}\n"
    assert any("wombat" in item.text and item.first_line == 3 for item in read(text, "api.yaml"))


@pytest.mark.parametrize("name", ["a.md", "a.html", "a.py", "a.yaml", "a.txt"])
def test_a_snippet_stands_on_the_line_it_names(name: str) -> None:
    text = {
        "a.md": "# Guide\n\n\nfirst words\n\n## Told\n\nthe needle here\n",
        "a.html": "<h1>Guide</h1>\n<p>first words</p>\n<p>the needle here</p>\n",
        "a.py": "import os\n\ndef go():\n    x = 1\x0c\n    return needle\n",
        "a.yaml": "one: 1\ntwo:\n  # why\n  three: needle\n",
        "a.txt": "\n\nfirst\x0cwords\n\nthe needle here\n",
    }[name]
    best = [chunk_snippet(item, ["needl", "needle"]) for item in read(text, name)][-1]
    assert "needle" in best.text.splitlines()[0]
    assert "needle" in text.split("\n")[best.first_line - 1]


@pytest.mark.parametrize("name", ["a.log", "a.prom", "a.pdf", "a.html"])
def test_a_snippet_of_what_is_no_line_is_where_its_chunk_begins(name: str) -> None:
    content: dict[str, str | bytes] = {
        "a.log": "x\nINFO needle 12 is here\n",
        "a.prom": "\n# HELP needle Says.\nneedle 1\nneedle 2\n",
        "a.pdf": small_pdf("the needle"),
        "a.html": "\n<p>first</p>\n<div>\n\n<p>the needle</p></div>\n",
    }
    one = read(content[name], name)[-1]
    assert chunk_snippet(one, ["needl"]).first_line == one.first_line


PIECES = st.sampled_from(
    [
        "#",
        "# a\n",
        "---\n",
        "```\n",
        "a: b\n",
        "  - ",
        "{",
        "}",
        "[",
        "]",
        '"',
        "'",
        "\n",
        "\r",
        "\t",
        "def f(x):\n",
        "class A:\n",
        "    x = 1\n",
        "<h1>",
        "</p>",
        "<![",
        "%PDF-1.4\n",
        "a,b\n1,2\n",
        "f() {\n",
        "\u2028",
        "\x85",
        "\ufeff",
        "é",
        "1",
        "openapi: 3\npaths:\n",
        "  /a:\n    get:\n",
        "password: hunter2x\n",
        "'''",
        '"""',
        "=",
        'x{a="b"} 1\n',
        "<!--",
        "&a *a\n",
        "\x0c",
    ]
)


FUZZED = st.one_of(st.binary(max_size=400), st.lists(PIECES, max_size=60).map("".join))


@pytest.mark.parametrize("name", NAMES)
@settings(derandomize=True, max_examples=FUZZES, deadline=None, database=None)
@given(content=FUZZED)
def test_no_bytes_make_a_reader_fail(name: str, content: bytes | str) -> None:
    given_bytes = content.encode() if isinstance(content, str) else content
    chunks = read(given_bytes, name, tokens=16)
    for chunk in chunks:
        chunk.embedded.encode()  # it can be stored
        assert chunk.first_line <= chunk.last_line
        assert "\n" not in chunk.title
    verbatim = not name.endswith((".html", ".pdf", ".log", ".prom", ".csv"))
    if verbatim and not given_bytes.startswith(b"%PDF-"):
        check_lines(given_bytes, chunks)


@pytest.mark.parametrize("chunker", ["markdown", "code", "keys", "shell", "openapi", "metrics"])
@settings(derandomize=True, max_examples=100 * SOAK, deadline=None, database=None)
@given(content=FUZZED, name=st.sampled_from(NAMES))
def test_no_chunker_fails_on_a_file_it_is_not_for(
    chunker: str, content: bytes | str, name: str
) -> None:
    read(content, name, chunker, tokens=16)


@pytest.mark.parametrize("name", NAMES)
def test_deep_nesting_and_long_lines_take_no_long_time(name: str) -> None:
    for unit in ("[", "{", "(", "# ", "a: ", "<b>", "- ", "x", "f(){", '"', "class A:"):
        read(unit * 3000, name)
