"""`models org forget` as a person and as a program see it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

Models = Callable[..., int]


def test_an_organisation_is_forgotten_and_what_stays_is_named(
    models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    add = ("feedback", "add", "--prompt", "Who?", "--answer", "Ann.", "--org", "acme")
    assert models(*add) == 0
    capsys.readouterr()
    assert models("org", "forget", "acme", "--dry-run") == 0
    printed = capsys.readouterr().out
    assert "would remove of acme" in printed and "backups" in printed
    assert models("org", "forget", "acme", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["feedback"], result["samples"], result["dry_run"]) == (1, 0, False)
    assert models("org", "forget", "acme") == 0
    assert "There is nothing of acme to remove." in capsys.readouterr().out
    assert models("feedback", "list", "--org", "acme") == 0
    assert "There is no feedback of organisation acme" in capsys.readouterr().out


def test_a_name_that_is_none_is_refused(models: Models, capsys: pytest.CaptureFixture[str]) -> None:
    assert models("org", "forget", "../acme") == 2
    assert "organisation name" in capsys.readouterr().err
