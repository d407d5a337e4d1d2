"""Whether an API is there and knows its model: what can be asked of it without a bill."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from modelyard.providers.bounds import Bounds, CallEnded, bounded
from modelyard.providers.call import CallFailure
from modelyard.providers.failures import broken, refusal, with_advice
from modelyard.providers.hosted import HostedModel, Refused
from modelyard.providers.masking import mask_said

_MOST_BYTES = 16 << 20
"""A list of models; those that resell others have thousands."""


def find_model(model: HostedModel, *, timeout_s: float) -> bool | CallFailure | None:
    """Whether the API knows the model: None where it does not say, else why it did not answer.

    OpenAI and Anthropic are asked for the model by its name, aliases included. Compatible servers
    have a list, which may lack what they answer to all the same, or none.
    Raises NoUsableKey.
    """
    provider = model.settings.provider
    prefix = "/v1" if provider == "anthropic" else ""
    if provider != "openai_compatible":
        name = quote(model.settings.model, safe=":")
        found = _get(model, f"{prefix}/models/{name}", timeout_s)
        if isinstance(found, CallFailure):
            return False if found.status == 404 else found
        return True
    listed = list_models(model, timeout_s=timeout_s)
    return model.settings.model in listed if isinstance(listed, Mapping) else listed


def list_models(
    model: HostedModel, *, timeout_s: float
) -> Mapping[str, int | None] | CallFailure | None:
    """The names in the list of a compatible server, each with the tokens of its context where the
    server says so (vLLM does, of an adapter by its base): None where it has no list, else why it
    did not answer. Raises NoUsableKey."""
    listed = _get(model, "/models", timeout_s)
    if isinstance(listed, CallFailure):
        return None if listed.status in (404, 405, 501) else listed
    rows = listed.get("data") if isinstance(listed, dict) else None
    if not isinstance(rows, list):
        return None
    named = {row["id"]: row for row in rows if isinstance(row, dict) and _is_named(row)}
    return {name: _context(row, named) for name, row in named.items()}


def _is_named(row: dict[str, Any]) -> bool:
    return isinstance(row.get("id"), str)


def _context(row: dict[str, Any], named: Mapping[str, dict[str, Any]]) -> int | None:
    parent = row.get("parent")
    above = named.get(parent, {}) if isinstance(parent, str) else {}
    said = (each.get("max_model_len") for each in (row, above))
    return next((each for each in said if isinstance(each, int) and each > 0), None)


def _get(model: HostedModel, path: str, timeout_s: float) -> Any:
    """The JSON at a path of the API, or CallFailure."""
    key = model.read_key()
    try:
        client = model.client()
        bounds = Bounds(until=time.monotonic() + timeout_s, most_bytes=_MOST_BYTES, key=key)
        with bounded(bounds), model.translated():
            answer = client.get(path, cast_to=object)
            bounds.is_complete = True
            if not isinstance(answer, (dict, list)):
                return broken("no JSON")
            return answer
    except Refused as error:
        has_key = key is not None
        failure = with_advice(refusal(error.status, error.headers.get, error.said, has_key=has_key))
    except CallEnded as ended:
        failure = ended.failure
    return replace(failure, reason=mask_said(failure.reason, key))
