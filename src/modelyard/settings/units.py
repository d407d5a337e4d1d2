"""Quantities as people write them: `5 seconds`, `85%`, `$0.10`, `128k`, `4 GB`.

A quantity is a number with its unit in the text; here it becomes a number in one unit. A settings
field says which kind it is: `timeout_s: Annotated[float, DURATION, Range(0.001)]` is the key
`timeout`, since the unit stands beside the number and not in the key.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Quantity:
    """One kind of number with a unit."""

    name: str
    """What an error calls it, such as `a duration`."""
    pattern: str
    """Regular expression of the whole text: a group `number`, and a group `unit`."""
    factors: Mapping[str, float]
    """How many of the one unit each written unit is."""
    examples: tuple[str, ...]
    """Texts that are right; the first one is what an error suggests."""
    shown: tuple[str, ...] = ()
    """The units in which it is shown, the smallest first."""
    suffix: str = ""
    """What a field of this kind ends in, such as `_s`; its key leaves it out."""
    bare: bool = False
    """Whether a number without a unit will do."""
    joined: bool = False
    """Whether several parts may be joined, the largest unit first: `1h30m`."""
    whole: bool = False
    """Whether it counts things, and so comes to a whole number."""

    @property
    def schema_pattern(self) -> str:
        """The pattern as a JSON Schema takes it: ECMA 262 has other named groups."""
        return "^" + re.sub(r"\(\?P<\w+>", "(", self.pattern) + "$"

    def parse(self, text: str) -> float | None:
        """The number in the one unit; None when the text is no such quantity."""
        return _parse(self, text)

    def meant(self, text: str) -> str | None:
        """The same text with its unit in the right case, such as 32k for 32K, or of what counts
        things without its commas; None if neither fits."""
        plain = text.replace(",", "")
        if self.whole and plain != text and self.parse(plain) is not None:
            return plain
        found = re.fullmatch(r"(?P<number>[$0-9., ]+)(?P<unit>[A-Za-z]+)", text)
        if found is None or self.parse(text) is not None:
            return None
        units = [unit for unit in self.factors if unit.lower() == found["unit"].lower()]
        fixed = f"{found['number']}{units[0]}" if len(units) == 1 else text
        return fixed if self.parse(fixed) is not None else None

    def show(self, value: float) -> str:
        """A number in the one unit as a person would write it; `parse` gives it back."""
        if self is MONEY:
            dollars, _, cents = f"{value:,.10f}".partition(".")
            return f"${dollars}.{cents.rstrip('0').ljust(2, '0')}"
        if self is SHARE:
            return f"{value * 100:.12g}%"
        fitting = [unit for unit in self.shown if value >= self.factors[unit]]
        unit = fitting[-1] if fitting else self.shown[0]
        if not value:
            unit = next(unit for unit in self.shown if self.factors[unit] == 1)
        return f"{value / self.factors[unit]:.12g}{'' if self is TOKENS else ' '}{unit}"


@lru_cache(maxsize=4096)  # a thousand configs say the same few things
def _parse(quantity: Quantity, text: str) -> float | None:
    found = re.fullmatch(quantity.pattern, text)
    if found is None:
        return None
    value = float(found["number"].replace(",", "")) * quantity.factors[found["unit"] or ""]
    if quantity.joined:
        value = _sum_of_parts(quantity, text)
    if not math.isfinite(value):
        return None
    if quantity.whole:
        return round(value) if abs(value - round(value)) < 1e-6 else None
    # 0.1 for 10%, and not the nearest float to 10 times the nearest float to 0.01.
    return float(f"{value:.12g}")


def _sum_of_parts(quantity: Quantity, text: str) -> float:
    """The sum of the parts of a text such as `1h30m`; not a number where a part is not smaller
    than the one before it."""
    parts = re.findall(r"([0-9.]+) ?([A-Za-z]+)", text)
    units = [quantity.factors[unit] for _, unit in parts]
    if any(below >= above for above, below in pairwise(units)):
        return math.nan
    return sum(float(number) * unit for (number, _), unit in zip(parts, units, strict=True))


def _pattern(units: Mapping[str, float], *, number: str = r"[0-9]+(?:\.[0-9]+)?") -> str:
    longest_first = sorted((unit for unit in units if unit), key=lambda unit: (-len(unit), unit))
    optional = "?" if "" in units else ""
    return rf"(?P<number>{number}) ?(?P<unit>{'|'.join(longest_first)}){optional}"


_DURATION_UNITS = {
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 0.001),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1),
    **dict.fromkeys(("min", "mins", "m", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600),
    **dict.fromkeys(("d", "day", "days"), 86400),
}
_PART = r"(?:[0-9]+(?:\.[0-9]+)? ?(?:{}))".format("|".join(sorted(_DURATION_UNITS, key=len)[::-1]))
DURATION = Quantity(
    name="a duration",
    pattern=rf"{_pattern(_DURATION_UNITS)}(?: ?{_PART})*",
    joined=True,
    factors=_DURATION_UNITS,
    examples=("5 seconds", "300 ms", "2 minutes", "24 hours", "7 days", "1h30m"),
    shown=("ms", "s", "min", "h", "d"),
    suffix="_s",
)
"""In seconds."""

SHARE = Quantity(
    name="a share",
    pattern=r"(?P<number>[0-9]+(?:\.[0-9]+)?) ?(?P<unit>%)",
    factors={"%": 0.01},
    examples=("85%", "2.5%"),
    bare=True,
)
"""A ratio; a bare number is from 0 to 1."""

_MONEY_NUMBER = r"[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?"
MONEY = Quantity(
    name="an amount in dollars",
    pattern=rf"\$ ?(?P<number>{_MONEY_NUMBER})(?P<unit>)",
    factors={"": 1},
    examples=("$0.10", "$50", "$1,200"),
    suffix="_usd",
)
"""In US dollars, which is what providers charge in."""

_TOKEN_UNITS = {"": 1, "k": 1000, "M": 1_000_000}
TOKENS = Quantity(
    name="a number of tokens",
    pattern=_pattern(_TOKEN_UNITS),
    factors=_TOKEN_UNITS,
    examples=("128k", "4096", "1M"),
    shown=("", "k", "M"),
    bare=True,
    whole=True,
)
"""k is a thousand."""

_SIZE_UNITS = {
    "B": 1,
    **{name: 1000**power for power, name in enumerate(("kB", "MB", "GB", "TB"), 1)},
    **{name: 1024**power for power, name in enumerate(("KiB", "MiB", "GiB", "TiB"), 1)},
}
SIZE = Quantity(
    name="a size",
    pattern=_pattern(_SIZE_UNITS),
    factors=_SIZE_UNITS,
    examples=("2 MB", "512 KiB", "4 GiB"),
    shown=("B", "kB", "MB", "GB", "TB"),
    suffix="_bytes",
    whole=True,
)
"""In bytes."""
