"""The URL that an endpoint of a config means, judged in the same way wherever it is written."""

from __future__ import annotations

import re

from modelyard.configs.kinds.parts import URL_PATTERN
from modelyard.secrets.references import NoUsableEndpoint, read_endpoint

_URL = re.compile(URL_PATTERN)


def endpoint_url(written: str) -> str:
    """The URL that is written, or that the variable of `env:NAME` holds.

    Raises NoUsableEndpoint where it is unset, or holds what no file may: another form, a
    placeholder, a port that does not exist.
    """
    url = read_endpoint(written)
    if url != written and not _URL.fullmatch(url):
        raise NoUsableEndpoint(
            "the variable holds no URL of an API: it has a placeholder, an impossible port, or a "
            "character that no URL has",
            where=written,
            hint="set it to a URL such as https://api.example.com/v1",
        )
    return url
