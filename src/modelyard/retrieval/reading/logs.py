"""Logs by message template: a million lines become a few hundred entries.

The templates are those of Drain: He et al., Drain: An Online Log Parsing Approach with Fixed Depth
Tree, ICWS 2017. A line's words with a digit are variable; what is left is looked up by the number
of its words and the first that is not variable. Memory holds templates and never lines, however
long the log is.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import BinaryIO

from modelyard.core.json_reading import InvalidJson, parse_json
from modelyard.retrieval.chunk import Chunk
from modelyard.retrieval.reading.encoded_bytes import encoded_spans
from modelyard.retrieval.reading.log_times import find_time, iso_time
from modelyard.retrieval.reading.splitting import CountTokens, split_words
from modelyard.retrieval.reading.terminal_text import strip_ansi
from modelyard.secrets.detection import redact_secrets

_BLOCK_BYTES = 1 << 20
_LONGEST_LINE = 4_000
_OF_TOKENS = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_+/=.~-"
"""Characters of a line that are read."""
_MOST_TEMPLATES = 1_000
"""Of a file; after that, a message unlike all of them counts as one of `other messages`."""
_MOST_ALIKE = 50
"""Templates with the same number of words and the same first fixed word."""
_MOST_REMEMBERED = 20_000
"""Masked lines whose template is remembered."""
_LEAST_SHARED = 0.5
"""Share of equal words that makes two messages one template (0.4 to 0.5 in the paper)."""
_MOST_WORDS = 60
_VARIABLE = "<*>"
_OTHER = "other messages"

_LEVEL = re.compile(
    r"\b(TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERR(?:OR)?|CRIT(?:ICAL)?|FATAL|ALERT|EMERG|PANIC)\b"
    r"|\blevel=\"?([A-Za-z]{3,8})\b|\[(debug|info|notice|warn|warning|error|crit|fatal)\]"
)
_LEVEL_WITHIN = 160
_MONTH = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_DAY = "Mon|Tue|Wed|Thu|Fri|Sat|Sun"
_VARYING = re.compile(
    r"(?<![^\s=:,;()\[\]{}\"'<>|])[^\s=:,;()\[\]{}\"'<>|\d]*+\d[^\s,;()\[\]{}\"'<>|]*+"
    rf"|\b(?:{_DAY})(?=,? +(?:\d|{_MONTH}))|\b(?:{_MONTH})(?= +\d)"
    r"|\b(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\b"
)
"""What differs between messages of one template: words with a digit, days and months of a date."""
_LEVELS = {"WARN": "WARNING", "ERR": "ERROR", "CRIT": "CRITICAL"}
_LEVEL_NUMBERS = {
    **dict(
        enumerate(("EMERG", "ALERT", "CRITICAL", "ERROR", "WARNING", "NOTICE", "INFO", "DEBUG"))
    ),
    **{10: "TRACE", 20: "DEBUG", 30: "INFO", 40: "WARNING", 50: "ERROR", 60: "FATAL"},
}
"""Levels as numbers: 0 to 7 as in syslog and journald, 10 to 60 as in pino and bunyan."""
_JSON_MESSAGES = ("message", "msg", "event", "log", "MESSAGE", "@m", "short_message")
_JSON_TIMES = (
    "timestamp",
    "time",
    "ts",
    "@timestamp",
    "__REALTIME_TIMESTAMP",
    "datetime",
    "asctime",
    "date",
    "@t",
    "eventTime",
    "t",
)
_JSON_LEVELS = ("level", "severity", "levelname", "lvl", "PRIORITY", "@l")
_JSON_LEVEL = re.compile(r"[A-Z]{3,15}|\d{1,3}")
_SECONDS = re.compile(r"\d{9,19}(?:\.\d{1,9})?")


@dataclass(slots=True)
class _Template:
    """One kind of message, and when it was seen."""

    words: list[str]
    level: str
    example: str
    first_line: int
    first_seen: str
    last_seen: str
    count: int = 0
    last_line: int = 0


@dataclass(frozen=True, slots=True)
class _Message:
    """A line in its parts."""

    text: str
    level: str
    time: str


@dataclass(slots=True)
class _Miner:
    """The templates of one log."""

    templates: list[_Template] = field(default_factory=list)
    alike: dict[tuple[int, str, str], list[_Template]] = field(default_factory=dict)
    remembered: dict[tuple[str, str], _Template] = field(default_factory=dict)
    other: _Template | None = None

    def add(self, line: str, number: int) -> None:
        message = _parse_line(line)
        masked = _VARYING.sub(_VARIABLE, message.text)
        template = self.remembered.get((message.level, masked))
        if template is None:
            template = self._find(masked.split()[:_MOST_WORDS], message, line, number)
            if len(self.remembered) >= _MOST_REMEMBERED:
                self.remembered.clear()
            self.remembered[message.level, masked] = template
        template.count += 1
        template.last_line = number
        template.last_seen = message.time or template.last_seen

    def _find(self, words: list[str], message: _Message, line: str, number: int) -> _Template:
        first = next((word for word in words if _VARIABLE not in word), "")
        bucket = self.alike.setdefault((len(words), first, message.level), [])
        best, shared = None, -1.0
        for template in bucket:
            equal = sum(map(operator.eq, template.words, words))
            if equal > shared:
                best, shared = template, equal
        full = len(bucket) >= _MOST_ALIKE or len(self.templates) >= _MOST_TEMPLATES
        if best is not None and (full or shared >= _LEAST_SHARED * len(words)):
            best.words = [
                known if known == word else _VARIABLE
                for known, word in zip(best.words, words, strict=True)
            ]
            return best
        if full and not bucket:
            del self.alike[len(words), first, message.level]
            if self.other is None:
                self.other = _Template([_OTHER], "", line, number, message.time, message.time)
                self.templates.append(self.other)
            return self.other
        made = _Template(words, message.level, line, number, message.time, message.time)
        bucket.append(made)
        self.templates.append(made)
        return made


def read_log(
    content: BinaryIO,
    *,
    limit: int,
    redact: bool,
    count_tokens: CountTokens,
    file_written: datetime,
) -> list[Chunk]:
    """One chunk for each template of a log, by its first line.

    file_written: when the file was last changed, for times without a year.
    Counts and times are facts and no part of the text: a template is embedded once, however often
    it is seen again.
    """
    miner = _Miner()
    for number, line in enumerate(_lines(content), 1):
        if line.strip():
            miner.add(line, number)
    chunks: list[Chunk] = []
    for template in sorted(miner.templates, key=lambda template: template.first_line):
        text = f"{' '.join(template.words)}\nfor example: {' '.join(template.example.split())}"
        text = redact_secrets(text, also=encoded_spans(text)) if redact else text
        facts = {"count": str(template.count), "last_line": str(template.last_line)}
        if template.level:
            facts["level"] = template.level
        for fact, seen in (("first_seen", template.first_seen), ("last_seen", template.last_seen)):
            if time := iso_time(seen, file_written) if seen else "":
                facts[fact] = time
        parts = _fitting(text, limit, count_tokens)
        if parts:
            chunks.append(
                Chunk(
                    text=parts,
                    title=template.level,
                    kind="template",
                    first_line=template.first_line,
                    last_line=template.first_line,
                    facts=facts,
                )
            )
    return chunks


def _fitting(text: str, limit: int, count_tokens: CountTokens) -> str:
    """A template with its example, or what of them fits."""
    (cost,) = count_tokens([text])
    if cost <= limit:
        return text
    return next(iter(split_words(text, max(1, limit - 4), count_tokens)), "")


def _parse_line(line: str) -> _Message:
    if line.startswith("{") and (message := _from_json(line)):
        return message
    time = find_time(line)
    level = _LEVEL.search(line, 0, _LEVEL_WITHIN)
    text, when = line, ""
    if time:
        when = time[0]
        text = line[: time.start()].strip(" [") + " " + line[time.end() :].lstrip(" ]|-")
    named = next(filter(None, level.groups())).upper() if level else ""
    return _Message(text, _LEVELS.get(named, named), when)


def _from_json(line: str) -> _Message | None:
    """A line that is a JSON object with a message in it."""
    try:
        row = parse_json(line)
    except InvalidJson:
        return None
    if not isinstance(row, dict):
        return None

    def first(keys: tuple[str, ...]) -> str:
        values = (row.get(key) for key in keys)
        values = (value.get("$date") if isinstance(value, dict) else value for value in values)
        return next((str(value) for value in values if isinstance(value, str | int | float)), "")

    text = strip_ansi(first(_JSON_MESSAGES))
    if not text:
        return None
    level = first(_JSON_LEVELS).upper()
    level = _LEVEL_NUMBERS.get(int(level), level) if level.isdecimal() else level
    level = _LEVELS.get(level, level) if _JSON_LEVEL.fullmatch(level) else ""
    return _Message(text, level, _json_time(first(_JSON_TIMES)))


def _json_time(value: str) -> str:
    """A time, or an empty text: anything else might be a secret."""
    if _SECONDS.fullmatch(value):
        return value
    time = find_time(value)
    return time[0] if time else ""


def _lines(content: BinaryIO) -> Iterator[str]:
    """Lines of a log, long ones truncated; the body of a private key is left out."""
    in_key = False
    for raw in _raw_lines(content):
        line = strip_ansi(raw.decode("utf-8", "replace").rstrip("\r"))
        if "PRIVATE KEY-----" in line:
            in_key = "-----BEGIN" in line and "-----END" not in line
        elif in_key:
            line = ""
        yield line


def _raw_lines(content: BinaryIO) -> Iterator[bytes]:
    held = b""
    while block := content.read(_BLOCK_BYTES):
        *whole, rest = block.split(b"\n")
        for line in whole:
            yield _beginning(held + line)
            held = b""
        held = (held + rest)[: _LONGEST_LINE + 1]
    yield _beginning(held)


def _beginning(line: bytes) -> bytes:
    """A line, or of a long one its beginning: whole words, for part of a token is not redacted."""
    if len(line) <= _LONGEST_LINE:
        return line
    return line[:_LONGEST_LINE].rstrip(_OF_TOKENS)
