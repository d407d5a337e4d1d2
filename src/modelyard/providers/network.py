"""Sockets that keep to the bounds of the call: resolving, connecting, reading and writing.

A backend of httpcore2, the transport of both official clients.
"""

from __future__ import annotations

import ipaddress
import queue
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from typing import Any

import httpcore2

from modelyard.providers.bounds import LOOK_S, current_bounds

_CONNECT_S = 10.0
"""Longest wait for a connection: a lost SYN is repeated after 1, 3 and 7 seconds (RFC 6298)."""
_PIECE_BYTES = 1 << 16

_Address = tuple[socket.AddressFamily, Any]


class BoundedNetwork(httpcore2.NetworkBackend):
    """Opens connections; with `only_loopback` to this machine alone, whatever a name leads to."""

    def __init__(self, *, only_loopback: bool = False) -> None:
        self._only_loopback = only_loopback

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        """A connection to the first address that answers; each gets its share of the time left.

        Raises ConnectError or ConnectTimeout of httpcore2.
        """
        until = min(current_bounds().until, time.monotonic() + _CONNECT_S)
        addresses = _resolve(host, port, until)
        if self._only_loopback and not all(_is_loopback(address) for _, address in addresses):
            raise httpcore2.ConnectError(f"{host} is not on this machine, where it is to stay")
        failed: OSError | None = None
        for place, (family, address) in enumerate(addresses):
            share_s = (until - time.monotonic()) / (len(addresses) - place)
            if share_s <= 0:
                break
            connection = socket.socket(family, socket.SOCK_STREAM)
            try:
                connection.settimeout(share_s)
                connection.connect(address)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as error:
                connection.close()
                failed = error
                continue
            except BaseException:
                connection.close()
                raise
            return _BoundedSocket(connection)
        if failed is None or isinstance(failed, TimeoutError):
            raise httpcore2.ConnectTimeout(f"{host} does not answer")
        raise httpcore2.ConnectError(failed.strerror or str(failed)) from failed


class _BoundedSocket(httpcore2.NetworkStream):
    """A connection, plain or encrypted. Reads and writes raise what httpcore2's own would."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        bounds = current_bounds()
        while True:
            bounds.require_wanted()
            left_s = _left_s(httpcore2.ReadTimeout)
            try:
                self._socket.settimeout(min(left_s, LOOK_S) if bounds.cancelled else left_s)
                return self._socket.recv(max_bytes)
            except TimeoutError:
                pass  # `_left_s` raises when the time is over
            except OSError as error:
                raise httpcore2.ReadError(str(error)) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        view = memoryview(buffer)
        try:
            while view:
                self._socket.settimeout(_left_s(httpcore2.WriteTimeout))
                view = view[self._socket.send(view[:_PIECE_BYTES]) :]
        except TimeoutError as error:
            raise httpcore2.WriteTimeout(str(error)) from error
        except OSError as error:
            raise httpcore2.WriteError(str(error)) from error

    def close(self) -> None:
        self._socket.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        try:
            self._socket.settimeout(_left_s(httpcore2.ConnectTimeout))
            return _BoundedSocket(
                ssl_context.wrap_socket(self._socket, server_hostname=server_hostname)
            )
        except TimeoutError as error:
            self.close()
            raise httpcore2.ConnectTimeout(str(error)) from error
        except OSError as error:
            self.close()
            raise httpcore2.ConnectError(str(error)) from error

    def get_extra_info(self, info: str) -> Any:
        match info:
            case "ssl_object":
                return self._socket if isinstance(self._socket, ssl.SSLSocket) else None
            case "is_readable":  # an idle connection that has something to say was closed
                return self._socket.fileno() < 0 or _is_readable(self._socket)
            case _:
                return None


def _left_s(error: type[httpcore2.TimeoutException]) -> float:
    left_s = current_bounds().left_s()
    if left_s <= 0:
        raise error("the time of the call is over")
    return left_s


def _is_readable(connection: socket.socket) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


def _resolve(host: str, port: int, until: float) -> list[_Address]:
    """The addresses of a host, from a thread of its own: a resolver cannot be interrupted."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return _look_up(host, port, socket.AI_NUMERICHOST)
    found: queue.SimpleQueue[list[_Address] | httpcore2.ConnectError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            found.put(_look_up(host, port, 0))
        except httpcore2.ConnectError as error:
            found.put(error)

    threading.Thread(target=look_up, daemon=True, name="resolve").start()
    try:
        addresses = found.get(timeout=max(0.0, until - time.monotonic()))
    except queue.Empty:
        raise httpcore2.ConnectTimeout(f"the address of {host} is not found in time") from None
    if isinstance(addresses, httpcore2.ConnectError):
        raise addresses
    return addresses


def _look_up(host: str, port: int, flags: int) -> list[_Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except (OSError, UnicodeError) as error:  # UnicodeError: a label of 64 letters, or none
        why = error.strerror if isinstance(error, OSError) else "no name of a host"
        raise httpcore2.ConnectError(f"{host[:100]}: {why}") from error
    return [(family, address) for family, _, _, _, address in found]


def _is_loopback(address: Any) -> bool:
    return ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback
