"""What everything that is fetched from the hub shares. `HF_ENDPOINT`, `HF_HOME`, `HF_TOKEN` count.

huggingface_hub is imported only when the hub is asked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelyard.core.errors import ModelyardError
from modelyard.core.files import disk_errors

_OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


class HubFailed(ModelyardError):
    """The hub cannot provide something; the message is the reason."""


def is_offline() -> bool:
    """Whether `HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE` is set to yes."""
    return any(
        os.environ.get(variable, "").upper() in ("1", "ON", "YES", "TRUE")
        for variable in _OFFLINE_VARIABLES
    )


def hub_cache_folder() -> Path:
    """Where the hub client keeps its files.

    Read from the environment at each call: the client's own constants are fixed at its import.
    """
    if chosen := os.environ.get("HF_HUB_CACHE"):
        return Path(chosen).expanduser().absolute()
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return (
        Path(os.environ.get("HF_HOME") or f"{caches}/huggingface").expanduser().absolute() / "hub"
    )


@contextmanager
def asking_hub(page: str, revision: str) -> Iterator[str]:
    """Give the block the hub's endpoint; the client's many errors become a HubFailed each.

    `page` is the place of the repository below the endpoint, such as `acme/tiny`.
    """
    import httpx2  # what huggingface_hub speaks HTTP with, and whose errors it lets through
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    endpoint = os.environ.get("HF_ENDPOINT") or constants.ENDPOINT
    address = f"{endpoint}/{page}"
    login = "run `hf auth login`, or set HF_TOKEN"
    try:
        with disk_errors(hub_cache_folder()):
            yield endpoint
    except (OSError, ValueError, RuntimeError, httpx2.HTTPError) as error:
        # The client says "not found locally" and keeps why it is not found there as the cause; an
        # upload that fails is a RuntimeError, of it and of hf_xet.
        cause = error if isinstance(error, HfHubHTTPError) else error.__cause__ or error
        hint: str | None = None
        match cause:
            case GatedRepoError():
                reason = "is gated, and this login has no access"
                hint = f"accept its terms at {address}; then {login}"
            case RepositoryNotFoundError():
                reason = f"{address} does not exist, or needs a login"
                hint = f"check the name; then {login}"
            case RevisionNotFoundError():
                reason = f"{address} has no revision {revision}"
            case HfHubHTTPError():
                status = cause.response.status_code
                reason = f"{address} answered with HTTP {status}"
                if status in (401, 403):
                    hint = f"this token may not do that: {login}"
            case _:
                said = next(iter(str(cause).splitlines()), "") or type(cause).__name__
                reason = f"{endpoint} could not be reached, or closed the connection: {said}"
                hint = "run it again, what has arrived is kept; HF_ENDPOINT names a mirror"
        raise HubFailed(reason, hint=hint) from error
