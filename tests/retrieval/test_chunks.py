"""Files are cut where a reader would cut them, and every chunk stands on its lines."""

from __future__ import annotations

import io
import math
import os
import random
import string
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.configs.kinds.embedding_models import IndexSettings
from modelyard.core.layout import Project
from modelyard.retrieval.chunk import Chunk
from modelyard.retrieval.indexes import SearchIndex, load_indexes
from modelyard.retrieval.reading.chunks import read_chunks
from modelyard.retrieval.reading.decoding import decode, has_broken_characters, is_binary
from modelyard.retrieval.reading.sources import find_sources
from modelyard.retrieval.snippets import chunk_snippet
from modelyard.secrets.detection import redact_secrets

SOAK = int(os.environ.get("MODELYARD_SOAK", "1"))
LOG_LINES, FUZZES = (8_000, 60) if SOAK == 1 else (20_000 * SOAK, 200 * SOAK)
REPOSITORY = Project(Path(__file__).parents[2])
INDEXES = load_indexes(REPOSITORY)
NAMES = [
    "a.md",
    "a.rst",
    "a.py",
    "a.sh",
    "a.js",
    "a.ts",
    "a.tsx",
    "a.go",
    "a.rs",
    "a.java",
    "a.c",
    "a.cpp",
    "a.cs",
    "a.kt",
    "a.rb",
    "a.php",
    "a.swift",
    "a.lua",
    "a.scala",
    "a.sql",
    "a.tf",
    "a.yaml",
    "a.json",
    "a.toml",
    "a.html",
    "a.ipynb",
    "a.pdf",
    "a.log",
    "a.prom",
    "a.csv",
    "a.jsonl",
    "a.txt",
    "Makefile",
    "openapi.yaml",
]


def count_words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) + 2 for text in texts]


def read(text: str | bytes, name: str, chunker: str = "auto", tokens: int = 220) -> list[Chunk]:
    chosen = IndexSettings(description="x", sources=("**",), chunker=chunker, chunk_tokens=tokens)
    content = text.encode() if isinstance(text, str) else text
    return read_chunks(content, name, chosen, count_words)


def check_lines(content: bytes, chunks: list[Chunk]) -> None:
    """Every chunk stands on its lines, word for word."""
    lines = [line.removesuffix("\r") for line in decode(content).split("\n")]
    for chunk in chunks:
        assert 1 <= chunk.first_line <= chunk.last_line <= len(lines)
        there = "\n".join(lines[chunk.first_line - 1 : chunk.last_line])
        assert "****" in chunk.text or chunk.text in there


@pytest.mark.parametrize("index", INDEXES.values(), ids=list(INDEXES))
def test_every_file_of_this_repository_is_split_with_exact_lines(index: SearchIndex) -> None:
    for file in find_sources(REPOSITORY, index).files[:: 1 if SOAK > 1 else 4]:
        content = Path(file.path).read_bytes()
        chunks = read_chunks(content, file.shown, index.settings, count_words)
        if not file.path.endswith((".csv", ".jsonl", ".prom", ".log")):
            check_lines(content, chunks)
        for chunk in chunks:
            assert count_words([chunk.embedded])[0] <= index.settings.chunk_tokens


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


@pytest.mark.parametrize("name", ["a.md", "a.txt", "a.yaml", "a.log"])
def test_a_file_of_an_old_mac_has_lines(name: str) -> None:
    text = "one: first\rtwo: second\r\rthree: third\r"
    assert [item.text for item in read(text, name)] == [
        item.text for item in read(text.replace("\r", "\n"), name)
    ]
    assert read(text, name)


def test_a_long_section_is_split_between_paragraphs_and_keeps_its_code_whole() -> None:
    code = "```\n" + "\n\n".join("code line" for _ in range(20)) + "\n```"
    text = "# T\n\n" + "\n\n".join(["some words here " * 8] * 10) + "\n\n" + code + "\n"
    found = read(text, "a.md", tokens=64)
    assert len(found) > 3
    assert (
        sum(finding.text.count("```") for finding in found if finding.text.count("```") == 2) == 2
    )
    check_lines(text.encode(), found)


