from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedding_server import EmbeddingServer
from modelyard.configs.kinds.embedding_models import Encoder
from modelyard.configs.kinds.language_models import RateLimits
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project
from modelyard.encoders import (
    EncoderUnavailable,
    encoder_fingerprint,
    endpoint_encoder,
    open_encoder,
)
from modelyard.encoders.endpoint_encoder import CHUNK_RETRIES, QUERY_RETRIES

ATTEMPTS, QUERY_ATTEMPTS = CHUNK_RETRIES.attempts, QUERY_RETRIES.attempts

KEY = "test-key-0123456789"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddingServer]:
    for name in ("CHUNK_RETRIES", "QUERY_RETRIES"):
        quick = replace(getattr(endpoint_encoder, name), first_wait_s=0.001, longest_wait_s=0.01)
        monkeypatch.setattr(endpoint_encoder, name, quick)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("EMBEDDING_KEY", KEY)
    server = EmbeddingServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def settings_for(server: EmbeddingServer, **more: Any) -> Encoder:
    usual = {
        "source": "endpoint",
        "model": "acme-embed",
        "dimensions": 3,
        "max_tokens": 16,
        "batch_size": 4,
        "endpoint": server.endpoint,
        "api_key": "env:EMBEDDING_KEY",
    }
    return Encoder(**{**usual, **more})


def expected(texts: list[str]) -> Any:
    rows = np.array([[len(text), ord(text[0]), 1] for text in texts], np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_texts_go_in_batches_and_vectors_come_back_in_order(
    project: Project, server: EmbeddingServer
) -> None:
    texts, done = [chr(97 + n) * (1 + n) for n in range(11)], []
    encoder = open_encoder(project, settings_for(server, query_prefix="?"))
    found = encoder.encode(texts, on_progress=done.append)
    assert np.allclose(found, expected(texts))
    assert sorted(done) == [3, 4, 4]
    assert sorted(len(body["input"]) for _, _, body in server.asked) == [3, 4, 4]
    path, authorization, body = server.asked[0]
    assert (path, authorization) == ("/v1/embeddings", f"Bearer {KEY}")
    assert (body["model"], body["encoding_format"]) == ("acme-embed", "float")
    assert np.allclose(encoder.encode_query("who"), expected(["?who"])[0])
    assert encoder.encode([]).shape == (0, 3)


def test_long_and_empty_texts_are_made_to_fit(project: Project, server: EmbeddingServer) -> None:
    open_encoder(project, settings_for(server)).encode(["x" * 1000, ""])
    assert server.asked[0][2]["input"] == ["x" * 48, " "]


def test_the_key_is_read_from_a_file_at_each_call(
    project: Project, server: EmbeddingServer
) -> None:
    (project.root / "key").write_text("first\n")
    encoder = open_encoder(project, settings_for(server, api_key="file:key"))
    encoder.encode_query("a")
    (project.root / "key").write_text("second\n")
    encoder.encode_query("a")
    assert [key for _, key, _ in server.asked] == ["Bearer first", "Bearer second"]


def test_without_a_key_none_is_sent(project: Project, server: EmbeddingServer) -> None:
    open_encoder(project, settings_for(server, api_key=None)).encode_query("a")
    assert server.asked[0][1] is None


def test_a_key_that_is_not_set_is_named(
    project: Project, server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EMBEDDING_KEY")
    with pytest.raises(InvalidInput, match="no usable key") as caught:
        open_encoder(project, settings_for(server)).encode_query("a")
    assert caught.value.where == "env:EMBEDDING_KEY"
    assert server.asked == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_tried_again(
    project: Project, server: EmbeddingServer, status: int
) -> None:
    server.answers = [(status, {"Retry-After": "0"}, "busy"), (status, {}, "busy")]
    found = open_encoder(project, settings_for(server)).encode_query("abc")
    assert np.allclose(found, expected(["abc"])[0])
    assert len(server.asked) == 3


def test_what_does_not_pass_is_given_up_without_showing_the_key(
    project: Project, server: EmbeddingServer
) -> None:
    server.answers = [(503, {}, f"down for {KEY}")] * ATTEMPTS
    with pytest.raises(EncoderUnavailable, match="HTTP 503") as caught:
        open_encoder(project, settings_for(server)).encode(["abc"])
    assert len(server.asked) == ATTEMPTS
    assert KEY not in f"{caught.value} {caught.value.hint}"


def test_a_refusal_is_not_tried_again(project: Project, server: EmbeddingServer) -> None:
    server.answers = [(401, {}, f"Incorrect key {KEY[:12]}, once sk-proj-1a2b3c4d5e6f7g8h9i0j1k2l")]
    with pytest.raises(EncoderUnavailable, match=r"HTTP 401: it refuses the key$") as caught:
        open_encoder(project, settings_for(server)).encode_query("abc")
    assert len(server.asked) == 1
    assert "api_key" in str(caught.value.hint)


def test_a_secret_that_the_server_quotes_is_not_shown(
    project: Project, server: EmbeddingServer
) -> None:
    token = "hf_" + "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zZ"
    server.answers = [(400, {}, f"bad model; you sent {KEY} and {token}.")]
    with pytest.raises(EncoderUnavailable) as caught:
        open_encoder(project, settings_for(server)).encode_query("abc")
    assert "HTTP 400: bad model; you sent *** and ***." in str(caught.value)


def test_a_query_gives_up_sooner_than_a_bulk_of_chunks(
    project: Project, server: EmbeddingServer
) -> None:
    server.answers = [(429, {}, "slow down")] * ATTEMPTS
    with pytest.raises(EncoderUnavailable, match="HTTP 429"):
        open_encoder(project, settings_for(server)).encode_query("abc")
    assert len(server.asked) == QUERY_ATTEMPTS < ATTEMPTS


def test_the_key_does_not_follow_a_redirect(project: Project, server: EmbeddingServer) -> None:
    server.answers = [(307, {"Location": f"{server.endpoint}/elsewhere"}, "moved")]
    with pytest.raises(EncoderUnavailable, match="HTTP 307"):
        open_encoder(project, settings_for(server)).encode_query("abc")
    assert len(server.asked) == 1


def test_vectors_of_another_size_are_refused(project: Project, server: EmbeddingServer) -> None:
    with pytest.raises(InvalidInput, match="vectors of 3 numbers, and the config says 1536"):
        open_encoder(project, settings_for(server, dimensions=1536)).encode_query("abc")


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda rows: rows[:-1], "gave 1 vector for 2 texts"),
        (
            lambda rows: [{**rows[0], "index": 99}, *rows[1:]],
            "numbered a vector 99, where those of 2 texts are numbered 0 to 1",
        ),
        (lambda rows: [{**row, "embedding": [0, 0, 0]} for row in rows], "has no direction"),
        (lambda rows: [{**row, "embedding": "AAAA"} for row in rows], "not that of an embeddings"),
    ],
)
def test_answers_that_are_none_are_refused(
    project: Project, server: EmbeddingServer, spoil: Any, problem: str
) -> None:
    server.spoil = spoil
    with pytest.raises(EncoderUnavailable, match=problem):
        open_encoder(project, settings_for(server)).encode(["abc", "de"])


