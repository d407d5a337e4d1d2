"""What an embeddings API may answer: right vectors, or an error that says what is wrong."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modelyard.encoders import EncoderUnavailable
from modelyard.encoders.embeddings_answer import read_answer

NUMBERS = st.integers() | st.floats() | st.sampled_from([10**401, 10**38, 5e-324, 1e308])
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=4,
)
VECTORS = st.lists(NUMBERS, max_size=4) | st.lists(VALUES, max_size=3) | VALUES
ROWS = st.fixed_dictionaries({"index": st.integers(-1, 3) | VALUES, "embedding": VECTORS})
ANSWERS = (
    st.fixed_dictionaries({"data": st.lists(ROWS | VALUES, max_size=3) | VALUES}) | VALUES
).map(lambda value: json.dumps(value).encode())


def answer(*vectors: Any, index: Any = None) -> bytes:
    rows = [
        {"index": place if index is None else index, "embedding": vector}
        for place, vector in enumerate(vectors)
    ]
    return json.dumps({"data": rows}).encode()


@given(ANSWERS | st.binary(max_size=12), st.integers(1, 2))
@example(b"[" * 200_000, 1)
@example(b'{"data":[{"index":1e999,"embedding":[1,0]}]}', 1)
def test_any_answer_is_unit_vectors_or_an_error(said: bytes, count: int) -> None:
    try:
        vectors = read_answer(said, count=count).vectors
    except EncoderUnavailable:
        return
    assert vectors.dtype == np.float32
    assert len(vectors) == count
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)


ROW = st.lists(st.floats(-9, 9), min_size=3, max_size=3).filter(any)


@given(st.lists(ROW, min_size=1, max_size=5), st.randoms())
def test_vectors_come_in_the_order_of_their_index(
    rows: list[list[float]], chance: random.Random
) -> None:
    document = json.loads(answer(*rows))
    chance.shuffle(document["data"])
    found = read_answer(json.dumps(document).encode(), count=len(rows)).vectors
    for vector, row in zip(found, rows, strict=True):
        np.testing.assert_allclose(vector * math.hypot(*row), row, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (b'{"data":[{"index":1e999,"embedding":[1,0]}]}', "numbered a vector Infinity"),
        (answer([1, 0], index=True), "`index` is true, not a number"),
        (answer([1, 0], index="0"), '`index` is "0", not a number'),
        (
            answer([1, 0], index=0.5),
            "numbered a vector 0.5, where those of 1 text are numbered 0 to 0",
        ),
        (answer([1, 0], index=-1), "numbered a vector -1"),
        (answer([10**401, 0]), "not finite"),
        (answer([float("nan"), 1]), "not finite"),
        (answer([1, float("inf")]), "not finite"),
        (answer([[1, 0]]), "`embedding` holds a list, not numbers alone"),
        (answer([True, 0]), "`embedding` holds true, not numbers alone"),
        (answer(None), "`embedding` is null, not a list of numbers"),
        (answer("x" * 200), r'`embedding` is "x{39}\.\.\., not a list'),
        (answer([]), "an empty vector"),
        (b"[" * 200_000, "is not JSON: it is nested too deeply"),
        (b"\xff", "is not JSON: it is not UTF-8"),
        (b"[]", "it has no list `data`"),
        (b'{"data": [1]}', "does not hold objects"),
    ],
)
def test_what_is_wrong_is_said(said: bytes, problem: str) -> None:
    with pytest.raises(EncoderUnavailable, match=problem):
        read_answer(said, count=1)


def test_vectors_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(EncoderUnavailable, match="vectors of 2 and of 3 numbers"):
        read_answer(answer([1, 0], [1, 0, 0]), count=2)
    with pytest.raises(EncoderUnavailable, match="two vectors 0"):
        read_answer(answer([1, 0], [1, 0], index=0), count=2)


@pytest.mark.parametrize("scale", [1, 10**39, 1e300, 1e-300, 5e-324])
def test_the_length_of_a_vector_is_of_no_matter(scale: float) -> None:
    found = read_answer(answer([scale, 0, scale]), count=1).vectors
    np.testing.assert_allclose(found, [[0.5**0.5, 0, 0.5**0.5]], rtol=1e-6)


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 7, "total_tokens": 9}, 9),
        ({"prompt_tokens": 7}, 7),
        ({"total_tokens": -1}, None),
        ({"total_tokens": True}, None),
        ({"total_tokens": "9"}, None),
        ([9], None),
        (None, None),
    ],
)
def test_what_it_charges_is_taken_only_where_it_can_be_true(usage: Any, tokens: int | None) -> None:
    document = {"data": [{"index": 0, "embedding": [1.0]}], "usage": usage}
    assert read_answer(json.dumps(document).encode(), count=1).tokens == tokens
