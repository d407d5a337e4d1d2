"""Source code goes by definition, in each language."""

from __future__ import annotations

import pytest

from chunk_reading import check_lines, count_words, read


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


def test_protocol_buffers_go_by_top_level_block() -> None:
    text = """syntax = "proto3";
option go_package = "a{b";

// Rolls releases back.
service Releases {
  rpc RollBack (Release) returns (Release) {}  // } of a comment
}

message Release {
  string name = 1;
  message Part { int32 size = 1; }
}
enum State
{
  UNKNOWN = 0;
}
message Open {
  string never = 1;
"""
    found = read(text, "a.proto")
    check_lines(text.encode(), found)
    assert [(each.title, each.first_line, each.last_line) for each in found] == [
        ("", 1, 2),
        ("service Releases: Rolls releases back.", 4, 7),
        ("message Release", 9, 12),
        ("enum State", 13, 16),
        ("message Open", 17, 18),
    ]
    assert [each.facts.get("members") for each in found[1:3]] == ["RollBack", "Part"]


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