def test_python_goes_by_function_and_class_with_signature_and_docstring() -> None:
    body = "        " + "value = 1; " * 60
    text = f'''"""What it is for."""
import os

# Why it is so.
@cache
def one(a: int,
        b: int) -> int:
    """Adds.

    More."""
    return a

class Two(Base):
    """Holds."""

    def three(self):
        """Goes."""
{body}

    async def four(self):
        return 2
'''
    found = read(text, "src/x.py", tokens=100)
    assert list(
        dict.fromkeys(finding.title for finding in found if finding.kind == "function")
    ) == [
        "def one(a: int, b: int) -> int: Adds.",
        "Two > def three(self): Goes.",
        "Two > async def four(self)",
    ]
    one = next(finding for finding in found if finding.facts.get("symbol") == "one")
    assert (one.first_line, one.last_line) == (4, 11)
    assert one.title == "def one(a: int, b: int) -> int: Adds."
    assert {"Two.three", "Two.four"} <= {finding.facts.get("symbol", "") for finding in found}
    assert found[0].title == "What it is for."
    check_lines(text.encode(), found)


@pytest.mark.parametrize(
    ("name", "text", "symbol"),
    [
        ("a.sh", "# Says it.\nhello() {\n  echo hi\n}\n", "hello"),
        ("a.js", "export const add = (a, b) => { return a + b }\n", "add"),
        ("a.ts", "export class Box<T> {\n  get(): T { return this.t }\n}\n", "Box"),
        ("a.go", "// Add adds.\nfunc Add(a int) int {\n\treturn a\n}\n", "Add"),
        ("a.rs", "#[inline]\npub fn add(a: i32) -> i32 {\n    a\n}\n", "add"),
        ("a.java", "class A {\n  int get() { return 1; }\n}\n", "A"),
        ("a.c", "static int *add(int a) {\n  return 0;\n}\n", "add"),
        ("a.cpp", "namespace n {\nclass B { int x; };\n}\n", "n"),
        ("a.cs", "// Adds.\nclass A {\n  int Get() => 1;\n}\n", "A"),
        ("a.kt", "/** Adds. */\nfun Buffer.add(a: Int): Int {\n  return a\n}\n", "add"),
        ("a.rb", "# Adds.\nmodule A\n  def add\n  end\nend\n", "A"),
        ("a.php", "<?php function add($a) {\n  return $a;\n}\n", "add"),
        ("a.swift", "extension Box {\n  func add() -> Int { 1 }\n}\n", "Box"),
        ("a.lua", "-- Adds.\nM.add = function(a)\n  return a\nend\n", "M.add"),
        ("b.lua", "local add = function(a)\n  return a\nend\n", "add"),
        ("a.scala", "trait Box {\n  def add(a: Int): Int\n}\n", "Box"),
        ("a.sql", "-- What is sold.\nCREATE TABLE [dbo].[sale] (\n  id int\n)\n", "dbo.sale"),
        ("a.tf", '# The net.\nresource "aws_vpc" "this" {\n  cidr = 1\n}\n', "aws_vpc.this"),
        ("b.tf", 'variable "region" {\n  type = string\n}\n', "var.region"),
        ("c.tf", 'data "aws_ami" "base" {\n  owner = 1\n}\n', "data.aws_ami.base"),
        ("tool", "#!/usr/bin/env ruby\ndef go\n  1\nend\n", "go"),
        ("Makefile", "# Runs it.\nrun: build  # x\n\t./run\n", "run"),
    ],
)
def test_definitions_are_known_in_each_language(name: str, text: str, symbol: str) -> None:
    *above, found = read(text, name)
    assert found.facts["symbol"] == symbol
    assert found.last_line == len(text.splitlines())
    assert [chunk.text for chunk in above] in ([], ["#!/usr/bin/env ruby"])
    assert found.first_line == 1 + len(above)


