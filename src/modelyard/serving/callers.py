"""Who sends a request: the owner of its key."""

from __future__ import annotations

from starlette.requests import Request

from modelyard.access.caller import Caller
from modelyard.configs.kinds.language_models import is_loopback
from modelyard.core.layout import is_name
from modelyard.serving.connections import LOCAL_USER
from modelyard.serving.problems import Problem
from modelyard.serving.service import Service

ORGANISATION = "modelyard-organisation"
"""The header that says, on the Unix socket, whose request it is."""
_NO_KEY = (
    "this service needs an API key: send `Authorization: Bearer KEY`. The one who runs it makes "
    "keys with `models keys create --org ORG`"
)


def find_caller(service: Service, http: Request) -> Caller:
    """Whose key a request has; on the Unix socket, the user of this machine who sent it.

    Only there may a request say for which organisation it is. Raises Problem (401) without a valid
    key.
    """
    user = local_user(http)
    if user is not None:
        return _local_caller(user, http.headers.get(ORGANISATION))
    token = _token(http)
    if not token and service.without_key:
        _require_from_here(http)
    caller = service.find_caller(token) if token else service.without_key
    if caller is None:
        message = "this key is not valid, or no more" if token else _NO_KEY
        raise Problem(status=401, message=message, code="invalid_api_key")
    return caller


def _require_from_here(http: Request) -> None:
    """Raise Problem (403) for a request without a key that another site's page may have sent.

    A browser lets any page send to a loopback address, and a page whose name was made to mean one
    may read the answers; but it says which name it asked for, and where the page is from.
    """
    asked = f"http://{http.headers.get('host', '')}"
    if is_loopback(asked) and is_loopback(http.headers.get("origin", asked)):
        return
    raise Problem(
        status=403,
        message="without keys only requests to localhost are answered, and none of other sites' "
        "pages",
        code="foreign_origin",
    )


def local_user(http: Request) -> str | None:
    """The user of this machine who sent a request on the Unix socket; None for any other."""
    user: str | None = http.scope.get("state", {}).get(LOCAL_USER)
    return user


def _local_caller(user: str, organisation: str | None) -> Caller:
    if organisation is not None and not is_name(organisation):
        raise Problem(status=400, message="this is no name of an organisation", param=ORGANISATION)
    return Caller(organisation=organisation, user=user)


def _token(http: Request) -> str | None:
    """The key that a request has: as OpenAI's API sends it, or as Anthropic's does."""
    scheme, _, token = http.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return http.headers.get("x-api-key")
