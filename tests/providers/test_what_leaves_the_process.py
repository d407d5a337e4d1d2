"""A key is never shown, and nothing goes where it should not: hosts, headers, cookies, proxies."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.providers import transport
from modelyard.providers.call import CallFailure, Reply
from modelyard.providers.listing import find_model
from modelyard.providers.open import open_provider
from provider_calls import KEY, Caller, ask
from provider_server import END, ProviderServer, chat, chunk, head, message, whole


@pytest.fixture
def other() -> Iterator[ProviderServer]:
    with ProviderServer() as running:
        yield running


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(
    caller: Caller, other: ProviderServer, provider: str, status: int
) -> None:
    caller.server.answer(whole(f"{status} Moved", b"", f"Location: {other.url}/?key={KEY}"))
    result = caller.send(caller.settings(provider))
    assert isinstance(result, CallFailure) and result.kind == "no_access"
    assert f"redirects to http://127.0.0.1:{other.port}, " in result.reason
    assert other.connections == 0 and caller.count() == 1


def test_only_the_headers_that_are_needed_go_out(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "from-the-shell")
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.setenv(name, "from-the-shell")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://192.0.2.1/v1")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://192.0.2.1")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Mine: from-the-shell")
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "X-Mine: from-the-shell")
    expected = {
        *("host", "accept", "accept-encoding", "authorization", "content-length", "content-type"),
        "user-agent",
    }
    for provider, answer in (("openai", chat("Ann.")), ("anthropic", message("Ann."))):
        caller.server.answer(answer)
        assert isinstance(caller.send(caller.settings(provider)), Reply)
        headers = caller.server.asked[-1].headers
        assert set(headers) - {"anthropic-version"} == expected
        assert headers["authorization"] == f"Bearer {KEY}"
        assert headers["accept-encoding"] == "identity"
        assert headers["user-agent"].startswith("modelyard/")


def test_no_cookie_comes_back(caller: Caller) -> None:
    model = open_provider(caller.settings(), caller.project)
    cookie = head("200 OK", "text/event-stream", "Set-Cookie: who=organisation-1; Path=/")
    caller.server.answer([cookie, *chat("Ann.")[1:]])
    for _ in range(2):
        assert isinstance(model.send(ask(), timeout_s=20, on_text=None), Reply)
    assert caller.count() == 2 and caller.server.connections == 1
    assert all("cookie" not in asked.headers for asked in caller.server.asked)


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_key_that_comes_back_is_not_shown(
    caller: Caller, provider: str, caplog: pytest.LogCaptureFixture
) -> None:
    """In an answer, cut anywhere, in ids and in errors; in an answer with every log on."""
    caplog.set_level(logging.DEBUG)
    stream = chat if provider == "openai" else message
    for place in range(1, len(KEY), 5):
        caller.server.answer(stream(f"It is {KEY[:place]}", f"{KEY[place:]}, I think."))
        result = caller.send(caller.settings(provider))
        assert isinstance(result, Reply) and result.text == "It is ***, I think."
        assert "".join(caller.shown) == result.text
    assert "127.0.0.1" in caplog.text and KEY[4:12] not in caplog.text
    for status in ("400 Bad Request", "401 Unauthorized", "404 Not Found", "429 Slow", "500 Oh"):
        for said in (KEY, KEY[:10], f"{KEY[4:]}!", f"sk-proj-{KEY[3:]}1a2b3c4d5e6f7g8h9i0j"):
            error = {"error": {"message": f"no: {said}", "type": said, "code": said}}
            caller.server.answer(whole(status, error, f"x-request-id: {said}"))
            result = caller.send(caller.settings(provider))
            assert isinstance(result, CallFailure)
            assert KEY[4:12] not in repr(result) and KEY[:8] not in repr(result)


def test_a_key_is_in_no_traceback(caller: Caller) -> None:
    """Not in the locals of the clients either: the key is added below them."""

    def fail(piece: str) -> None:
        raise RuntimeError("the reader is gone")

    caller.server.answer(chat("Ann."))
    model = open_provider(caller.settings(), caller.project)
    with pytest.raises(RuntimeError) as caught:
        model.send(ask(), timeout_s=20, on_text=fail)
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert KEY not in repr(vars(model.client()))


def test_a_word_that_stands_in_for_a_key_may_be_said(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", "ollama")
    caller.server.answer(chat("Start ollama", " first."))
    result = caller.send(caller.settings())
    assert isinstance(result, Reply) and result.text == "Start ollama first."


def test_another_host_is_reached_through_the_proxy_of_the_shell(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://user:secret@127.0.0.1:{caller.server.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    caller.server.answer(chat("Ann."))
    endpoint = "http://models.example.com/v1"
    result = caller.send(caller.settings("openai_compatible", endpoint=endpoint))
    assert isinstance(result, Reply)
    (asked,) = caller.server.asked
    assert asked.line == "POST http://models.example.com/v1/chat/completions HTTP/1.1"
    assert asked.headers["proxy-authorization"].startswith("Basic ")


def test_this_machine_is_reached_through_no_proxy(
    caller: Caller, other: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, other.url)
    monkeypatch.delenv("no_proxy", raising=False)
    caller.server.answer(chat("Ann."))
    assert isinstance(caller.send(caller.settings()), Reply)
    assert other.connections == 0


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "nonsense://x"])
def test_a_proxy_that_is_none_is_named_without_its_password(
    caller: Caller, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    settings = caller.settings("openai_compatible", endpoint="http://models.example.com/v1")
    result = open_provider(settings, caller.project).send(ask(), timeout_s=5, on_text=None)
    assert isinstance(result, CallFailure) and result.kind == "no_access"
    assert "proxy" in result.reason and proxy not in result.reason


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str, wait_s: float = 0) -> None:
    def look_up(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        time.sleep(wait_s)
        family = socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (one, port)) for one in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


def test_what_is_to_stay_here_connects_to_no_other_machine(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the name localhost leads to; a test that connected elsewhere would fail."""
    resolve_to(monkeypatch, "127.0.0.1", "192.0.2.1")
    endpoint = caller.server.url.replace("127.0.0.1", "localhost")
    settings = caller.settings("openai_compatible", endpoint=endpoint, stays_local=True)
    result = caller.send(settings)
    assert isinstance(result, CallFailure)
    assert (result.kind, result.is_temporary) == ("unreachable", False)
    assert "not on this machine" in result.reason and caller.server.connections == 0
    resolve_to(monkeypatch, "127.0.0.1")
    caller.server.answer(chat("Ann."))
    assert isinstance(caller.send(settings), Reply)


