"""API keys: who has one is found, and who has none learns nothing."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from modelyard.access import keys
from modelyard.access.keys import (
    check_key,
    create_key,
    find_caller,
    list_keys,
    revoke_key,
    rotate_key,
)
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project


@pytest.fixture
def place(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


def test_only_the_whole_token_opens_and_is_stored_nowhere(place: Project) -> None:
    made = create_key(
        place, check_key("acme", scopes=["chat"], requests_per_minute=3, per_month_usd=0.5)
    )
    caller = find_caller(place, made.token)
    assert caller is not None
    assert (caller.organisation, caller.key_id) == ("acme", made.key.id)
    assert (caller.scopes, caller.requests_per_minute, caller.per_month_usd) == ({"chat"}, 3, 0.5)
    secret = made.token.rpartition("-")[2].encode()
    for path in place.local_state.rglob("*"):
        assert not path.is_file() or secret not in path.read_bytes()
    assert secret.decode() not in repr(list_keys(place))


def test_a_key_ends_when_it_is_revoked_exchanged_or_over(
    place: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    revoked, rotated, over = (
        create_key(place, check_key("acme", expires_s=expires)) for expires in (None, 3600, 60)
    )
    revoke_key(place, revoked.key.id)
    new = rotate_key(place, rotated.key.id, overlap_s=600)
    assert not find_caller(place, revoked.token)
    assert find_caller(place, rotated.token)
    assert find_caller(place, new.token)
    revoke_key(place, rotated.key.id)  # before its time is over
    assert not find_caller(place, rotated.token)
    with pytest.raises(InvalidInput):
        rotate_key(place, rotated.key.id)
    monkeypatch.setattr(keys, "utc_now", lambda: over.key.expires_at)
    assert not find_caller(place, over.token)
    assert find_caller(place, new.token)


@contextmanager
def steps_of_finding(patch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What takes time while a caller is found: reads, hashes, comparisons."""
    steps: list[str] = []

    def noted(name: str, function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            steps.append(name)
            return function(*arguments)

        return call

    with patch.context() as patched:
        patched.setattr(keys, "read_state", noted("read", keys.read_state))
        patched.setattr(keys, "_hash", noted("hash", keys._hash))
        compare = noted("compare", keys.hmac.compare_digest)
        patched.setattr(keys.hmac, "compare_digest", compare)
        yield steps


def test_every_key_that_does_not_work_takes_the_same_path(
    place: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    works, revoked, over = (
        create_key(place, check_key("acme", expires_s=expires)) for expires in (None, None, 0)
    )
    revoke_key(place, revoked.key.id)
    tokens = {
        "works": works.token,
        "revoked": revoked.token,
        "over": over.token,
        "wrong secret": works.token[:-1] + ("0" if works.token[-1] != "0" else "1"),
        "unknown id": f"sk-my-{'0' * 12}-{'0' * 48}",
        "no key": "of bad news",
        "empty": "",
        "another service's": f"sk-ant-{'x' * 80}",
    }
    for name, token in tokens.items():
        with steps_of_finding(monkeypatch) as steps:
            found = find_caller(place, token)
        assert (found is not None) == (name == "works"), name
        assert steps == ["read", "hash", "compare"], name


def test_no_token_but_the_right_one_is_let_in(place: Project) -> None:
    chance = random.Random(19)
    token = create_key(place, check_key("acme")).token
    alphabet = [*token, "\x00", "\ud800", "é", "０", "-", " ", "\n", "'", "%", "A", "\u202e"]
    wrong = [token.upper(), f"{token}\n", f" {token}", token * 2, token.replace("s", "ѕ")]
    for _ in range(1500):
        letters = list(token)
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(letters))
            letters[at : at + chance.randint(0, 2)] = chance.choices(
                alphabet, k=chance.randint(0, 2)
            )
            letters = letters or ["-"]
        wrong.append("".join(letters))
    assert not [each for each in wrong if each != token and find_caller(place, each)]
    assert find_caller(place, token)


@pytest.mark.parametrize(
    "name",
    ["../x", "a/b", "a..b", "", ".", "-a", "Acme", "аcme", "acme\u200b", "ａcme", "a b", "a\n",
     "x" * 65, "acme\x00", "ac\u0301me"],
)  # fmt: skip
def test_a_name_that_could_be_taken_for_another_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="is not a valid organisation name"):
        check_key(name)


def test_names_that_begin_alike_are_apart(place: Project) -> None:
    made = {name: create_key(place, check_key(name)) for name in ("org1", "org10", "org1.0")}
    for name, each in made.items():
        caller = find_caller(place, each.token)
        assert caller is not None
        assert caller.organisation == name
        assert [key.id for key in list_keys(place, name)] == [each.key.id]
    revoke_key(place, made["org1"].key.id)
    assert find_caller(place, made["org10"].token)


def test_all_that_a_key_may_do_survives_an_exchange(place: Project) -> None:
    old = create_key(
        place, check_key("acme", name="x", requests_per_minute=7, per_month_usd=1.25, expires_s=60)
    )
    new = rotate_key(place, old.key.id)
    same = ("organisation", "name", "scopes", "requests_per_minute", "per_month_usd")
    assert [getattr(new.key, name) for name in same] == [getattr(old.key, name) for name in same]
    assert new.key.revoked_at is None


@pytest.mark.parametrize("scopes", [["chatt"], [], ["chat", "root"]])
def test_scopes_that_there_are_not_are_refused(scopes: list[str]) -> None:
    with pytest.raises(InvalidInput, match="scope"):
        check_key("acme", scopes=scopes)
