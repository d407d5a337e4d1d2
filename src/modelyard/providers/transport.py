"""What lies between the official clients and the network: which headers go out, what may come back.

The key is added here, and only here. No redirect is followed, no cookie is kept, no header of the
clients about this machine is sent, and an answer has a longest body.
"""

from __future__ import annotations

import ssl
import urllib.request
from codecs import BOM_UTF8
from collections.abc import Iterator
from functools import cache

import httpcore2
import httpx2

from modelyard import __version__
from modelyard.configs.kinds.language_models import is_loopback
from modelyard.providers.bounds import Bounds, CallEnded, current_bounds
from modelyard.providers.call import CallFailure
from modelyard.providers.failures import broken, no_access, timed_out, unreachable
from modelyard.providers.network import BoundedNetwork

PLACEHOLDER = "the-key-is-added-below-the-client"
"""What the clients take for the key: it is replaced in whichever header they put it."""
_KEY_HEADERS = frozenset({b"authorization", b"x-api-key"})
_SENT = _KEY_HEADERS | frozenset(
    {b"host", b"accept", b"content-type", b"content-length", b"anthropic-version"}
)
"""Headers of the clients that go out; theirs of cookies, telemetry and variables do not."""
_OWN = (
    (b"User-Agent", f"modelyard/{__version__}".encode()),
    (b"Accept-Encoding", b"identity"),  # compressed, a few bytes could become gigabytes
)
_IDLE_CONNECTIONS = 32
_IDLE_S = 30.0
_MOST_BYTES_OF_ERROR = 1 << 20
_ERROR_S = 2.0
"""Longest wait for what is said beside an error's status."""
_DRAIN_S = 0.05
_DRAIN_CHUNKS = 4
_BROKE_OFF = ("peer closed connection", "Server disconnected")
"""How h11 and httpcore2 begin when a connection ended early, and was not misused."""
_LASTING = ("CERTIFICATE_VERIFY_FAILED", "not on this machine")
"""Why there is no connection, and will be none until somebody does something."""


def open_http_client(base_url: str, *, only_loopback: bool) -> httpx2.Client:
    """The client that an official client sends through; that one gets PLACEHOLDER as its key.

    only_loopback: no connection leaves this machine.
    Raises CallEnded where nothing can be reached by the URL, or a proxy is none.
    """
    transport = _Transport(_url_of(base_url), only_loopback=only_loopback)
    return httpx2.Client(transport=transport, follow_redirects=False, trust_env=False)


def _url_of(endpoint: str) -> httpx2.URL:
    try:
        url = httpx2.URL(endpoint)
    except httpx2.InvalidURL:
        url = httpx2.URL("")
    port = 80 if url.port is None else url.port
    if not url.host or not 0 < port < 1 << 16:  # a higher one would be taken for another
        raise CallEnded(no_access(f"`endpoint` is no URL of a host: {endpoint[:100]}"))
    return url


class _Transport(httpx2.BaseTransport):
    def __init__(self, url: httpx2.URL, *, only_loopback: bool) -> None:
        self._pool = httpcore2.ConnectionPool(
            ssl_context=trusted_certificates() if url.scheme == "https" else None,
            proxy=None if only_loopback else _proxy_for(url),
            max_connections=None,
            max_keepalive_connections=_IDLE_CONNECTIONS,
            keepalive_expiry=_IDLE_S,
            network_backend=BoundedNetwork(only_loopback=only_loopback),
        )

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        bounds = current_bounds()
        url = request.url
        sent = httpcore2.Request(
            method=request.method,
            url=httpcore2.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            ),
            headers=[*_headers_of(request, bounds.key), *_OWN],
            content=request.stream,
        )
        try:
            answer = self._pool.handle_request(sent)
        except _HTTP_ERRORS as error:
            raise _ended_by(error) from None
        received = [(name, text) for name, text in answer.headers if name.lower() != b"set-cookie"]
        body = _Body(answer, bounds)
        response = httpx2.Response(answer.status, headers=received, stream=body)
        if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
            body.close()
            raise CallEnded(broken("it is compressed, which was not asked for"))
        return response

    def close(self) -> None:
        self._pool.close()


