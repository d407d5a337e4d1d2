"""Plain YAML scalars as values: what a person reads is what the program gets, or it is an error.

Readers of YAML disagree about words without quotes. What this one takes them for:

- numbers: `5`, `-1_000`, `0x1f`, `0b101`, `1.5`, `.5`, `1e3` (also where PyYAML sees text), `.inf`,
  `.nan`; true and false: `true`, `False`, ...; nothing: `null`, `~`, or no text at all;
- an error, because two readers would take it for two things: `yes`, `no`, `on`, `off`, `y`, `n`
  (true or false, or text), `12:30` (base 60, or text), `010` (eight, or ten), `0o17` (fifteen, or
  text), `1_6` (underscores that do not part thousands), and a number with more digits than can be
  meant;
- text: all else, such as `08`, `1.2.3`, `30 seconds`, and dates (PyYAML would make a date).
"""

from __future__ import annotations

import math
import re

from modelyard.core.errors import InvalidInput

PlainValue = str | int | float | bool | None

_MOST_DIGITS = 100
"""Characters of a whole number; Python itself refuses to print one of more than 4,300 digits."""

_CONSTANTS: dict[str, bool | None] = {"": None, "~": None}
for _word, _meaning in (("null", None), ("true", True), ("false", False)):
    _CONSTANTS |= dict.fromkeys((_word, _word.capitalize(), _word.upper()), _meaning)

_YES_NO: dict[str, str] = {}
for _yes, _no in (("yes", "no"), ("on", "off"), ("y", "n")):
    _YES_NO |= dict.fromkeys((_yes, _yes.capitalize(), _yes.upper()), "true")
    _YES_NO |= dict.fromkeys((_no, _no.capitalize(), _no.upper()), "false")

LINE_END = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""What YAML ends a line at: https://yaml.org/spec/1.1/#id871136"""
INVISIBLE = {
    "\xa0": "a no-break space",
    "\xad": "a soft hyphen",
    "\u200b": "a space without width",
    "\u200c": "a joiner without width",
    "\u200d": "a joiner without width",
    "\u202f": "a narrow no-break space",
    "\u2060": "a joiner without width",
    "\u3000": "a wide space",
    "\ufeff": "a byte order mark",
}
"""Characters that look like a space or like nothing, and are a part of the word for YAML."""

_NUMBER_STARTS = frozenset("+-.0123456789")
# The forms of https://yaml.org/type/int.html and float.html as PyYAML has them, and those numbers
# of YAML 1.2 (its section 10.3.2) that have a point or an exponent.
_NUMBER = re.compile(
    r"""
      (?P<whole>   [-+]? (?: 0 | [1-9][0-9_]* ) )
    | (?P<real>    [-+]? (?: [0-9][0-9_]*\.[0-9_]* | \.[0-9][0-9_]* ) (?: [eE][-+]?[0-9]+ )?
                 | [-+]? [0-9]+ [eE][-+]?[0-9]+ )
    | (?P<radix>   [-+]? 0 (?: b[01_]+ | x[0-9a-fA-F_]+ ) )
    | (?P<octal>   [-+]? 0 o? [0-7_]+ )
    | (?P<base60>  [-+]? [1-9][0-9_]* (?: :[0-5]?[0-9] )+
                 | [-+]? [0-9][0-9_]* (?: :[0-5]?[0-9] )+ \. [0-9_]* )
    | (?P<special> [-+]? \.(?: inf | Inf | INF ) | \.(?: nan | NaN | NAN ) )
    """,
    re.VERBOSE,
)


_IN_THOUSANDS = re.compile(r"[-+]?[0-9]{1,3}(?:_[0-9]{3})+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?")
"""Where underscores stand as people write them in numbers."""


class TypingTrap(InvalidInput):
    """A word without quotes that readers of YAML take for different things."""


def read_plain(text: str) -> PlainValue:
    """The value of a scalar written without quotes. Raises TypingTrap when it has two readings."""
    if text[:1] in _NUMBER_STARTS:
        return _read_number(text)
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text in _YES_NO:
        meaning = _YES_NO[text]
        raise TypingTrap(f"'{text}' means {meaning} in YAML", hint=f'write "{text}" or {meaning}')
    return text


def find_invisible(text: str) -> str | None:
    """The name of a character at an end of a word that nobody sees there; None without one.

    A byte order mark is found anywhere: it is left where two files were joined.
    """
    for letter in (text[:1], text[-1:], "\ufeff"):
        if letter in INVISIBLE and letter in text:
            return f"{INVISIBLE[letter]} (U+{ord(letter):04X})"
    return None


def find_unseen(text: str) -> str | None:
    """What a text has that nobody sees: a space at an end, or a character that steers the terminal
    or the direction of writing; None without one."""
    import unicodedata  # only where something is wrong

    for letter in text:
        if letter != "\n" and unicodedata.category(letter) in ("Cc", "Cf"):
            name = unicodedata.name(letter, "a control character").lower()
            return f"the character U+{ord(letter):04X}, {name}"
    if text == text.strip():
        return None
    return "a space at its end" if text == text.lstrip() else "a space at its beginning"


def is_plain_text(text: str) -> bool:
    """Whether `text`, written without quotes, is read back as that text."""
    if not text.isascii() and find_invisible(text):
        return False
    try:
        return read_plain(text) is text
    except TypingTrap:
        return False


def _read_number(text: str) -> PlainValue:
    form = _NUMBER.fullmatch(text)
    if form is None:
        return text
    kind = form.lastgroup
    if kind == "octal":
        raise _trap(text, "is read as an octal number by YAML")
    if kind == "base60":
        raise _trap(text, "is read as a base-60 number by YAML")
    if "_" in text and kind in ("whole", "real") and not _IN_THOUSANDS.fullmatch(text):
        raise _trap(text, "is a number without its underscores to some readers, and text to others")
    plain = text.replace("_", "")
    if kind == "special":
        return float(plain.replace(".", ""))
    if kind == "real":
        value = float(plain)
        if math.isfinite(value):
            return value
    elif len(plain) <= _MOST_DIGITS and plain[-1] not in "xb":
        return int(plain, 0)
    from modelyard.secrets.values import shorten_masked  # only where something is wrong

    shown = f'"{shorten_masked(text, 20)}"'
    raise TypingTrap("is not a usable number", hint=f"write another one, or {shown} for a text")


def _trap(text: str, what: str) -> TypingTrap:
    from modelyard.secrets.values import shorten_masked  # only where something is wrong

    shown = shorten_masked(text, 40)
    return TypingTrap(f"'{shown}' {what}", hint=f'write "{shown}"')