def test_nobody_there_is_said(project: Project, server: EmbeddingServer) -> None:
    asked = settings_for(server, endpoint="http://127.0.0.1:1/v1")
    with pytest.raises(EncoderUnavailable, match="cannot be reached"):
        open_encoder(project, asked).encode_query("abc")
    with pytest.raises(
        EncoderUnavailable, match=rf"\({CHUNK_RETRIES.unreached_attempts} attempts\)"
    ):
        open_encoder(project, asked).encode(["abc"])


def test_the_wait_that_a_server_asks_for_is_kept(project: Project, server: EmbeddingServer) -> None:
    server.answers = [(429, {"retry-after-ms": "150"}, "slow down")]
    began = time.monotonic()
    open_encoder(project, settings_for(server)).encode_query("abc")
    assert time.monotonic() - began >= 0.15
    assert len(server.asked) == 2


def test_a_server_that_asks_for_hours_is_given_up_and_the_wait_said(
    project: Project, server: EmbeddingServer
) -> None:
    server.answers = [(429, {"Retry-After": "7200"}, "limit of the day")]
    with pytest.raises(EncoderUnavailable, match=r"limit of the day \(1 attempt\)") as caught:
        open_encoder(project, settings_for(server)).encode(["abc"])
    assert "in 7,200 seconds" in str(caught.value.hint)
    assert len(server.asked) == 1


def test_a_used_up_quota_is_not_tried_again(project: Project, server: EmbeddingServer) -> None:
    server.answers = [(429, {}, '{"error": {"code": "insufficient_quota"}}')]
    with pytest.raises(EncoderUnavailable, match="HTTP 429") as caught:
        open_encoder(project, settings_for(server)).encode(["abc"])
    assert "plan" in str(caught.value.hint)
    assert len(server.asked) == 1


def test_a_batch_that_fails_ends_the_waits_of_the_others(
    project: Project, server: EmbeddingServer
) -> None:
    """The others would wait five minutes, and the test with them."""
    refused = threading.Event()

    def answer(body: dict[str, Any]) -> tuple[int, dict[str, str], str]:
        if body["input"][0] == "wait":
            refused.set()
            return 429, {"Retry-After": "299"}, "slow down"
        refused.wait(10)
        return 400, {}, "no such model"

    server.answer = answer
    encoder = open_encoder(project, settings_for(server, batch_size=1))
    with pytest.raises(EncoderUnavailable, match="HTTP 400"):
        encoder.encode(["bad", "wait"])


def test_no_more_requests_are_sent_in_a_minute_than_the_config_allows(
    project: Project, server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = replace(QUERY_RETRIES, deadline_s=1)
    monkeypatch.setattr(endpoint_encoder, "QUERY_RETRIES", quick)
    limits = RateLimits(requests_per_minute=2)
    encoder = open_encoder(project, settings_for(server, limits=limits))
    encoder.encode(["abc"])
    encoder.encode_query("abc")
    with pytest.raises(EncoderUnavailable, match="no room for a request"):
        encoder.encode_query("abc")
    assert len(server.asked) == 2


def test_another_address_or_model_is_another_encoder(
    project: Project, server: EmbeddingServer
) -> None:
    fingerprints = {
        encoder_fingerprint(project, settings_for(server)),
        encoder_fingerprint(project, settings_for(server, model="other")),
        encoder_fingerprint(project, settings_for(server, endpoint="http://127.0.0.1:1/v1")),
    }
    assert len(fingerprints) == 3
    assert server.asked == []
