"""Rows and answers are shown to people in a form that a terminal does not obey."""

from __future__ import annotations

import json

import pytest

from modelyard.cli.render import (
    print_error,
    print_json,
    print_pairs,
    print_sample,
    print_stream,
    print_table,
    print_text,
    print_title,
    print_warning,
)
from modelyard.core.errors import Diagnostic, ProblemsFound

EVIL = "\x1b[31mred\x07\x9b2J"
SHOWN = "\\x1b[31mred\\x07\\x9b2J"


def test_results_show_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    print_sample(EVIL, [(EVIL, False), (EVIL, True)])
    print_stream([EVIL, "\n\t", EVIL])
    print_text(EVIL)
    print_title(EVIL)
    print_pairs([("name", EVIL)])
    print_table(("name", "value"), [("a", EVIL)])
    printed = capsys.readouterr().out
    assert printed.count(SHOWN) == 9
    assert f"{SHOWN}\n\t{SHOWN}\n" in printed
    assert not set("\x1b\x07\x9b") & set(printed)


def test_warnings_and_errors_show_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    print_warning(EVIL)
    print_error(ProblemsFound(EVIL, [Diagnostic(message=EVIL, where=EVIL, hint=EVIL)], hint=EVIL))
    printed = capsys.readouterr().err
    assert printed.count(SHOWN) == 6
    assert not set("\x1b\x07\x9b") & set(printed)


def test_json_holds_the_text_itself_and_no_control_character(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_json({"answer": EVIL})
    printed = capsys.readouterr().out
    assert json.loads(printed) == {"answer": EVIL}
    assert not set("\x1b\x07\x9b") & set(printed)