def test_a_second_address_is_tried(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, "127.0.0.2", "127.0.0.1")
    caller.server.answer(chat("Ann."))
    endpoint = caller.server.url.replace("127.0.0.1", "localhost")
    assert isinstance(caller.send(caller.settings(endpoint=endpoint)), Reply)


def test_a_name_that_is_not_resolved_in_time(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, "127.0.0.1", wait_s=8)
    endpoint = caller.server.url.replace("127.0.0.1", "localhost")
    result = caller.send(caller.settings(endpoint=endpoint), timeout_s=0.3)
    assert isinstance(result, CallFailure) and result.kind == "unreachable"
    assert caller.took_s < 6


@pytest.mark.parametrize("provider", ["openai_compatible", "anthropic"])
@pytest.mark.parametrize(
    "place",
    ["127.0.0.1:99999", "127.0.0.1:0", "127.0.0.1:-1", "[::1", "[zz]/", ":80", "a:b", "x\0y"],
)
def test_an_endpoint_that_is_no_url_is_no_access(caller: Caller, provider: str, place: str) -> None:
    settings = caller.settings(provider, endpoint=f"http://{place}")
    model = open_provider(settings, caller.project)
    for result in (model.send(ask(), timeout_s=5, on_text=None), find_model(model, timeout_s=5)):
        assert isinstance(result, CallFailure) and result.kind == "no_access", result
        assert "`endpoint` is no URL" in result.reason


