"""What the headers of an HTTP answer say about trying again."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

Header = Callable[[str], str | None]
"""The value of a header by its name in any case, such as `response.headers.get`."""

_TEMPORARY = frozenset({408, 409, 425, 429})
"""Timeout, conflict, too early, too many requests."""
_LASTING = frozenset({501, 505})
"""Above 499, and yet the same next time: not implemented, HTTP version not supported."""

_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")


def is_temporary(status: int, header: Header) -> bool:
    """Whether the same request may succeed later.

    OpenAI and Anthropic say so themselves in `x-should-retry`; other services say it by the status.
    """
    asked = (header("x-should-retry") or "").strip().lower()
    if asked in ("true", "false"):
        return asked == "true"
    return status in _TEMPORARY or (status >= 500 and status not in _LASTING)


def read_asked_wait_s(header: Header) -> float | None:
    """The seconds that a server asks to wait, from 0; None where it asks for none or is unclear.

    `Retry-After` has seconds or an HTTP date (RFC 9110, section 10.2.3); a date is compared with
    the server's own `Date`, since clocks differ. `retry-after-ms` is more exact, where given.
    """
    milliseconds = _number(header("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    asked = header("Retry-After")
    seconds = _number(asked)
    if seconds is not None:
        return seconds
    moment = _moment(asked)
    if moment is None:
        return None
    now = _moment(header("Date")) or datetime.now(UTC)
    return max(0.0, (moment - now).total_seconds())


def _number(text: str | None) -> float | None:
    """Digits, perhaps with a fraction, which some services send; not all else that float takes."""
    if not _NUMBER.fullmatch((text or "").strip(" \t")):
        return None
    number = float(text or "")
    return number if math.isfinite(number) else None


def _moment(text: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text or "")
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
