"""Whether a model can write nothing but the JSON that is wanted, and which schema it gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelyard.answering.calls import AskedModel
from modelyard.answering.local_provider import LocalProvider
from modelyard.core.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldForm:
    """How a model is held to the form of an answer."""

    schema: Mapping[str, Any] | None
    """The schema that it gets beside the messages."""
    holds: bool
    """Whether it can write nothing else, as far as it comes."""
    notes: tuple[str, ...] = ()
    """What a person should know."""


def hold_to_form(asked: AskedModel, schema: Mapping[str, Any] | None, *, is_own: bool) -> HeldForm:
    """How a model is held to a schema, empty for any JSON; None: the answer may be text.

    A local one is held to it token by token. A hosted one gets the schema; for any JSON, what the
    messages say is all.
    is_own: whether the schema is the request's. Raises InvalidInput for one that a local model
    cannot be held to; an answer to a domain's is only checked then.
    """
    provider = asked.provider
    if schema is None or not isinstance(provider, LocalProvider):
        return HeldForm(schema=schema or None, holds=False)
    try:
        provider.require_form(schema)
    except InvalidInput as error:
        if is_own:
            raise
        note = f"{asked.name} is not held to the schema: {error.message}"
        return HeldForm(schema=None, holds=False, notes=(note,))
    return HeldForm(schema=schema, holds=True)
