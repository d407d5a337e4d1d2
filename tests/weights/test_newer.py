"""`models base check`: newer revisions on the hub, and bases of which none is known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hub_server import COMMIT, HubServer, serving
from modelyard.weights.catalogue import BaseCard, HubSource, PathSource
from modelyard.weights.newer import BaseRevision, check_revisions

OLD = "89abcdef0123456789abcdef0123456789abcdef"
FILES = {"config.json": b"{}", "model.safetensors": b"weights", "README.md": b"new words"}
CARD = BaseCard(
    name="tiny",
    summary="A base",
    parameters=1,
    licence="MIT",
    context_length=8,
    sources=(PathSource(path="x"), HubSource(repo="acme/tiny", revision=OLD)),
)


def check(card: BaseCard) -> BaseRevision:
    (found,) = check_revisions({card.name: card})
    return found


def at(revision: str) -> BaseCard:
    return replace(CARD, sources=(HubSource(repo="acme/tiny", revision=revision),))


def test_a_revision_is_newer_when_a_file_of_the_base_is_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = HubServer(FILES)
    server.former[OLD] = FILES | {"README.md": b"old words"}
    with serving(server, monkeypatch):
        same = check(CARD)
        server.former[OLD] = {
            "config.json": b"{}",
            "tokenizer.json": b"",
            "model.safetensors": b"w",
        }
        newer = check(CARD)
        newest = check(at(COMMIT))
    assert (same.state, same.changed) == ("current", ())
    assert same.said == "a newer revision has the same files"
    assert newer.state == "newer"
    assert newer.changed == ("model.safetensors", "tokenizer.json")
    assert (newer.newest, newer.newest_at) == (COMMIT, "2026-11-02T10:00:00Z")
    assert (newest.state, newest.said) == ("current", "it is the newest revision")
    assert not any(path.endswith("model.safetensors") for _, path, _ in server.asked)


def test_what_cannot_be_compared_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    branch = check(at("main"))
    assert (branch.state, branch.revision) == ("unpinned", "main")
    local = check(replace(CARD, sources=(PathSource(path="x"),), upstream="acme/tiny"))
    assert (local.state, local.repo) == ("no revision", "acme/tiny")
    assert "not fetched from acme/tiny" in local.said
    assert check(replace(CARD, sources=(PathSource(path="x"),))).repo is None
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert check(CARD).state == "not asked"


def test_a_hub_that_is_not_reached_or_lacks_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    server = HubServer(FILES, repo="acme/other")
    with serving(server, monkeypatch):
        lacking = check(CARD)
    assert lacking.state == "not asked"
    assert "acme/tiny does not exist" in lacking.said
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "could not be reached" in check(CARD).said