@pytest.mark.parametrize(
    ("name", "text", "symbols"),
    [
        (
            "a.cs",
            "namespace N {{ class A {{ int F() {{ {0};\n}}\nint G() {{ {0};\n}} }} }}",
            "N.A.F N.A.G",
        ),
        ("a.kt", "class A {{ fun f() {{ {0} }}\nfun g() {{ {0} }} }}", "A.f A.g"),
        ("a.rb", "class A; def f; {0}; end\ndef self.g; {0}; end; end", "A.f A.g"),
        ("a.php", "<?php class A {{ function f() {{ {0} }} function g() {{ {0} }} }}", "A.f A.g"),
        ("a.swift", "class A {{ init() {{ {0} }}\nfunc g() {{ {0} }} }}", "A.init A.g"),
        ("a.scala", "object A {{ def f() = {{ {0} }}\ndef g() = {{ {0} }} }}", "A.f A.g"),
    ],
)
def test_the_methods_of_a_long_class_are_named_with_it(name: str, text: str, symbols: str) -> None:
    body = text.replace("{{ ", "{{\n").replace("; ", "\n").replace(" }}", "\n}}\n")
    statement = "0\n".join(["x = x * 2 + 1 +"] * 20) + "0"
    found = read(body.format(statement), name, tokens=120)
    named = {chunk.facts.get("symbol", "") for chunk in found}
    assert set(symbols.split()) <= named, named


def test_a_class_that_is_one_chunk_says_what_is_in_it() -> None:
    text = "class A:\n    def f(self): ...\n    class B:\n        def _g(self): ...\n"
    (found,) = read(text, "a.py")
    assert (found.facts["symbol"], found.facts["members"]) == ("A", "f B _g")
    (found,) = read("namespace n { int f() { return 1; } }\n", "a.cpp")
    assert (found.facts["symbol"], found.facts["members"]) == ("n", "f")


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


def test_a_log_becomes_its_templates_with_count_and_times() -> None:
    lines = [
        f"2026-01-0{1 + n // 500} 10:00:00,123 INFO served request {n} in {n * 3} ms"
        for n in range(1000)
    ]
    lines.insert(500, "2026-01-02 09:00:00,000 ERROR out of memory while loading model qwen")
    found = read("\n".join(lines), "a.log")
    assert [finding.facts["count"] for finding in found] == ["1000", "1"]
    assert found[0].facts["first_seen"].startswith("2026-01-01")
    assert found[0].facts["last_seen"].startswith("2026-01-02")
    assert found[1].facts["level"] == "ERROR"
    assert found[1].first_line == 501
    assert found[0].text.startswith("INFO served request <*> in <*> ms")


def test_a_log_is_embedded_once_however_often_a_message_comes_again() -> None:
    once, twice = read("job 1 done\n", "a.log"), read("job 1 done\njob 2 done\n", "a.log")
    assert [item.facts["count"] for item in (*once, *twice)] == ["1", "2"]
    assert once[0].digest == twice[0].digest


def test_a_long_log_is_read_in_little_memory() -> None:
    picked = random.Random(1)
    words = ["".join(picked.choices(string.ascii_lowercase, k=6)) for _ in range(400)]
    lines = (
        f"2026-01-01T00:00:00Z INFO {' '.join(picked.choices(words, k=picked.randrange(3, 12)))}"
        for _ in range(LOG_LINES)
    )
    file = io.BytesIO("\n".join(lines).encode())
    chosen = IndexSettings(description="x", sources=("*",), chunker="logs")
    tracemalloc.start()
    try:
        found = read_chunks(file, "a.log", chosen, count_words)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found) <= 1001
    assert sum(int(finding.facts["count"]) for finding in found) == LOG_LINES
    assert peak < 40_000_000