@pytest.mark.parametrize("host", [".", "a..b", "a" * 64, "%%", "a" * 300])
def test_a_host_that_is_no_name(caller: Caller, host: str) -> None:
    settings = caller.settings("openai_compatible", endpoint=f"http://{host}/v1")
    result = caller.send(settings, timeout_s=5)
    assert isinstance(result, CallFailure) and result.kind == "unreachable"
    assert caller.took_s < 5


def test_a_name_that_nobody_knows(caller: Caller) -> None:
    settings = caller.settings("openai_compatible", endpoint="http://nobody.invalid/v1")
    result = caller.send(settings, timeout_s=5)
    assert isinstance(result, CallFailure) and result.kind == "unreachable"
    assert "nobody.invalid" in result.reason


def test_threads_share_a_client_and_each_keeps_its_own_deadline(caller: Caller) -> None:
    caller.server.answer([head(), 0.4, *chat("Ann.")[1:]])
    model = open_provider(caller.settings(), caller.project)
    model.client()
    results: dict[float, Reply | CallFailure] = {}

    def call(timeout_s: float) -> None:
        results[timeout_s] = model.send(ask(), timeout_s=timeout_s, on_text=None)

    threads = [threading.Thread(target=call, args=[n]) for n in (0.1, 20, 0.2, 21, 0.3, 22)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kinds = {n: one.kind if isinstance(one, CallFailure) else "ok" for n, one in results.items()}
    assert kinds == {n: "timeout" if n < 1 else "ok" for n in results} and len(kinds) == 6


def test_a_fork_opens_connections_of_its_own(caller: Caller) -> None:
    caller.server.answer(chat("Ann."))
    model = open_provider(caller.settings(), caller.project)
    assert isinstance(model.send(ask(), timeout_s=20, on_text=None), Reply)
    process = os.fork()
    if not process:
        answered = isinstance(model.send(ask(), timeout_s=20, on_text=None), Reply)
        os._exit(0 if answered else 1)
    assert os.waitpid(process, 0)[1] == 0
    assert isinstance(model.send(ask(), timeout_s=20, on_text=None), Reply)
    assert (caller.count(), caller.server.connections) == (3, 2)


def test_a_client_is_loaded_once(caller: Caller) -> None:
    model = open_provider(caller.settings(), caller.project)
    assert model.load() > 0
    client = model.client()
    assert model.load() == 0 and model.client() is client


def test_a_connection_is_kept_after_an_answer_and_not_after_a_failure(caller: Caller) -> None:
    model = open_provider(caller.settings(), caller.project)
    caller.server.answer(
        chat("Ann."), chat("Bob."), [head(), chunk(b"data: {oops\n\n"), END], chat("Ann.")
    )
    results = [model.send(ask(), timeout_s=20, on_text=None) for _ in range(4)]
    assert [isinstance(result, Reply) for result in results] == [True, True, False, True]
    assert caller.server.connections == 2


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of 127.0.0.1, with its key, that nobody trusts."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl here to make a certificate")
    path = tmp_path / "certificate.pem"
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", path, "-out", path),
        ],
        check=True,
        capture_output=True,
    )
    return path


def test_an_encrypted_call_needs_a_trusted_certificate(
    caller: Caller, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    text = certificate.read_text()
    end = "-----END PRIVATE KEY-----\n"
    (certificate.parent / "key.pem").write_text(text[: text.index(end) + len(end)])
    certificate.write_text(text[text.index(end) + len(end) :])
    context.load_cert_chain(certificate, certificate.parent / "key.pem")
    caller.server.encrypt(context)
    caller.server.answer(chat("Ann."))
    settings = caller.settings(endpoint=caller.server.url.replace("http:", "https:"))
    transport.trusted_certificates.cache_clear()
    result = caller.send(settings)
    assert isinstance(result, CallFailure)
    assert (result.kind, result.is_temporary) == ("unreachable", False)
    assert "CERTIFICATE_VERIFY_FAILED" in result.reason and caller.count() == 0
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    transport.trusted_certificates.cache_clear()
    try:
        assert isinstance(caller.send(settings), Reply)
        result = caller.send(settings, timeout_s=20)
        assert isinstance(result, Reply) and caller.count() == 2
    finally:
        transport.trusted_certificates.cache_clear()