def _headers_of(request: httpx2.Request, key: str | None) -> Iterator[tuple[bytes, bytes]]:
    """What goes out of the headers of a client, with the key in its place."""
    placeholder = PLACEHOLDER.encode()
    for name, text in request.headers.raw:
        if name.lower() not in _SENT:
            continue
        if name.lower() not in _KEY_HEADERS:
            yield name, text
        elif key is not None and placeholder in text:
            yield name, text.replace(placeholder, key.encode())


class _Body(httpx2.SyncByteStream):
    """The body of an answer, up to its longest size."""

    def __init__(self, answer: httpcore2.Response, bounds: Bounds) -> None:
        self._answer, self._bounds = answer, bounds
        self._is_error = not 200 <= answer.status < 300
        if self._is_error:
            bounds.end_within(_ERROR_S)
        self._most_bytes = _MOST_BYTES_OF_ERROR if self._is_error else bounds.most_bytes
        self._chunks: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        self._chunks = self._answer.iter_stream()
        size = 0
        try:
            for chunk in self._chunks:
                size += len(chunk)
                if size > self._most_bytes:
                    raise CallEnded(broken(f"it is longer than {self._most_bytes:,} bytes"))
                # A byte order mark before the first event hides it from the clients.
                yield chunk.removeprefix(BOM_UTF8) if size == len(chunk) else chunk
        except (CallEnded, *_HTTP_ERRORS) as error:
            if self._is_error:  # its status says enough
                return
            raise (error if isinstance(error, CallEnded) else _ended_by(error)) from None

    def close(self) -> None:
        """End the call; its connection is kept for the next one when the body's end is there."""
        try:
            if self._bounds.is_complete and self._chunks is not None:
                self._bounds.end_within(_DRAIN_S)
                for _ in range(_DRAIN_CHUNKS):
                    next(self._chunks)
        except (StopIteration, *_HTTP_ERRORS):
            pass
        finally:
            self._answer.close()


_HTTP_ERRORS = (
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.ProxyError,
    httpcore2.UnsupportedProtocol,
)
"""What httpcore2 raises; the network below it and the misused connection above."""


def _ended_by(error: Exception) -> CallEnded:
    return CallEnded(_failure_of(error))


def _failure_of(error: Exception) -> CallFailure:
    """What an error of the connection means."""
    said = " ".join(str(error).split())
    match error:
        case httpcore2.ConnectTimeout():
            return unreachable(f"no connection: {said}", sent=False)
        case httpcore2.ConnectError() | httpcore2.ProxyError():
            lasting = any(word in said for word in _LASTING) or said.startswith(("403", "407"))
            return unreachable(f"no connection: {said}", is_temporary=not lasting, sent=False)
        case httpcore2.TimeoutException():
            return timed_out("no whole answer within the time of the call")
        case httpcore2.NetworkError():
            return unreachable(f"the connection broke off: {said}")
        case httpcore2.RemoteProtocolError() if said.startswith(_BROKE_OFF):
            return unreachable("the connection ended before the answer did")
        case httpcore2.RemoteProtocolError():
            return broken(f"no HTTP: {said}")
        case _:
            return unreachable(f"no connection: {said}", is_temporary=False, sent=False)


@cache
def trusted_certificates() -> ssl.SSLContext:
    """The certificates that this machine trusts, `SSL_CERT_FILE` included; loaded once."""
    return httpx2.create_ssl_context()


def _proxy_for(url: httpx2.URL) -> httpcore2.Proxy | None:
    """The proxy that the variables of the shell name for a URL; never one for this machine."""
    if is_loopback(str(url)) or urllib.request.proxy_bypass(url.host):
        return None
    named = urllib.request.getproxies()
    text = named.get(url.scheme) or named.get("all")
    if not text:
        return None
    try:
        proxy = httpx2.Proxy(text if "://" in text else f"http://{text}")
    except (ValueError, httpx2.InvalidURL):
        proxy = None
    if proxy is None or proxy.url.scheme not in ("http", "https"):
        raise CallEnded(no_access("the proxy that the shell's variables name is no http:// URL"))
    return httpcore2.Proxy(str(proxy.url), auth=proxy.raw_auth)
