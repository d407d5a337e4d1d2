"""The vectors of one snapshot in memory, compared approximately and fast, or exactly.

A small table is compared in float32. A large one is also kept in one byte a number, with a scale
for each row, and ONNX Runtime multiplies integers: that takes a third of the time, and cosines are
within 0.01 of the exact ones. `rank` takes more candidates than are shown and compares those
exactly, so results do not change.
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

COMPARED_EXACTLY = 20_000
"""Rows up to which a table may be compared in float32."""
_FEW_ROWS, _FEW_TIMES = 2_000, 4
"""A smaller table is compared in bytes too, unless it has few rows or is compared a few times only:
making the bytes takes as long as some comparisons."""
_AT_ONCE = 65_536
_SAMPLED, _NEIGHBOURS, _TYPICAL = 4_096, 5, 64
"""Rows in which neighbours are looked for, how many count, and rows whose crowding is usual."""
_MIDDLE = 128
"""The byte for the value 0."""
_STEPS = 63
"""Steps of a query to each side: 2 x 255 x 63 fits the 16 bits in which older CPUs add up pairs."""


class VectorTable:
    """Unit vectors, float16 [n, d]; a row is a chunk."""

    def __init__(self, halves: npt.NDArray[np.float16]) -> None:
        self._halves = halves
        self._compared = 0

    def __len__(self) -> int:
        return len(self._halves)

    def closeness(self, query: Floats) -> Floats:
        """The cosine of each row with a unit vector [d]: float32 [n]; rough in a large table."""
        if self._in_bytes():
            return self._bytes.closeness(query)
        exact: Floats = self._singles @ query
        return exact

    def nearest(self, queries: Floats) -> Rows:
        """The row that is nearest to each of several unit vectors [q, d]: [q]; rough in a large
        table."""
        if self._in_bytes():
            return self._bytes.nearest(queries)
        found: Rows = (self._singles @ queries.T).argmax(axis=0)
        return found

    def _in_bytes(self) -> bool:
        self._compared += 1
        many = len(self) > _FEW_ROWS and self._compared > _FEW_TIMES
        return many or len(self) > COMPARED_EXACTLY

    def exact(self, rows: Rows, query: Floats) -> Floats:
        """The cosine of these rows with a unit vector [d]: float32 [rows]."""
        found: Floats = self.rows(rows) @ query
        return found

    def rows(self, rows: Rows) -> Floats:
        """These vectors: float32 [rows, d]."""
        if len(self) <= COMPARED_EXACTLY:
            return self._singles[rows]
        return self._halves[rows].astype(np.float32)

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
    def _singles(self) -> Floats:
        return self._halves.astype(np.float32)

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

    def nearness(self, rows: Rows) -> Floats:
        """The mean cosine of each row with its nearest neighbours: float32 [rows]."""
        new = rows[np.isnan(self._known[rows])]
        if len(new):
            cosines = self._table.rows(new) @ self._sample.T
            at = np.minimum(np.searchsorted(self._sampled, new), len(self._sampled) - 1)
            itself = np.flatnonzero(self._sampled[at] == new)
            cosines[itself, at[itself]] = -1.0
            nearest = np.partition(cosines, -_NEIGHBOURS, axis=1)[:, -_NEIGHBOURS:]
            self._known[new] = nearest.mean(axis=1)
        found: Floats = self._known[rows]
        return found


def _evenly(count: int, most: int) -> Rows:
    """At most so many rows of a table, evenly spread, ascending."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))


class _ByteTable:
    """Vectors as bytes: a number is (byte - 128) times the scale of its row."""

    def __init__(self, halves: npt.NDArray[np.float16]) -> None:
        self._bytes = np.empty(halves.shape, np.uint8)
        self._scales = np.empty(len(halves), np.float32)
        for some in _parts(len(halves)):
            singles = halves[some].astype(np.float32)
            scales = np.maximum(np.abs(singles).max(axis=1), 1e-9) / (_MIDDLE - 1)
            singles /= scales[:, None]
            singles += _MIDDLE + 0.5  # the conversion truncates, so that this rounds
            self._bytes[some] = singles.astype(np.uint8)
            self._scales[some] = scales
        self._session = _product_session()

    def closeness(self, query: Floats) -> Floats:
        """The cosine of every row with a unit vector [d]: float32 [n]."""
        found = np.empty(len(self._scales), np.float32)
        for some, products in self._products(query[None]):
            found[some] = products[:, 0]
        return found

    def nearest(self, queries: Floats) -> Rows:
        """The row of the largest cosine with each of several unit vectors [q, d]: [q]."""
        best = np.zeros(len(queries), np.int64)
        most = np.full(len(queries), -np.inf, np.float32)
        for some, products in self._products(queries):
            rows = products.argmax(axis=0)
            highest = products[rows, np.arange(len(queries))]
            better = highest > most
            best[better], most[better] = rows[better] + some.start, highest[better]
        return best

    def _products(self, queries: Floats) -> Iterator[tuple[slice, Floats]]:
        """The cosines with unit vectors [q, d], part by part: float32 [part, q]."""
        steps = np.maximum(np.abs(queries).max(axis=1), 1e-9) / _STEPS
        columns = np.ascontiguousarray(np.rint(queries / steps[:, None]).astype(np.int8).T)
        middle = np.array(_MIDDLE, np.uint8)
        for some in _parts(len(self._scales)):
            values = {"vectors": self._bytes[some], "query": columns, "middle": middle}
            products: Floats = self._session.run(None, values)[0]
            products *= self._scales[some, None]
            products *= steps
            yield some, products


def _product_session() -> Any:
    """An ONNX Runtime session that computes (vectors - middle) @ queries as float32 [n, q]."""
    from onnx import TensorProto, helper

    from modelyard.encoders.onnx_graphs import open_session

    def declare(name: str, kind: int, *shape: str | int) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    graph = helper.make_graph(
        [
            helper.make_node("MatMulInteger", ["vectors", "query", "middle"], ["whole"]),
            helper.make_node("Cast", ["whole"], ["products"], to=TensorProto.FLOAT),
        ],
        "products",
        [
            declare("vectors", TensorProto.UINT8, "n", "d"),
            declare("query", TensorProto.INT8, "d", "q"),
            declare("middle", TensorProto.UINT8),
        ],
        [declare("products", TensorProto.FLOAT, "n", "q")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return open_session(model.SerializeToString())


def _parts(count: int) -> Iterator[slice]:
    return (slice(start, start + _AT_ONCE) for start in range(0, count, _AT_ONCE))
