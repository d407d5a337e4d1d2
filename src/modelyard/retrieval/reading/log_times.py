"""Times at the beginning of log lines: found in the forms that programs write, given as ISO 8601.

A time without a zone is given without one. One without a year is of the last year in which it is
not after the day when the file was written.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_MONTHS = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_DAYS = "Mon|Tue|Wed|Thu|Fri|Sat|Sun"
_CLOCK = r"[0-2]\d:[0-5]\d:[0-6]\d(?:[.,]\d{1,9})?"
_ZONE = r"(?:Z|[ ]?[+-]\d\d:?\d\d(?![\d:-])|[ ](?:UTC|GMT)\b)?"
_WITHIN = 80
"""Characters of a line in which its time begins."""

_TIME = re.compile(
    rf"(?:(?<![\w.:])\d{{4}}([-/.])[01]\d\1[0-3]\d[T -]"
    rf"(?:{_CLOCK}|[0-2]\d\.\d\d\.\d\d\.\d{{6}}){_ZONE}"
    rf"|(?<![\w.:])(?:19|20)\d{{6}}[-T][0-2]?\d:?[0-5]?\d:?[0-6]?\d(?:[:.,]\d{{1,9}})?{_ZONE}(?![\w:])"
    rf"|(?<![\w.:])\d\d/[01]\d/[0-3]\d {_CLOCK}"
    rf"|(?:\b(?:{_DAYS}),? )?(?<![\w.:])[0-3]?\d[ /-](?:{_MONTHS})[ /-]\d{{4}}[: ]{_CLOCK}{_ZONE}"
    rf"|\b(?:{_DAYS}) (?:{_MONTHS}) [ \d]?\d {_CLOCK}(?: [A-Z]{{3,4}})?(?: \d{{4}}(?!\d))?"
    rf"|\b(?:{_MONTHS}) [ \d]?\d (?:\d{{4}} )?{_CLOCK}"
    rf"|^\d{{6}} (?:\d{{6}}| ?\d?\d:\d\d:\d\d)(?= )"
    rf"|(?<![\w.:/-])[01]\d[-.][0-3]\d {_CLOCK}"
    rf"|^[IWEF][01]\d[0-3]\d {_CLOCK}"
    r"|(?:^(?:- )?|^\[|\b(?:ts|time|timestamp)=\"?|\baudit\()1\d{9}(?:\.\d{1,9}|\d{3})?(?![\w.])"
    rf"|(?<![\w.:-]){_CLOCK}(?!\d))"
)
_EPOCH = re.compile(r"\d{9,19}(?:\.\d{1,9})?")
_NAMED_MONTH = re.compile(
    rf"(?P<before>\d{{1,2}}[ /-])?(?P<month>{_MONTHS})[ /-]+(?P<first>\d{{1,4}})[: ]+"
    rf"(?P<second>\d{{4}}(?= ))?[ ]?(?P<clock>{_CLOCK})(?P<rest>.*)"
)
_NUMBERS = re.compile(r"\d+")
_OFFSET = re.compile(r"([+-]\d\d):?(\d\d)$")
_MOST_YEARS_BACK = 8
"""29 February comes again after eight years at the latest."""


def find_time(line: str) -> re.Match[str] | None:
    """The place of a line's time, when it stands near the beginning."""
    return _TIME.search(line, 0, _WITHIN)


def iso_time(written: str, file_written: datetime) -> str:
    """A time in ISO 8601 that `datetime.fromisoformat` reads; as it is when it names no date.

    Empty for a time that never was, such as 31 February or the zone +99:99.

    written: the text of a match of `find_time`, or seconds, ms, us or ns since 1970.
    file_written: when the file was last changed, for times without a year.
    """
    try:
        found = _parse(written, file_written)
        if found:
            datetime.fromisoformat(found)  # refuses a zone of a day or more
        return found or written
    except (ValueError, OverflowError, OSError):
        return ""


def _parse(written: str, file_written: datetime) -> str:
    zone = _zone(written)
    if epoch := re.search(r"(?:^|[ \[(\"=])(1\d{9}(?:\.\d{1,9}|\d{3})?)$", written):
        return _from_epoch(epoch[1])
    if _EPOCH.fullmatch(written):
        return _from_epoch(written)
    if named := _NAMED_MONTH.search(written):
        month_number = _MONTHS.split("|").index(named["month"]) + 1
        if named["before"]:
            year, day = named["first"], named["before"].rstrip(" /-")
        else:
            after = re.search(r" (\d{4})$", named["rest"])
            year, day = named["second"] or (after[1] if after else ""), named["first"]
        return _with_year(year, month_number, int(day), named["clock"], file_written) + zone
    body = _OFFSET.sub("", written).removesuffix("Z")
    numbers = _NUMBERS.findall(body)
    if re.match(r"\d{4}[-/.]", written):
        year, month, day, *clock = numbers
    elif re.match(r"\d{8}[-T]", written):
        year, month, day = numbers[0][:4], numbers[0][4:6], numbers[0][6:]
        clock = _split(numbers[1]) if len(numbers) == 2 else numbers[1:]
    elif re.match(r"\d\d/\d\d/", written):
        year, month, day, *clock = numbers
        year = _century(year)
    elif re.match(r"\d{6} ", written):
        year, month, day = _split(numbers[0])
        year = _century(year)
        clock = _split(numbers[1]) if len(numbers) == 2 else numbers[1:]
    elif re.match(r"[IWEF]\d{4} ", written):
        year, (month, day), clock = "", (numbers[0][:2], numbers[0][2:]), numbers[1:]
    elif re.match(r"\d\d[-.]\d\d ", written):
        year, (month, day, *clock) = "", numbers
    else:
        return ""
    return _with_year(year, int(month), int(day), ":".join(clock), file_written) + zone


def _with_year(year: str, month: int, day: int, clock: str, file_written: datetime) -> str:
    """A time of the given year, or of the last one that is not after the file was written."""
    hour, minute, second = (int(part) for part in _NUMBERS.findall(clock)[:3])
    digits = "".join(_NUMBERS.findall(clock)[3:4])
    second = min(second, 59)  # a leap second
    micros = int(f"{digits:0<6}"[:6]) if digits else 0
    latest = file_written.replace(tzinfo=None) + timedelta(days=1)
    years = [int(year)] if year else [latest.year - back for back in range(_MOST_YEARS_BACK + 1)]
    for one in years:
        try:
            at = datetime(one, month, day, hour, minute, second, micros)
        except ValueError:
            continue
        if year or at <= latest:
            return at.isoformat()
    raise ValueError("no such day")


def _zone(written: str) -> str:
    if written.endswith(("Z", " UTC", " GMT")) or re.search(r" (?:UTC|GMT) \d{4}$", written):
        return "+00:00"
    offset = _OFFSET.search(written) if ":" in written else None
    return f"{offset[1]}:{offset[2]}" if offset else ""


def _from_epoch(number: str) -> str:
    """Seconds since 1970, or a thousandth, millionth or billionth of them by the digits."""
    whole, _, part = number.partition(".")
    power = 3 * max(0, (len(whole) - 10 + 2) // 3)
    seconds = int(whole) / 10**power + (float(f"0.{part}") if part else 0.0)
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _split(six: str) -> list[str]:
    """Two digits each."""
    if len(six) != 6:
        raise ValueError("not six digits")
    return [six[:2], six[2:4], six[4:]]


def _century(year: str) -> str:
    """Two digits as POSIX reads them: from 69 on in the 20th century."""
    return f"{'19' if int(year) >= 69 else '20'}{year}"
