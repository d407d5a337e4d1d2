"""YAML, JSON, TOML and INI by key path, each with its lines and the comments above it.

An OpenAPI or Swagger file gives one piece for each operation, and the rest of it by key path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import yaml

from modelyard.retrieval.reading.splitting import Piece, TextDocument, paragraph_starts

_DEEPEST = 100
"""Levels of nested collections; a file with more of them is split by its indentation."""
_DEEPEST_SPLIT = 30
_BREAKS = str.maketrans({"\r": " ", "\t": " ", "\x85": " ", "\u2028": " ", "\u2029": " "})
"""Characters that only YAML takes for line ends, and tabs, which JSON may have."""
_NAMING_KEYS = ("name", "id", "alert", "record", "job_name")
_LONGEST_VALUE = 100
_TABLE = re.compile(r"[ \t]*\[\[?[ \t]*([^\[\]]{1,200}?)[ \t]*\]\]?[ \t]*(?:[#;].*)?$")
_HTTP_METHODS = frozenset(
    ("get", "put", "post", "delete", "options", "head", "patch", "trace", "query")
)
_ASSIGNED = re.compile(r"[ \t]*([\w.\"'-]{1,200})[ \t]*[=:]")


@dataclass(slots=True)
class KeyNode:
    """One key, or one item of a list, with its children."""

    name: str
    """The key; `[2]` or `[its name]` for an item."""
    row: int
    """The line where it begins, from 0."""
    value: str | None = None
    """The start of its value, when that is a scalar."""
    children: list[KeyNode] = field(default_factory=list)
    """In their order."""

    def child(self, name: str) -> KeyNode | None:
        return next((child for child in self.children if child.name == name), None)


def key_pieces(document: TextDocument, language: str) -> Iterator[Piece]:
    """Pieces by key path; a file that is not valid is split by its indentation."""
    tree = read_tree(document, language)
    if tree is None:
        return _by_indentation(document, language)
    return KeySplitter(document, language).pieces(tree, "", 0, len(document.lines))


def read_tree(document: TextDocument, language: str) -> KeyNode | None:
    """The keys of a document, or None when it cannot be read."""
    return _toml_tree(document) if language == "toml" else _yaml_tree(document.text)


@dataclass(frozen=True, slots=True)
class KeySplitter:
    """Splits a tree of keys that is too long for one chunk."""

    document: TextDocument
    language: str

    def pieces(
        self, node: KeyNode, path: str, start: int, end: int, depth: int = 0
    ) -> Iterator[Piece]:
        """Pieces of lines [start, end), which contain one key."""
        start, end = self.document.trim(start, end)
        children = self._apart(node, start)
        if start >= end:
            return
        if (
            self.document.tokens(start, end) <= self.document.limit
            or not children
            or depth > _DEEPEST_SPLIT
        ):
            names = "" if path else ", ".join(child.name for child in node.children)
            yield self.piece(start, end, path or names, [row for row, _ in children])
            return
        first = children[0][0]
        head = self.document.trim(start, first)
        if path and head[0] < head[1] and self.document.tokens(*head) <= self.document.limit // 5:
            first = start  # the key's own line stays with what comes first
        elif head[0] < head[1]:
            yield self.piece(*head, path, [])
        rows = [first, *(row for row, _ in children[1:]), end]
        group: list[tuple[int, int, KeyNode]] = []
        for (row, after), (_, child) in zip(pairwise(rows), children, strict=True):
            if group and not self._go_together(group, row, after):
                yield from self._group(group, path, depth)
                group = []
            group.append((row, after, child))
        yield from self._group(group, path, depth)

    def piece(self, start: int, end: int, title: str, rows: list[int]) -> Piece:
        """One piece under a key path."""
        return Piece(
            start=start,
            end=end,
            title=title,
            kind="key",
            facts={"language": self.language},
            breaks=(rows, paragraph_starts(self.document, start, end)),
        )

    def _apart(self, node: KeyNode, start: int) -> list[tuple[int, KeyNode]]:
        """Children that begin on lines of their own, with the first line of the comments above."""
        apart: list[tuple[int, KeyNode]] = []
        least = start
        for child in node.children:
            row = child.row
            if row < least or (apart and row <= apart[-1][1].row):
                continue
            while row > least and self.document.lines[row - 1].lstrip().startswith("#"):
                row -= 1
            apart.append((row, child))
            least = child.row + 1
        return apart

    def _go_together(self, group: list[tuple[int, int, KeyNode]], row: int, after: int) -> bool:
        small = self.document.limit // 3
        return (
            self.document.tokens(group[-1][0], group[-1][1]) <= small
            and self.document.tokens(row, after) <= small
            and self.document.tokens(group[0][0], after) <= self.document.limit * 4 // 5
        )

    def _group(
        self, group: list[tuple[int, int, KeyNode]], path: str, depth: int
    ) -> Iterator[Piece]:
        if len(group) == 1:
            row, after, child = group[0]
            separator = "" if not path or child.name.startswith("[") else "."
            child_path = f"{path}{separator}{child.name}"  # `encoder.model`, `steps[2]`
            yield from self.pieces(child, child_path, row, after, depth + 1)
            return
        names = ", ".join(child.name for _, _, child in group)
        title = f"{path}: {names}" if path else names
        yield self.piece(group[0][0], group[-1][1], title, [row for row, _, _ in group])


@dataclass(slots=True)
class _Open:
    """A collection whose end has not been read yet."""

    node: KeyNode
    is_mapping: bool
    key: KeyNode | None = None


def _yaml_tree(text: str) -> KeyNode | None:
    """Built from events, not by recursion: a file may be nested as deeply as it likes."""
    loader = getattr(yaml, "CLoader", yaml.Loader)
    root = KeyNode("", 0)
    opened = [_Open(root, is_mapping=False)]
    try:
        for event in yaml.parse(text.translate(_BREAKS), Loader=loader):
            if len(opened) > _DEEPEST:
                return None
            if isinstance(event, yaml.CollectionEndEvent):
                closed = opened.pop()
                _name_item(closed.node)
            elif isinstance(event, yaml.NodeEvent):
                _add(opened, event)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    documents = [_named_document(child) for child in root.children if child.children]
    if len(documents) == 1:
        documents[0].name = ""
        return documents[0]
    root.children = documents
    return root if documents else None


def _add(opened: list[_Open], event: yaml.NodeEvent) -> None:
    inside = opened[-1]
    scalar = event.value if isinstance(event, yaml.ScalarEvent) else None
    row = event.start_mark.line if event.start_mark else 0
    if inside.is_mapping and inside.key is None:
        name = (scalar or "").strip()[:_LONGEST_VALUE] or "?"
        inside.key = KeyNode(" ".join(name.split()), row)
        inside.node.children.append(inside.key)
        if scalar is not None:
            return
        node = KeyNode("?", row)  # a key that is a collection: read, but not kept
    elif inside.is_mapping and inside.key is not None:
        node, inside.key = inside.key, None
    else:
        node = KeyNode(f"[{len(inside.node.children)}]", row)
        inside.node.children.append(node)
    if scalar is not None:
        node.value = scalar[:_LONGEST_VALUE]
    if isinstance(event, yaml.CollectionStartEvent):
        opened.append(_Open(node, isinstance(event, yaml.MappingStartEvent)))


def _name_item(node: KeyNode) -> None:
    """An item of a list is called by its name, where it has one."""
    if node.name.startswith("["):
        for key in _NAMING_KEYS:
            named = node.child(key)
            if named is not None and named.value and named.value.strip():
                node.name = f"[{' '.join(named.value.split())}]"
                return


def _named_document(node: KeyNode) -> KeyNode:
    """One of several documents, called by its kind and name as Kubernetes does."""
    kind, meta = node.child("kind"), node.child("metadata")
    name = meta.child("name") if meta else None
    if kind is not None and kind.value and name is not None and name.value:
        node.name = f"{kind.value}/{name.value}"
    return node


def _toml_tree(document: TextDocument) -> KeyNode:
    """Tables and their keys, by lines; the further lines of a value are skipped."""
    root = KeyNode("", 0)
    table, closing, depth = root, "", 0
    for row, line in enumerate(document.lines):
        if closing:
            closing = "" if closing in line else closing
            continue
        if depth == 0 and (match := _TABLE.match(line)):
            table = KeyNode(match[1], row)
            root.children.append(table)
        elif depth == 0 and (match := _ASSIGNED.match(line)):
            table.children.append(KeyNode(match[1], row))
        for quotes in ('"""', "'''"):
            if line.count(quotes) % 2:
                closing = quotes
        if "=" in line or depth:
            bare = re.sub(r"\"[^\"]*\"|'[^']*'|#.*", "", line)
            depth = max(0, depth + bare.count("[") + bare.count("{"))
            depth = max(0, depth - bare.count("]") - bare.count("}"))
            depth = 0 if _TABLE.match(line) and "=" not in line else depth
    return root


