"""A JSON document to a URL, bounded like every other call: all of it in time, and no redirect."""

from __future__ import annotations

import time
from dataclasses import replace

from modelyard.providers.bounds import Bounds, CallEnded, bounded
from modelyard.providers.call import CallFailure
from modelyard.providers.failures import no_access, read_said, refusal
from modelyard.providers.masking import mask_said
from modelyard.providers.transport import PLACEHOLDER, open_http_client

_MOST_BYTES = 1 << 20


def post_json(
    url: str, document: bytes, *, key: str | None, timeout_s: float
) -> CallFailure | None:
    """POST a document once, within `timeout_s` for all of it; why it was not taken, or None.

    key: sent as `Authorization: Bearer`. A status from 200 to 299 says that it was taken, whatever
    comes with it.
    """
    headers = {"Content-Type": "application/json"}
    if key is not None:
        headers["Authorization"] = f"Bearer {PLACEHOLDER}"
    try:
        client = open_http_client(url, only_loopback=False)
    except CallEnded:  # its words repeat the URL, which may be a secret
        return no_access("it is no URL of a host, or the shell's variables name no proxy")
    bounds = Bounds(until=time.monotonic() + timeout_s, most_bytes=_MOST_BYTES, key=key)
    try:
        with bounded(bounds), client:
            with client.stream("POST", url, content=document, headers=headers) as answer:
                if answer.is_success:
                    return None
                said = read_said(answer.read())
            failure = refusal(answer.status_code, answer.headers.get, said, has_key=key is not None)
    except CallEnded as ended:
        failure = ended.failure
    return replace(failure, reason=mask_said(failure.reason, key))
