"""Which parameter of a call an API refuses, so that the call can be made without it.

Models differ in what they take (some no temperature, some only `max_completion_tokens`), and
compatible servers in what they know. What an API says decides, and not the name of a model.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from modelyard.providers.failures import Said

REFUSING = (400, 404, 415, 422, 501)
"""Statuses with which APIs refuse a parameter."""

_REFUSED = re.compile(
    r"unsupported|n[o']t support|unrecogni[sz]ed|unknown|unexpected|extra_forbidden"
    r"|extra (inputs|fields)|not (permitted|allowed|available|implemented|enabled)|unavailable"
    r"|deprecated|cannot both|only the default|must be verified|invalid schema",
    re.IGNORECASE,
)

_OTHER_NAMES = (
    ("response_format", "json_schema"),
    ("response_format", "response format"),
    ("output_config", "structured output"),
)
"""How errors call a parameter without naming it."""


def refused_parameter(said: Said, sent: Collection[str]) -> str | None:
    """The parameter of those sent that an error refuses; None when it is about something else.

    A value that is out of range is no refusal: the config asks for what it would not get.
    """
    if not _REFUSED.search(said.everything):
        return None
    named = (said.parameter or "").split(".")[0]
    if named in sent:
        return named
    for other, word in _OTHER_NAMES:
        if other in sent and word in said.message.lower():
            return other
    # A word such as `stop` may stand in any sentence: it counts in quotes or as the last one. Of
    # two, the later one is meant: `temperature` and `top_p` cannot both be specified.
    places = {name: _place_of(name, said.message) for name in sent}
    name = max(places, key=lambda name: places[name], default=None)
    return name if name is not None and places[name] >= 0 else None


def _place_of(name: str, message: str) -> int:
    """Where a message names a parameter; -1 where it does not."""
    word = re.escape(name)
    quoted = rf"(?<![\w'\"`])['\"`]{word}(\.\w+)*['\"`]|(?<=: ){word}(?=$|[\s.,])"
    bare = rf"(?<![\w.]){word}(?!\w)"
    found = re.search(f"{quoted}|{bare}" if "_" in name else quoted, message)
    return found.start() if found else -1