def _by_indentation(document: TextDocument, language: str) -> Iterator[Piece]:
    """A template, or a file with an error in it: split where a line is not indented."""
    starts = [row for row, line in enumerate(document.lines) if line[:1].strip(" \t#}])-")]
    yield KeySplitter(document, language).piece(0, len(document.lines), "", starts)


def openapi_pieces(document: TextDocument, language: str) -> Iterator[Piece]:
    """The operations of an OpenAPI or Swagger file; any other file by key path."""
    tree = read_tree(document, language)
    paths = tree.child("paths") if tree is not None else None
    if tree is None or paths is None or not (tree.child("openapi") or tree.child("swagger")):
        yield from key_pieces(document, language)
        return
    splitter = KeySplitter(document, language)
    for node, start, end in _spans(tree.children, 0, len(document.lines)):
        if node is paths:
            yield from _operations(document, splitter, paths, end)
        else:
            yield from splitter.pieces(node, node.name, start, end)


def _operations(
    document: TextDocument, splitter: KeySplitter, paths: KeyNode, end: int
) -> Iterator[Piece]:
    if not paths.children:
        yield from splitter.pieces(paths, paths.name, paths.row, end)
    for path, first, after in _spans(paths.children, paths.row + 1, end):
        if not path.children:
            yield from splitter.pieces(path, f"{paths.name}.{path.name}", first, after)
        for node, start, stop in _spans(path.children, first, after):
            if node.name.lower() not in _HTTP_METHODS:
                yield from splitter.pieces(node, f"{path.name}.{node.name}", start, stop)
                continue
            called = {
                key: child.value
                for key in ("summary", "operationId", "description")
                if (child := node.child(key)) is not None and child.value
            }
            title = f"{node.name.upper()} {path.name}"
            says = next(iter(called.values()), "")
            facts = {"language": splitter.language, "operation": title}
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