def test_metrics_become_series_with_what_they_come_to() -> None:
    prom = '# HELP up Whether it is up.\n# TYPE up gauge\nup{host="a b"} 1\nup{host="a b"} 0\n'
    (up,) = read(prom, "a.prom")
    assert up.title == 'up{host="a b"}'
    assert "Whether it is up." in up.text
    assert (up.facts["count"], up.facts["mean"], up.facts["last"]) == ("2", "0.5", "0")
    assert (up.first_line, up.last_line) == (3, 4)
    assert [item.title for item in read("time,loss,name\n1,2.5,a\n2,1.5,b\n", "a.csv")] == ["loss"]
    rows = '{"step": 1, "eval": {"loss": 2}}\n{"step": 2, "eval": {"loss": 1}}\n'
    assert [item.title for item in read(rows, "m.jsonl", "metrics")] == ["step", "eval.loss"]


def test_a_sample_is_what_prometheus_says() -> None:
    text = (
        "# HELP http_requests_total How many\\nthere were.\n"
        "# TYPE http_requests_total counter\n"
        'http_requests_total{method="post",code="200",} 1027 1395066363000\n'
        'http_requests_total { method = "post" , code = "200" } 3 # {trace_id="x"} 1\n'
        'http_requests_total{path="a\\\\b\\"c, d"} 2\n'
        '{"my.metric", unit="s"} 4\n'
        "# TYPE wait histogram\n# HELP wait Until it began.\n"
        'wait_bucket{le="+Inf"} 5\nwait_sum 7\n'
    )
    found = {one.title: one for one in read(text, "a.prom")}
    assert list(found) == [
        'http_requests_total{method="post",code="200"}',
        r'http_requests_total{path="a\\b\"c, d"}',
        'my.metric{unit="s"}',
        'wait_bucket{le="+Inf"}',
        "wait_sum",
    ]
    first, *_, last = found.values()
    assert first.text.startswith("How many there were.\ncounter\ncount 2")
    assert (first.first_line, first.last_line) == (3, 4)
    assert last.text == "Until it began.\nhistogram\nvalue 7"


def test_a_bad_line_costs_only_itself() -> None:
    bad = [
        'a{b="c} 1',
        "a{b=c} 1",
        'a{b="1",b="2"',
        "# TYPE up nonsense",
        "# HELP 9 x",
        "a",
        "{} 1",
    ]
    bad += ['x{a="' + "b" * 30_000 + '"} 1', "# HELP", "#", "a 1 2 3 4", "a{,,} 1", "a 1_000"]
    reported: list[str] = []
    chosen = IndexSettings(description="x", sources=("**",), chunker="auto")
    text = "\n".join(["up 1", *(f"{line}\nup 1" for line in bad)])
    found = read_chunks(text.encode(), "a.prom", chosen, count_words, report=reported.append)
    assert {one.title: one.facts["count"] for one in found}["up"] == str(len(bad) + 1)
    assert reported == ["lines that are no samples"]
    (lenient,) = read("jvm.memory.used 5\n", "a.prom")  # refused by Prometheus, and yet a sample
    assert lenient.title == "jvm.memory.used"


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


def test_a_line_too_long_is_split_between_words() -> None:
    found = read("word " * 1000, "a.txt", tokens=32)
    assert len(found) >= 30
    assert all(count_words([finding.text])[0] <= 32 for finding in found)
    assert sum(finding.text.count("word") for finding in found) == 1000


def count_as_wordpiece(texts: Sequence[str]) -> list[int]:
    """A word of more than a hundred characters is one token, and an unknown one."""
    return [
        2 + sum(1 if len(word) > 100 else math.ceil(len(word) / 4) for word in text.split())
        for text in texts
    ]


def test_a_long_line_without_a_blank_is_split_by_its_size() -> None:
    line = "note=" + ";".join(f"path/{number}/of/some.thing" for number in range(20_000))
    chosen = IndexSettings(description="x", sources=("**",), chunker="auto", chunk_tokens=220)
    found = read_chunks(f"a\n\n{line}\n".encode(), "a.txt", chosen, count_as_wordpiece)
    assert max(len(finding.text) for finding in found) < 220 * 20
    assert "".join(finding.text for finding in found[1:]) == line
    assert {(finding.first_line, finding.last_line) for finding in found[1:]} == {(3, 3)}


