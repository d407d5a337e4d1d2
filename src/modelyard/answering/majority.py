"""The answer that most samples agree on.

Source: self-consistency, Wang et al. 2022, arXiv:2203.11171, with texts compared by their
normalised form instead of a final number.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from modelyard.answering.json_answers import json_text
from modelyard.core.json_reading import InvalidJson, parse_json

_MARKS = re.compile(r"[*_`#>]+")
_AROUND = " \t\r\n.,;:!?\"'()[]{}“”‘’"


def choose(texts: Sequence[str]) -> tuple[int, int]:
    """The place of the answer that is given, and how many samples are the same as it, normalised.

    That is the first answer of the largest group of equal ones, and where none agree, the first of
    all. Of groups of one size, that of the earliest answer. `texts` are at least one.
    """
    forms = [normalise(text) for text in texts]
    counts = Counter(forms)  # in the order of their first answers
    form = max(counts, key=lambda form: counts[form])
    return forms.index(form), counts[form]


def normalise(text: str) -> str:
    """What two answers have in common that say the same.

    JSON is compared by its value. In other texts neither case, whitespace, Markdown's marks nor
    punctuation around the whole count.
    """
    stripped = json_text(text)
    if stripped.startswith(("{", "[")):
        try:
            return json.dumps(parse_json(stripped), sort_keys=True)
        except (InvalidJson, RecursionError):
            pass
    plain = _MARKS.sub("", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(plain.split()).strip(_AROUND)
