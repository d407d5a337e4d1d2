"""Interfaces described with OpenAPI: one piece for each operation, the rest by key path."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from modelyard.retrieval.reading.keys import KeyCutter, KeyNode, key_pieces, read_tree
from modelyard.retrieval.reading.lines import Document, Piece

_METHODS = frozenset(("get", "put", "post", "delete", "options", "head", "patch", "trace", "query"))


def openapi_pieces(document: Document, language: str) -> Iterator[Piece]:
    """The operations of an OpenAPI or Swagger file; any other file by key path."""
    tree = read_tree(document, language)
    paths = tree.child("paths") if tree is not None and describes_interface(tree) else None
    if tree is None or paths is None:
        yield from key_pieces(document, language)
        return
    cutter = KeyCutter(document, language)
    for node, start, end in _spans(tree.children, 0, len(document.lines)):
        if node is paths:
            yield from _operations(document, cutter, paths, end)
        else:
            yield from cutter.pieces(node, node.name, start, end)


def describes_interface(tree: KeyNode) -> bool:
    """Whether a file says that it is OpenAPI or Swagger."""
    return tree.child("openapi") is not None or tree.child("swagger") is not None


def _operations(document: Document, cutter: KeyCutter, paths: KeyNode, end: int) -> Iterator[Piece]:
    if not paths.children:
        yield from cutter.pieces(paths, paths.name, paths.row, end)
    for path, first, after in _spans(paths.children, paths.row + 1, end):
        if not path.children:
            yield from cutter.pieces(path, f"{paths.name}.{path.name}", first, after)
        for node, start, stop in _spans(path.children, first, after):
            if node.name.lower() not in _METHODS:
                yield from cutter.pieces(node, f"{path.name}.{node.name}", start, stop)
                continue
            called = {
                key: child.value
                for key in ("summary", "operationId", "description")
                if (child := node.child(key)) is not None and child.value
            }
            title = f"{node.name.upper()} {path.name}"
            says = next(iter(called.values()), "")
            facts = {"language": cutter.language, "operation": title}
            if "operationId" in called:
                facts["symbol"] = called["operationId"]
            yield Piece(
                start=start,
                end=stop,
                title=f"{title}: {says}" if says else title,
                kind="operation",
                facts=facts,
                breaks=([child.row for child in node.children],),
            )


def _spans(nodes: list[KeyNode], start: int, end: int) -> Iterator[tuple[KeyNode, int, int]]:
    """Each key with its lines; the first takes what stands above it."""
    apart: list[KeyNode] = []
    for node in nodes:
        if not apart or node.row > apart[-1].row:
            apart.append(node)
    rows = [min(start, node.row) if not number else node.row for number, node in enumerate(apart)]
    for node, (row, after) in zip(apart, pairwise([*rows, end]), strict=True):
        yield node, row, after
