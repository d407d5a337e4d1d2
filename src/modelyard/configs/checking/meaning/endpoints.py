"""Whether a key would travel where others can read it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from modelyard.configs.checking.meaning.mistake import Mistake, warning
from modelyard.core.errors import KeyPath, dotted

_HOST = re.compile(r"http://(\[[^\]]*\]|[^/:]*)")
_OWN_NAMES = (".local", ".internal", ".lan", ".home.arpa", ".localhost", ".svc")


def check_plain_http(endpoint: str | None, api_key: str | None, path: KeyPath) -> Iterator[Mistake]:
    """A warning where a key goes to another machine without encryption."""
    found = _HOST.match(endpoint) if endpoint and api_key else None
    if found and not _is_near(found[1].strip("[]").lower()):
        yield warning(
            path,
            "plain-http",
            f"'{dotted(path)}' is http: the key and every request can be read on the way",
            hint="write https://",
        )


def _is_near(host: str) -> bool:
    """Whether a host is this machine or in a private network."""
    import ipaddress  # 10 ms that only such an address costs

    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith(_OWN_NAMES)
