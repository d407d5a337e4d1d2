"""The vectors of one snapshot in memory, compared approximately and fast, or exactly.

From the second query on, vectors are kept in one byte a number too, with a scale for each row, and
ONNX Runtime multiplies integers: that takes a third of the time, ten vectors take no longer than
one, and cosines are within 0.01 of the exact ones. More rows are taken by these cosines than are
wanted, and those are compared exactly, so results do not change. The first query is compared
exactly: a process that asks once would wait longer for the bytes than for the product.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterator

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

COMPARED_EXACTLY = 2_000
"""Rows up to which a table is compared in float32; bytes would not be faster there."""
_AT_ONCE = 65_536
_SAMPLED, _NEIGHBOURS, _TYPICAL = 4_096, 5, 64
"""Rows in which neighbours are looked for, how many count, and rows whose crowding is usual."""
_LIKELY_NEIGHBOURS = 16
"""The nearest by rough cosines, among which the nearest are."""
_MIDDLE = 128
"""The byte for the value 0."""
_STEPS = 63
"""Steps of a query to each side: 2 x 255 x 63 fits the 16 bits in which older CPUs add up pairs."""


class VectorTable:
    """Unit vectors, float16 [n, d]; a row is a chunk."""

    def __init__(self, halves: npt.NDArray[np.float16]) -> None:
        self._halves = halves
        self._queries = 0

    def __len__(self) -> int:
        return len(self._halves)

    def closeness(self, query: Floats) -> Floats:
        """The cosine of each row with a unit vector [d]: float32 [n]; rough in a large table."""
        self._queries += 1
        found = np.empty(len(self), np.float32)
        for some, cosines in self.cosines(query[None]):
            found[some] = cosines[0]
        return found

    def exact(self, rows: Rows, query: Floats) -> Floats:
        """The cosine of these rows with a unit vector [d]: float32 [rows]."""
        found: Floats = self.rows(rows) @ query
        return found

    def rows(self, rows: Rows) -> Floats:
        """These vectors: float32 [rows, d]."""
        return self._halves[rows].astype(np.float32)

    def cosines(self, vectors: Floats) -> Iterator[tuple[slice, Floats]]:
        """The cosines with unit vectors [q, d], part by part: float32 [q, rows of the part].

        They are rough in a large table.
        """
        if self.in_bytes:
            yield from self._bytes.cosines(vectors)
            return
        for some in _parts(len(self)):
            yield some, vectors @ self._halves[some].astype(np.float32).T

    @property
    def in_bytes(self) -> bool:
        """Whether it is compared in bytes."""
        return len(self) > COMPARED_EXACTLY and self._queries > 1

    def crowding(self, rows: Rows) -> Floats:
        """How much nearer its neighbours are to each of these rows than to a usual row: [rows].

        The mean cosine of a row with its nearest neighbours, less what that is for rows taken
        evenly from the table; neighbours are those in a sample of at most 4,096 rows.
        """
        if len(self) <= 2 * _NEIGHBOURS:
            return np.zeros(len(rows), np.float32)
        return self._neighbourhood.nearness(rows) - self._usual_nearness

    @cached_property
    def _neighbourhood(self) -> _Neighbourhood:
        return _Neighbourhood(self)

    @cached_property
    def _usual_nearness(self) -> np.float32:
        some = _evenly(len(self), _TYPICAL)
        return np.float32(self._neighbourhood.nearness(some).mean())

    @cached_property
    def _bytes(self) -> _ByteTable:
        return _ByteTable(self._halves)


class _Neighbourhood:
    """How near the nearest neighbours of rows are; what was computed is kept."""

    def __init__(self, table: VectorTable) -> None:
        self._table = table
        self._sampled = _evenly(len(table), _SAMPLED)
        self._sample = table.rows(self._sampled)
        self._known = np.full(len(table), np.nan, np.float32)

    @cached_property
    def _bytes(self) -> _ByteTable:
        return _ByteTable(self._sample)

    def nearness(self, rows: Rows) -> Floats:
        """The mean cosine of each row with its nearest neighbours: float32 [rows]."""
        new = rows[np.isnan(self._known[rows])]
        if len(new):
            self._known[new] = self._nearness(new)
        found: Floats = self._known[rows]
        return found

    def _nearness(self, rows: Rows) -> Floats:
        vectors = self._table.rows(rows)
        if self._table.in_bytes:
            parts = [found for _, found in self._bytes.cosines(vectors)]
            cosines = np.concatenate(parts, axis=1)
        else:
            cosines = vectors @ self._sample.T
        at = np.minimum(np.searchsorted(self._sampled, rows), len(self._sampled) - 1)
        itself = np.flatnonzero(self._sampled[at] == rows)
        cosines[itself, at[itself]] = -1.0
        likely = min(_LIKELY_NEIGHBOURS, cosines.shape[1] - 1)
        near = np.argpartition(cosines, -likely, axis=1)[:, -likely:]
        exact = np.einsum("qkd,qd->qk", self._sample[near], vectors)
        nearest: Floats = np.partition(exact, -_NEIGHBOURS, axis=1)[:, -_NEIGHBOURS:].mean(axis=1)
        return nearest


def _evenly(count: int, most: int) -> Rows:
    """At most so many rows of a table, evenly spread, ascending, each once."""
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)


class _ByteTable:
    """Vectors as bytes: a number is (byte - 128) times the scale of its row."""

    def __init__(self, vectors: npt.NDArray[np.float16] | Floats) -> None:
        self._bytes = np.empty(vectors.shape, np.uint8)
        self._scales = np.empty(len(vectors), np.float32)
        for some in _parts(len(vectors)):
            singles = vectors[some].astype(np.float32)
            scales = np.maximum(np.abs(singles).max(axis=1), 1e-9) / (_MIDDLE - 1)
            singles /= scales[:, None]
            singles += _MIDDLE + 0.5  # the conversion truncates, so that this rounds
            self._bytes[some] = singles.astype(np.uint8)
            self._scales[some] = scales
        self._session = _product_session()

    def cosines(self, vectors: Floats) -> Iterator[tuple[slice, Floats]]:
        """The cosines with unit vectors [q, d], part by part: float32 [q, rows of the part]."""
        steps = np.maximum(np.abs(vectors).max(axis=1), 1e-9) / _STEPS
        columns = np.ascontiguousarray(np.rint(vectors / steps[:, None]).astype(np.int8).T)
        middle = np.array(_MIDDLE, np.uint8)
        for some in _parts(len(self._scales)):
            values = {"vectors": self._bytes[some], "queries": columns, "middle": middle}
            products: Floats = self._session.run(None, values)[0]
            found = np.empty(products.shape[::-1], np.float32)
            for place, step in enumerate(steps):  # ten times as fast as numpy over short rows
                np.multiply(products[:, place], self._scales[some] * step, out=found[place])
            yield some, found


def _product_session() -> Any:
    """An ONNX Runtime session that computes (vectors - middle) @ queries as float32 [n, q]."""
    from onnx import TensorProto, helper

    from modelyard.encoders.onnx_graphs import open_session

    def declare(name: str, kind: int, *shape: str | int) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    graph = helper.make_graph(
        [
            helper.make_node("MatMulInteger", ["vectors", "queries", "middle"], ["whole"]),
            helper.make_node("Cast", ["whole"], ["products"], to=TensorProto.FLOAT),
        ],
        "products",
        [
            declare("vectors", TensorProto.UINT8, "n", "d"),
            declare("queries", TensorProto.INT8, "d", "q"),
            declare("middle", TensorProto.UINT8),
        ],
        [declare("products", TensorProto.FLOAT, "n", "q")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return open_session(model.SerializeToString())


def _parts(count: int) -> Iterator[slice]:
    return (slice(start, min(start + _AT_ONCE, count)) for start in range(0, count, _AT_ONCE))
