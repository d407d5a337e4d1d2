"""What a YAML parser could not read, in words for whoever wrote it.

libyaml says where it gave up and what it expected there, in the terms of its grammar. Which mistake
of people leads there is known for most of them: a text with a colon, a star or a quote in it that
has no quotes around it, a line that is indented by another number of spaces.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import yaml

from modelyard.core.errors import Diagnostic
from modelyard.settings.yaml_scalars import LINE_END

# What may stand in YAML: https://yaml.org/spec/1.2.2/#51-character-set
_UNREADABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CONFLICT = re.compile(r"(<{7}|={7}|>{7})( |$)")
_TEMPLATE = re.compile(r"\{%|\{\{-|\{\{\s*\.")
_NEVER_CLOSED = "found unexpected end of stream"
_IN_QUOTES = "put the whole text in quotes"

_SAID = {
    "mapping values are not allowed in this context": (
        "a colon that belongs to no key",
        f'{_IN_QUOTES} if it has ": " in it; else look at the indentation, and at the line above',
    ),
    "did not find expected key": (
        "what stands here belongs to nothing above it",
        "indent it as far as what it belongs to; a quote in a text is doubled, or the text stands "
        "in quotes of the other kind",
    ),
    "did not find expected '-' indicator": (
        "a list ends here, and no key is above it",
        "begin the line with `- `, or put the list below a key",
    ),
    "could not find expected ':'": (
        "a line of a mapping without a colon",
        "write `KEY: VALUE`; a text of several lines is indented, or begins with `|`",
    ),
    "did not find expected ',' or '}'": (
        "braces that are not closed",
        "close them with `}`, and put a comma between two keys",
    ),
    "did not find expected ',' or ']'": (
        "brackets that are not closed",
        "close them with `]`, and put a comma between two items",
    ),
    "did not find expected <document start>": (
        "the document has ended above this line",
        "leave out what ended it: a line `...`, or a value in braces or brackets that is all of it",
    ),
    _NEVER_CLOSED: (
        "a quote is opened here and never closed",
        "close it; a quote in a text is doubled, or the text stands in quotes of the other kind",
    ),
    "found incompatible YAML document": (
        "a version of YAML that is not read",
        "leave the line `%YAML` out",
    ),
    "block sequence entries are not allowed in this context": (
        "a list begins on the line of its key",
        "put each `- ` on a line of its own",
    ),
    "did not find expected comment or line break": (
        "a text of several lines begins on the line of its `|` or `>`",
        "begin it on the next line, indented",
    ),
    "did not find expected node content": (
        "there is no value where one is expected",
        f"{_IN_QUOTES} if it begins with one of , [ ] {{ }}",
    ),
    "did not find expected hexdecimal number": (
        "`\\u`, `\\U` and `\\x` begin the number of a character in double quotes",
        "use single quotes, such as for a path of Windows",
    ),
    "found unknown escape character": (
        "`\\` begins the name of a character in double quotes, and this is none",
        "use single quotes, such as for a path of Windows or a pattern",
    ),
}
"""What libyaml says, and what it means to a person: the mistake, and what to do."""


def explain_syntax(error: Exception, text: str, name: str, first_line: int) -> Diagnostic:
    """Why a parser gave up, with the place; `first_line` is the line at which `text` begins."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return _character_problem(error, text, name, first_line)
    lines = LINE_END.split(text)
    if conflict := _conflict(lines):
        return Diagnostic(
            message="a conflict of git that is not resolved",
            where=f"{name}:{conflict - 1 + first_line}:1",
            hint="keep one of the two sides, and remove the lines <<<<<<<, ======= and >>>>>>>",
            code="yaml-conflict",
        )
    said = str(getattr(error, "problem", None) or "is not YAML")
    opened = getattr(error, "context_mark", None)
    if said == _NEVER_CLOSED and opened is not None:
        mark = opened
    line = lines[mark.line] if mark.line < len(lines) else ""
    where = f"{name}:{mark.line + first_line}:{mark.column + 1}"
    if not line[: mark.column].strip(" ") and line[mark.column : mark.column + 1] == "\t":
        return Diagnostic(
            message="a tab in the indentation",
            where=where,
            hint="indent with spaces, not tabs",
            code="yaml-tab",
        )
    if any(map(_TEMPLATE.search, lines)):
        message: str = "a template of another program, which is no YAML yet"
        hint: str | None = "run it through its program first, and check what comes out"
    else:
        above = lines[mark.line - 1] if mark.line else ""
        message, hint = _in_words(said, line, above, mark.column)
    return Diagnostic(message=f"YAML syntax: {message}", where=where, hint=hint, code="yaml-syntax")


def _in_words(said: str, line: str, above: str, column: int) -> tuple[str, str | None]:
    """What the parser said of a line and a column in it."""
    if "\ufeff" in line:
        return (
            "a byte order mark (U+FEFF) inside the file",
            "remove it: two files were joined there",
        )
    if said == "found character that cannot start any token":
        return f"a text cannot begin with {line[column : column + 1] or 'this'}", _IN_QUOTES
    if said == "did not find expected alphabetic or numeric character":
        sign = line[column - 1 : column]
        what = "the use of an anchor" if sign == "*" else "an anchor"
        return f"`{sign}` begins {what}, and no name follows", _IN_QUOTES
    if said.startswith("mapping values") and re.fullmatch(r"\s*[\w.-]+:[^\s/].*", above):
        return "the line above has no space after its colon", "write `KEY: VALUE`"
    return _SAID.get(said, (said, None))


def _conflict(lines: Sequence[str]) -> int | None:
    """The number, from 1, of the first line that git wrote around two versions; None without."""
    marks = [number for number, line in enumerate(lines, 1) if _CONFLICT.match(line)]
    return marks[0] if len(marks) > 1 else None


def _character_problem(error: Exception, text: str, name: str, first_line: int) -> Diagnostic:
    """The error of a parser that gave no line: a character that cannot stand in YAML."""
    found = _UNREADABLE.search(text)
    if found is None:
        said = error if isinstance(error, yaml.YAMLError) else "a character that does not exist"
        where = f"{name}:{first_line}:1"
        return Diagnostic(message=f"YAML syntax: {said}", where=where, code="yaml-syntax")
    where = f"{name}:{line_and_column(text[: found.start()], first_line)}"
    kind = "half a character" if "\ud800" <= found[0] <= "\udfff" else "a control character"
    message = f"{kind} (U+{ord(found[0]):04X}), which YAML cannot hold"
    return Diagnostic(message=message, where=where, hint="remove it", code="yaml-character")


def line_and_column(before: str, first_line: int) -> str:
    """`line:col` of what follows the text `before`."""
    return f"{before.count(chr(10)) + first_line}:{len(before) - before.rfind(chr(10))}"