@pytest.mark.parametrize(
    "blob",
    [
        "iVBORw0KGgoAAA" * 50_000,
        "0f3c9a" * 20_000,
        "\n".join(["aB3x" * 19] * 300 + ["Zm9v=="]),
    ],
    ids=["one line of base64", "one line of hex", "lines of base64"],
)
def test_bytes_written_in_letters_are_no_text_but_what_names_them_is(blob: str) -> None:
    reported: list[str] = []
    chosen = IndexSettings(description="x", sources=("**",), chunker="auto", redact=False)
    found = read_chunks(blob.encode(), "a.txt", chosen, count_as_wordpiece, report=reported.append)
    assert (found, reported) == ([], ["no words in it"])
    text = f"The logo of the firm:\n\n{blob}\n\nAnd what follows.\n"
    found = read_chunks(text.encode(), "a.txt", chosen, count_as_wordpiece)
    assert "logo" in found[0].text and "follows" in found[-1].text
    assert len(found) <= 3
    line = read_chunks(f"logo={blob} end".encode(), "a.txt", chosen, count_as_wordpiece)
    assert len(line) <= 2 if "\n" not in blob else line


def test_secrets_are_replaced_before_anything_else() -> None:
    key = "AKIA" + "Z7Q2M4X9" * 2
    pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIabc+/d\nefg/hij\n-----END RSA PRIVATE KEY-----\n"
    for name in NAMES:
        for chunk in read(f"# key {key}\n{pem}\nvalue {key} end\n", name):
            assert key not in chunk.embedded + str(chunk.facts)
            assert "MIIabc" not in chunk.text
    assert redact_secrets(pem).count("\n") == pem.count("\n")


@pytest.mark.parametrize("name", ["a.sql", "a.lua", "a.tfvars", "a.hcl"])
def test_a_comment_that_begins_otherwise_keeps_no_secret(name: str) -> None:
    assert "hunter2x" not in "".join(chunk.text for chunk in read("-- password: hunter2x\n", name))


def test_an_expression_in_code_is_no_secret() -> None:
    assert redact_secrets("token = find_token(x)\n", quoted_only=True) == "token = find_token(x)\n"
    assert "hunter2x" not in redact_secrets('password = "hunter2x"\n', quoted_only=True)


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


def test_a_long_function_leaves_no_crumbs() -> None:
    blocks = "".join(
        f"    held.add({number})\n    try:\n"
        + "".join(f"        step_{number}_{part}(one, two, three)\n" for part in range(9))
        + "    finally:\n        held.clear()\n"
        for number in range(6)
    )
    found = read(f"def work(held):\n{blocks}", "x.py", tokens=40)
    assert len(found) > 5
    assert all(finding.last_line > finding.first_line for finding in found)
    lines = [line for finding in found for line in range(finding.first_line, finding.last_line + 1)]
    assert lines == list(range(1, 80))
    assert all(sum(count_words([finding.embedded])) <= 44 for finding in found)


def test_a_series_of_one_sample_is_a_value() -> None:
    (found,) = read('# HELP up Whether it is up.\nup{job="a"} 1\n', "x.prom")
    assert found.text == "Whether it is up.\nvalue 1"


def test_samples_that_are_no_number_are_counted_and_lines_that_are_no_samples_reported() -> None:
    reported: list[str] = []
    chosen = IndexSettings(description="x", sources=("**",), chunker="auto")
    text = b"up NaN\nup 3\ndown +Inf\nnot a sample at all\nhalf 12abc\n  indented 4\n"
    found = read_chunks(text, "a.prom", chosen, count_words, report=reported.append)
    assert [(finding.title, finding.facts.get("not_finite")) for finding in found] == [
        ("up", "1"),
        ("down", "1"),
        ("indented", None),
    ]
    assert (found[0].facts["count"], found[0].facts["mean"]) == ("1", "3")
    assert reported == ["lines that are no samples"]


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


def test_encodings_are_known_and_broken_characters_counted() -> None:
    assert decode("é".encode("utf-16")) == "é"
    assert decode(b"\xef\xbb\xbfabc") == "abc"
    assert decode(b"a\xffb\xfe") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"
    assert has_broken_characters(b"a\xffb\xfe")
    assert is_binary(b"abc\0def")
    assert not is_binary("abc".encode("utf-16"))
    assert read(b"abc\0def", "a.txt") == []


