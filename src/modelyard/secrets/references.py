"""Reading what a config refers to, a key or an endpoint: at each use, never kept."""

from __future__ import annotations

import os
import re

from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project
from modelyard.core.regular_files import read_regular
from modelyard.secrets.detection import mask_secrets

_URL = re.compile(r"https?://[^\s/@?#]+(?:/[^\s?#]*)?")

_OF_A_CALL = re.compile(
    r"(.*?)/(?:chat/completions|completions|embeddings|responses|messages|(?<=/v1/)models)/*"
)
_OF_OLLAMA = re.compile(r"(https?://[^/]*)/api/(?:chat|generate|embed|embeddings|tags)/*")
"""Ollama's own API, which is not that of OpenAI."""


class NoUsableKey(InvalidInput):
    """A key that a config refers to is not there, or is no key; the error never repeats it."""


class NoUsableEndpoint(NoUsableKey):
    """An endpoint that a config refers to is not there, or is no URL; a call ends as without a
    key."""


def read_endpoint(written: str) -> str:
    """The URL that is written, or that the variable of `env:NAME` holds.

    Raises NoUsableEndpoint where it is unset or no URL.
    """
    kind, _, name = written.partition(":")
    if kind != "env":
        return written
    url = os.environ.get(name, "").strip()
    if not url:
        raise NoUsableEndpoint(
            "the variable is not set",
            where=written,
            hint="set it to a URL such as https://api.example.com/v1",
        )
    if not _URL.fullmatch(url) or mask_secrets(url) != url:  # the URL is shown, a key is not
        raise NoUsableEndpoint(
            "the variable holds no URL of an API: http:// or https://, without a user, a password, "
            "a query or a key",
            where=written,
            hint="set it to a URL such as https://api.example.com/v1",
        )
    if base := base_url_meant(url):
        raise NoUsableEndpoint(
            f"the endpoint is the URL of one call, {url}", where=written, hint=f"set it to {base}"
        )
    return url


def base_url_meant(url: str) -> str | None:
    """The base URL where a URL is that of one call, to which each call would append its own end;
    None where it is none of these."""
    if own := _OF_OLLAMA.fullmatch(url):
        return f"{own[1]}/v1"
    found = _OF_A_CALL.fullmatch(url)
    return found[1] if found else None


def read_key(reference: str, project: Project, *, of: str) -> str:
    """The key that `reference` leads to, without the whitespace around it.

    of: whose key it is, for the error, such as `the model gpt4`.
    Raises NoUsableKey where it is unset, empty, unreadable or not one line of plain characters.
    """
    kind, _, name = reference.partition(":")
    if kind == "env":
        key = os.environ.get(name, "").strip()
    else:
        place = project.written_path(name)
        try:
            key = read_regular(place).decode().strip()
        except (OSError, ValueError) as error:
            problem = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise NoUsableKey(
                f"the key of {of} cannot be read from {place}: {problem}",
                where=reference,
                hint="write the path from /; a relative one starts at the project",
            ) from None
    if not key or not key.isascii() or not key.isprintable():
        raise NoUsableKey(
            f"there is no usable key for {of}",
            where=reference,
            hint="set it; a key is one line of plain characters",
        )
    return key
