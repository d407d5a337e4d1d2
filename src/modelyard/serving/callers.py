"""Who sends a request: the owner of its key."""

from __future__ import annotations

from starlette.requests import Request

from modelyard.access.caller import Caller
from modelyard.serving.problems import Problem
from modelyard.serving.service import Service

_NO_KEY = (
    "this service needs an API key: send `Authorization: Bearer KEY`. The one who runs it makes "
    "keys with `models keys create --org ORG`"
)


def find_caller(service: Service, http: Request) -> Caller:
    """Whose key a request has. Raises Problem (401) without one that is valid."""
    token = _token(http)
    caller = service.find_caller(token) if token else service.without_key
    if caller is None:
        message = "this key is not valid, or no more" if token else _NO_KEY
        raise Problem(status=401, message=message, code="invalid_api_key")
    return caller


def _token(http: Request) -> str | None:
    """The key that a request has: as OpenAI's API sends it, or as Anthropic's does."""
    scheme, _, token = http.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return http.headers.get("x-api-key")
