"""Numbers in texts with their units: `1,200 km`, `$2.5 million`, `36 hours`, `85%`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

_SCALES: Mapping[str, float] = {
    **dict.fromkeys(("k", "thousand", "tsd"), 1e3),
    **dict.fromkeys(("million", "millions", "mio", "mn"), 1e6),
    **dict.fromkeys(("billion", "billions", "bn", "mrd"), 1e9),
    **dict.fromkeys(("trillion", "trillions"), 1e12),
}
_UNITS: Mapping[str, Mapping[str, float]] = {
    "time": {
        **dict.fromkeys(("ms", "millisecond", "milliseconds"), 1e-3),
        **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1),
        **dict.fromkeys(("min", "mins", "minute", "minutes"), 60),
        **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600),
        **dict.fromkeys(("d", "day", "days"), 86400),
        **dict.fromkeys(("week", "weeks"), 7 * 86400),
    },
    "months": {**dict.fromkeys(("month", "months"), 1), **dict.fromkeys(("year", "years"), 12)},
    "length": {
        **dict.fromkeys(("mm", "millimetre", "millimetres", "millimeter", "millimeters"), 1e-3),
        **dict.fromkeys(("cm", "centimetre", "centimetres", "centimeter", "centimeters"), 1e-2),
        **dict.fromkeys(("m", "metre", "metres", "meter", "meters"), 1),
        **dict.fromkeys(("km", "kilometre", "kilometres", "kilometer", "kilometers"), 1e3),
        **dict.fromkeys(("mile", "miles"), 1609.344),
        **dict.fromkeys(("inch", "inches"), 0.0254),
        **dict.fromkeys(("ft", "foot", "feet"), 0.3048),
    },
    "mass": {
        **dict.fromkeys(("mg", "milligram", "milligrams"), 1e-6),
        **dict.fromkeys(("g", "gram", "grams"), 1e-3),
        **dict.fromkeys(("kg", "kilogram", "kilograms"), 1),
        **dict.fromkeys(("t", "tonne", "tonnes"), 1e3),
        **dict.fromkeys(("lb", "lbs", "pound", "pounds"), 0.45359237),
    },
    "bytes": {
        **dict.fromkeys(("byte", "bytes"), 1),
        **{name: 1000**power for power, name in enumerate(("kb", "mb", "gb", "tb"), 1)},
        **{name: 1024**power for power, name in enumerate(("kib", "mib", "gib", "tib"), 1)},
    },
    "share": {**dict.fromkeys(("%", "percent"), 0.01)},
    "dollars": dict.fromkeys(("$", "usd", "dollar", "dollars"), 1),
    "euros": dict.fromkeys(("€", "eur", "euro", "euros"), 1),
    "sterling": dict.fromkeys(("£", "gbp"), 1),
}
_KNOWN = {
    word: (dimension, factor)
    for dimension, words in _UNITS.items()
    for word, factor in words.items()
}
_NUMBER = re.compile(
    r"(?<![\w.,])(?<![^\W\d_]-)"
    r"(?P<before>[$€£] ?)?"
    r"(?P<sign>[-+])?"
    r"(?P<after_sign>[$€£] ?)?"
    r"(?P<number>\d{1,3}(?:[, '\u2009\u202f]\d{3})+(?:\.\d+)?(?!\d)"  # 1,234,567.8
    r"|\d{1,3}(?:\.\d{3})+(?:,\d+)(?!\d)"  # 1.234,5 is one in Europe
    r"|\d{1,3}(?:\.\d{3}){2,}(?!\d)"
    r"|\d+(?:\.\d+)?(?:[eE][-+]?\d{1,3}\b)?)"
    r"(?P<rest>[ -]?(?:%|[$€£]|[^\W\d_]+)(?: [^\W\d_]+)?)?"
)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number in a text."""

    value: float
    """In the unit of its dimension: seconds, metres, kilograms, bytes, a ratio; else as written."""
    dimension: str | None
    """time, length, dollars, ...; None for a bare number, or one of a unit that is not known."""
    factor: float
    """How many of that unit its own unit is."""
    written: str
    """How the text writes it."""


def quantities_in(text: str) -> list[Quantity]:
    """Every number of a text, with the unit before or behind it, in their order.

    A point is decimal and a comma, an apostrophe or a space separates thousands, unless the form
    leaves no doubt that it is the other way round: 1.234,5 and 1.234.567.
    """
    plain = unicodedata.normalize("NFKC", text).replace("\u2212", "-")
    return [_quantity(found) for found in _NUMBER.finditer(plain)]


def same_quantity(found: Quantity, wanted: Quantity, *, tolerance: float) -> bool:
    """Whether two quantities are equal, up to a share of the second.

    A bare number is taken to be in the unit of the other: the question may have said it.
    """
    value = found.value
    if found.dimension != wanted.dimension:
        if found.dimension is not None and wanted.dimension is not None:
            return False
        value = found.value / found.factor * wanted.factor
    return abs(value - wanted.value) <= abs(wanted.value) * tolerance + 1e-9 * abs(wanted.value)


def _quantity(found: re.Match[str]) -> Quantity:
    value = _value(found["number"])
    if found["sign"] == "-":
        value = -value
    dimension, factor = None, 1.0
    sign = (found["before"] or found["after_sign"] or "").strip()
    if sign:
        dimension, factor = _KNOWN[sign]
    for word in re.findall(r"[%$€£]|[^\W\d_]+", found["rest"] or ""):
        lowered = word.casefold()
        if lowered in _SCALES and (word != "K" or dimension):
            value *= _SCALES[lowered]
        elif lowered in _KNOWN and dimension is None:
            dimension, factor = _KNOWN[lowered]
            break
        else:
            break
    return Quantity(value * factor, dimension, factor, found[0].strip())


def _value(number: str) -> float:
    if re.fullmatch(r"\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:\.\d{3}){2,}", number):
        number = number.replace(".", "").replace(",", ".")
    return float(re.sub("[, '\u2009\u202f]", "", number))
