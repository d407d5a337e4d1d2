"""Secrets and addresses are reported by place, and never repeated."""

from __future__ import annotations

import random
import string
import time

import pytest

from modelyard.chatdata.conversation import Conversation, Message
from modelyard.chatdata.row_formats import build_conversation
from modelyard.chatdata.sensitive import find_sensitive

LETTERS = "".join(random.Random(3).choices(string.ascii_letters + string.digits, k=80))


def saying(*contents: str, source: str = "a:1") -> Conversation:
    return Conversation(tuple(Message("user", content) for content in contents), source, {})


def kinds(text: str) -> list[str]:
    return [finding.kind for finding in find_sensitive([saying(text)])]


# Put together here, so that no scanner takes this file for one that holds keys.
@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("the key is AKIA" + "ABCDEFGHIJKLMNOP.", "AWS access key"),
        ("ghp" + "_" + LETTERS[:36], "GitHub token"),
        ("AIza" + LETTERS[:35], "Google API key"),
        ("use sk-" + "proj-" + LETTERS[:40], "API key"),
        ("sk_" + "live_" + LETTERS[:24], "Stripe key"),
        ("hf" + "_" + LETTERS[:34], "Hugging Face token"),
        ("xoxb" + "-1234567890-" + LETTERS[:10], "Slack token"),
        ("-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE", "private key"),
        ("-----BEGIN " + "PRIVATE KEY-----", "private key"),
        (f"eyJ{LETTERS[:20]}.eyJ{LETTERS[:20]}.{LETTERS[:20]}", "signed token"),
        (f"Authorization: Bearer {LETTERS[:30]}", "bearer token"),
        ("postgres://admin:s3cr3tPw@db/x", "password in an address"),
        ("password=Tr0ub4dor&3", "password"),
        ("My password: xK9#mP2q", "password"),
        ('{"api_key": "' + LETTERS[:20] + '"}', "password"),
        ("CLIENT_SECRET_KEY = " + LETTERS[:20], "password"),
        ("see url: password=Tr0ub4dor&3", "password"),
        ("write to jane.doe+x@mail.example.co.uk!", "e-mail address"),
    ],
)
def test_what_must_not_be_trained_is_found(text: str, kind: str) -> None:
    assert kinds(text) == [kind]


@pytest.mark.parametrize(
    "text",
    [
        "The password: please ask the help desk.",
        "password=********, password: <your password>, password=${PASSWORD}",
        "api_key: env:OPENAI_API_KEY",
        "api_key = your_api_key_here1",
        "The secret: kindness and patience.",
        "Secret: Santa comes at 12:30",
        "https://example.com/a:b/c and 5 @ 3 euros each",
        "Bearer bonds are not accepted here any more",
        "sk-learn is a library; the risk-based approach of task-oriented dialogue",
        "ratio 16:9, token: one",
    ],
)
def test_what_merely_looks_like_it_is_not(text: str) -> None:
    assert kinds(text) == []


def test_a_finding_says_where_and_does_not_repeat_the_secret() -> None:
    rows = [
        saying("hello", "nothing here", source="train.jsonl:1"),
        saying("a@b.org and c@d.org", "password=Tr0ub4dor&3 x@y.org", source="train.jsonl:2"),
    ]
    found = find_sensitive(rows)
    assert list(map(str, found)) == [
        "train.jsonl:2 (message 1): e-mail address",
        "train.jsonl:2 (message 2): e-mail address",
        "train.jsonl:2 (message 2): password",
    ]
    assert [finding.is_secret for finding in found] == [False, False, True]
    assert "Tr0ub4dor" not in repr(found)


def test_other_keys_of_a_row_are_searched_with_their_names() -> None:
    fields = {
        "id": "Tr0ub4dor&3",
        "password": "Tr0ub4dor&3",
        "meta": {"from": [{"e": "a@b.org"}], "api_key": LETTERS[:20], "n": 7, "none": None},
    }
    row = Conversation((Message("user", "password"),), "train.jsonl:4", fields)
    assert list(map(str, find_sensitive([row]))) == [
        "train.jsonl:4 (key 'password'): password",
        "train.jsonl:4 (key 'meta'): e-mail address",
        "train.jsonl:4 (key 'meta'): password",
    ]


def test_a_pattern_does_not_cross_from_one_turn_to_the_next() -> None:
    assert find_sensitive([saying("password:", "Tr0ub4dor&3")]) == []
    assert find_sensitive([]) == []


def test_megabytes_are_searched_in_a_second() -> None:
    rows = [saying("Where: " + "lorem ipsum dolor = sit " * 20) for _ in range(10_000)]
    started = time.process_time()
    assert find_sensitive(rows) == []
    assert (
        find_sensitive([saying(text * 100_000) for text in ("=", "eyJ", "a@", "://a:", "a.")]) == []
    )
    assert time.process_time() - started < 5


def test_calls_and_tools_are_searched_too() -> None:
    call = {"name": "mail", "arguments": {"to": "a@b.org", "password": "Tr0ub4dor&3"}}
    tool = {"name": "mail", "description": "Ask c@d.org"}
    turns = [
        {"role": "user", "content": "Mail it."},
        {"role": "assistant", "tool_calls": [call]},
    ]
    row = build_conversation({"messages": turns, "tools": [tool]}, "a:1", None)
    assert list(map(str, find_sensitive([row]))) == [
        "a:1 (message 2): e-mail address",
        "a:1 (message 2): password",
        "a:1 (key 'tools'): e-mail address",
    ]
