"""The vectors in the answer of an embeddings API: `{"data": [{"index": 0, "embedding": [...]}]}`.

Any bytes may come from there. Knows neither who was asked nor how long a vector should be.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from modelyard.core.json_reading import InvalidJson, parse_json
from modelyard.core.wording import counted
from modelyard.encoders.encoder import Vectors
from modelyard.weights.encoders import EncoderUnavailable

_SHOWN_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class EmbeddingsAnswer:
    """What an embeddings API answered."""

    vectors: Vectors
    """float32 [texts, any], unit rows in the order of their index."""
    tokens: int | None
    """The tokens that it counts, and charges for; None: it does not say."""


def read_answer(answer: bytes, *, count: int) -> EmbeddingsAnswer:
    """The vectors of `count` texts, and what they are charged as.

    Raises EncoderUnavailable, which says what is wrong with the answer and not whose it is.
    """
    try:
        value = parse_json(answer)
    except InvalidJson as error:
        raise _refused(f"it {error.message}") from error
    rows = value.get("data") if isinstance(value, dict) else None
    if not isinstance(rows, list):
        raise _refused("it has no list `data`")
    if not all(isinstance(row, dict) for row in rows):
        raise _refused("`data` does not hold objects alone")
    if len(rows) != count:
        gave = counted(len(rows), "vector")
        raise EncoderUnavailable(f"it gave {gave} for {counted(count, 'text')}")
    ordered: list[Any] = [None] * count
    for row in rows:
        place = _place(row.get("index"), count)
        if ordered[place] is not None:
            raise EncoderUnavailable(f"it numbered two vectors {place}")
        ordered[place] = _vector(row.get("embedding"))
    sizes = sorted({len(vector) for vector in ordered})
    if len(sizes) > 1:
        raise EncoderUnavailable(f"it gave vectors of {sizes[0]} and of {sizes[-1]} numbers")
    return EmbeddingsAnswer(_unit_rows(np.array(ordered)), _tokens(value.get("usage")))


def _tokens(usage: Any) -> int | None:
    """The tokens that a `usage` says, if it says a number that can be true."""
    for key in ("total_tokens", "prompt_tokens"):
        counted_there = usage.get(key) if isinstance(usage, dict) else None
        if type(counted_there) is int and counted_there >= 0:
            return counted_there
    return None


def _place(index: Any, count: int) -> int:
    """The place of a vector, from 0: JSON does not tell 1 from 1.0."""
    if type(index) not in (int, float):
        raise _refused(f"`index` is {_shown(index)}, not a number")
    if index not in range(count):
        raise EncoderUnavailable(
            f"it numbered a vector {_shown(index)}, where those of {counted(count, 'text')} are "
            f"numbered 0 to {count - 1}"
        )
    return int(index)


def _vector(embedding: Any) -> npt.NDArray[np.float64]:
    if not isinstance(embedding, list):
        raise _refused(f"`embedding` is {_shown(embedding)}, not a list of numbers")
    if not embedding:
        raise EncoderUnavailable("it gave an empty vector")
    if not set(map(type, embedding)) <= {int, float}:
        wrong = next(item for item in embedding if type(item) not in (int, float))
        raise _refused(f"`embedding` holds {_shown(wrong)}, not numbers alone")
    try:
        vector = np.array(embedding, np.float64)
    except OverflowError:
        vector = np.array([np.inf])
    if not np.all(np.isfinite(vector)):
        raise EncoderUnavailable("it gave a vector with a number that is not finite")
    return vector


def _unit_rows(vectors: npt.NDArray[np.float64]) -> Vectors:
    """Divided by the largest number first, so that no square is too large or becomes 0."""
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    if not np.all(largest > 0):
        raise EncoderUnavailable("it gave a vector of zeros, which has no direction")
    scaled = vectors / largest
    unit: Vectors = (scaled / np.linalg.norm(scaled, axis=1, keepdims=True)).astype(np.float32)
    return unit


def _shown(value: Any) -> str:
    """A value as JSON has it, cut where it is long."""
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "an object"
    text = json.dumps(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def _refused(why: str) -> EncoderUnavailable:
    return EncoderUnavailable(f"its answer is not that of an embeddings API: {why}")
