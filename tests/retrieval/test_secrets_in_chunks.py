"""Secrets and encoded bytes never reach a chunk; identifiers and expressions do."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from chunk_reading import NAMES, read
from modelyard.configs.kinds.embedding_models import IndexSettings
from modelyard.retrieval.reading.chunks import read_chunks
from modelyard.secrets.detection import redact_secrets


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