@pytest.mark.parametrize(
    "line",
    [
        "# -*- coding: latin-1 -*-",
        "#!/usr/bin/python\n# coding=latin-1",
        "# vim: set fileencoding=iso-8859-1 :",
        "\n# coding: latin-1",
        "// -*- mode: c; coding: latin-1 -*-",
    ],
)
def test_a_declared_encoding_is_honoured(line: str) -> None:
    content = f'{line}\n\ndef café():\n    return "Grüße"\n'.encode("latin-1")
    assert not has_broken_characters(content)
    (*_, found) = read(content, "a.py")
    assert found.facts["symbol"] == "café" and "Grüße" in found.text


@pytest.mark.parametrize(
    "line",
    [
        "import x\n# coding: latin-1",
        "\n\n# coding: latin-1",
        "# coding: ascii-art",
        "# coding: utf-16",
        "# coding: rot13",
        "# coding: zlib",
    ],
)
def test_what_declares_no_encoding_of_texts_changes_none(line: str) -> None:
    assert has_broken_characters(f"{line}\n# Grüße\n".encode("latin-1"))
    assert decode(f"{line}\n# Grüße\n".encode()).endswith("Grüße\n")


@pytest.mark.parametrize("codec", ["rot-13", "hex", "base64"])
def test_what_is_declared_and_is_no_encoding_is_reported(codec: str) -> None:
    said: list[str] = []
    settings = IndexSettings(description="x", sources=("*",))
    content = f"# coding: {codec}\nsome words\n".encode()
    assert read_chunks(content, "a.py", settings, count_words, report=said.append)
    assert said == [f"declares {codec}, which is no encoding of text: read as UTF-8"]


def test_an_encoding_of_seven_bits_is_honoured_and_utf_8_is_never_misread() -> None:
    japanese = "# coding: iso-2022-jp\n# データ\n"
    assert decode(japanese.encode("iso-2022-jp")) == japanese
    assert decode("# coding: latin-1\n# Grüße\n".encode()).endswith("Grüße\n")


IDENTIFIER, LONGER = "4bf92f3577b34da6a3ce929d0e0e4736", "9f86d081884c7d659a2feaa0c55ad015" * 2


@pytest.mark.parametrize(
    "text",
    [
        f"trace_id={IDENTIFIER} began",
        f'{{"traceId": "{IDENTIFIER}"}}',
        f"X-Request-ID: {IDENTIFIER}",
        f"container {LONGER} exited",
        f"image_id = '{LONGER}'",
        f"trace.id {IDENTIFIER}",
    ],
)
def test_identifiers_that_are_named_so_are_found(text: str) -> None:
    for name in ("a.md", "a.log", "a.py"):
        assert any(text.strip("{}") in chunk.text for chunk in read(f"{text}\n", name)), name


@pytest.mark.parametrize(
    "text",
    [
        f"session_id={IDENTIFIER}",
        f"token_id={IDENTIFIER}",
        f"{IDENTIFIER} began",
        f"api_key={IDENTIFIER}",
        f"trace_id=x {IDENTIFIER}",
        f"the containers {IDENTIFIER}",
    ],
)
def test_other_random_digits_are_still_masked(text: str) -> None:
    assert IDENTIFIER not in "".join(chunk.text for chunk in read(f"words\n{text}\n", "a.md"))


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


def small_pdf(text: str) -> bytes:
    """A PDF of one page, written by hand."""
    stream = f"BT /F1 12 Tf 20 100 Td ({text}) Tj ET".encode()
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 200]/Contents 4 0 R"
        b"/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    content, places = b"%PDF-1.4\n", []
    for number, item in enumerate(objects, 1):
        places.append(len(content))
        content += b"%d 0 obj%s endobj\n" % (number, item)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    ending = b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (size, len(content))
    return content + b"xref\n0 %d\n0000000000 65535 f \n" % size + table + ending
