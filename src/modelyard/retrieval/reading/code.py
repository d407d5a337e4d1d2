"""Source code by its syntax tree: functions, methods and classes, and the lines between them.

Any text gives a tree: the parts of broken code that parse are used, and the rest is plain text.
Makefiles are read here too, by target.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from modelyard.retrieval.reading.grammars import Grammar, parser_of
from modelyard.retrieval.reading.splitting import Piece, TextDocument, paragraph_starts, shorten

if TYPE_CHECKING:
    from tree_sitter import Node


_DEEPEST = 20
"""Levels of nested definitions; deeper ones are part of the text around them."""
_BREAK_LEVELS = 4
_LONGEST_DOCSTRING = 200
_DEFINING_VALUES = ("arrow_function", "function_expression", "class")
_COMMENT = re.compile(r"^[ \t]*(?://[/!]?|#|/\*+!?|\*/|\*|--)[ \t]?|\*/[ \t]*$", re.MULTILINE)
_QUOTES = re.compile(r"^[a-zA-Z]{0,2}(\"\"\"|'''|\"|')(.*?)\1?$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Definition:
    """A function or a class, with the comments and attributes above it."""

    node: Node
    outer: Node
    start: int
    end: int
    comment: str


@dataclass(frozen=True, slots=True)
class _Scope:
    """The definition around other ones."""

    symbols: tuple[str, ...] = ()
    title: str = ""


def code_pieces(document: TextDocument, grammar: Grammar) -> Iterator[Piece]:
    """The definitions of a source file in order, and the lines between them."""
    source = document.text.encode("utf-8", "replace")
    root = parser_of(grammar.name).parse(source).root_node
    reader = _CodeReader(document, grammar, source)
    return reader.pieces(root, _Scope(title=reader.docstring(root)), 0, len(document.lines))


@dataclass(frozen=True, slots=True)
class _CodeReader:
    document: TextDocument
    grammar: Grammar
    source: bytes

    def pieces(self, parent: Node, scope: _Scope, start: int, end: int) -> Iterator[Piece]:
        """Pieces of lines [start, end), which contain the children of a node."""
        position = start
        for found in self._definitions(parent):
            first, after = max(found.start, position), min(found.end, end)
            if after <= first:
                continue  # it is on the lines of the definition before
            yield from self._between(scope, position, first)
            yield from self._definition(found, scope, first, after)
            position = after
        yield from self._between(scope, position, end)

    def _between(self, scope: _Scope, start: int, end: int) -> Iterator[Piece]:
        start, end = self.document.trim(start, end)
        if start < end:
            yield Piece(
                start=start,
                end=end,
                title=scope.title,
                kind="text",
                facts={"language": self.grammar.name},
                breaks=(paragraph_starts(self.document, start, end),),
            )

    def _definitions(self, parent: Node) -> Iterator[_Definition]:
        above: list[Node] = []
        for child in self._children(parent):
            if above and child.start_point.row > _last_row(above[-1]) + 1:
                above = []
            if "comment" in child.type or child.type in self.grammar.attributes:
                above.append(child)
                continue
            node = self._unwrapped(child)
            if node is not None:
                start = (above[0] if above else child).start_point.row
                comment = "\n".join(self._text(node) for node in above if "comment" in node.type)
                yield _Definition(node, child, start, _last_row(child) + 1, comment)
            above = []

    def _children(self, parent: Node) -> Iterator[Node]:
        """The nodes in a scope; a file of HCL has them in a body below its first comments."""
        for child in parent.named_children:
            if parent.parent is None and child.type in self.grammar.bodies:
                yield from child.named_children
            else:
                yield child

    def _unwrapped(self, node: Node) -> Node | None:
        """The definition that a node is or wraps."""
        for _ in range(4):
            if node.type == "variable_declarator":
                value = node.child_by_field_name("value")
                is_definition = value is not None and value.type in _DEFINING_VALUES
                return node if is_definition else None
            if node.type == "assignment_statement":  # Lua: `M.name = function() ... end`
                return node if _is_function_value(node) else None
            if node.type in self.grammar.functions or node.type in self.grammar.classes:
                return node
            if node.type not in self.grammar.wrappers:
                return None
            kinds = self.grammar.functions | self.grammar.classes | self.grammar.wrappers
            inner = [child for child in node.named_children if child.type in kinds]
            if not inner:
                return None
            node = inner[-1]
        return None

    def _definition(
        self, found: _Definition, scope: _Scope, start: int, end: int
    ) -> Iterator[Piece]:
        node = found.node
        is_class = node.type in self.grammar.classes
        symbols = (*scope.symbols, self._name(node))
        symbol = ".".join(filter(None, symbols))
        body = self._body(node)
        signature = self._signature(found)
        if scope.symbols:
            signature = f"{'.'.join(filter(None, scope.symbols))} > {signature}"
        says = self.docstring(body) or _first_paragraph(_COMMENT.sub("", found.comment))
        title = f"{signature}: {says}" if says else signature
        too_long = self.document.tokens(start, end) > self.document.limit
        if too_long and is_class and body is not None and len(symbols) < _DEEPEST:
            parts = self.pieces(body, _Scope(symbols, title), start, end)
            for number, part in enumerate(parts):
                own = part.kind == "text" and number == 0
                kind = "class" if own else part.kind
                facts = {**part.facts, "symbol": part.facts.get("symbol", symbol)}
                yield replace(part, kind=kind, facts=facts)
            return
        facts = {"language": self.grammar.name, "symbol": symbol}
        if is_class and (members := " ".join(self._members(body))):
            facts["members"] = members
        yield Piece(
            start=start,
            end=end,
            title=title,
            kind="class" if is_class else "function",
            facts=facts,
            breaks=_statement_rows(body if body is not None else node) if too_long else (),
        )

    def _members(self, body: Node | None, depth: int = 0) -> Iterator[str]:
        """The names of what a class or a namespace that is one chunk defines, at all levels."""
        for found in self._definitions(body) if body is not None and depth < _DEEPEST else ():
            yield self._name(found.node)
            if found.node.type in self.grammar.classes:
                yield from self._members(self._body(found.node), depth + 1)

    def _body(self, node: Node) -> Node | None:
        body = node.child_by_field_name("body")
        if body is not None or not self.grammar.bodies:
            return body
        return next((one for one in node.named_children if one.type in self.grammar.bodies), None)

    def _signature(self, found: _Definition) -> str:
        body = self._body(found.node)
        if body is None:
            value = found.node.child_by_field_name("value")
            body = value.child_by_field_name("body") if value is not None else None
        until = body.start_byte if body is not None else found.node.end_byte
        text = self.source[found.node.start_byte : until].decode(errors="replace")
        if body is None:
            text = text.partition("\n")[0]
        return " ".join(text.split()).rstrip(" :{=>") or self._name(found.node)

    def _name(self, node: Node) -> str:
        if node.type == "block":
            return _block_address([self._text(one) for one in node.named_children[:4]])
        if node.type == "assignment_statement" and node.named_children:
            node = node.named_children[0]
        for child in node.named_children if self.grammar.names else ():
            if child.type in self.grammar.names:
                return re.sub(r"[\"`\[\]\s]+", "", self._text(child))[:100]
        for _ in range(_DEEPEST):
            named = node.child_by_field_name("name")
            if named is not None:
                return " ".join(self._text(named).split())[:100]
            inner = node.child_by_field_name("declarator") or node.child_by_field_name("type")
            if inner is None and node.type == "type_declaration" and node.named_children:
                inner = node.named_children[0]
            if inner is None:
                break
            node = inner
        text = self._text(node)
        return " ".join(text.split())[:100] if len(text) <= 100 and "\n" not in text else ""

    def docstring(self, body: Node | None) -> str:
        """The first paragraph of the docstring of a body in Python; empty where there is none."""
        nodes = body.named_children if body is not None and self.grammar.name == "python" else ()
        first = next((node for node in nodes if "comment" not in node.type), None)
        if first is None or first.type != "expression_statement" or not first.named_children:
            return ""
        inner = first.named_children[0]
        match = _QUOTES.match(self._text(inner)) if inner.type == "string" else None
        return _first_paragraph(match[2]) if match else ""

    def _text(self, node: Node) -> str:
        return self.source[node.start_byte : node.end_byte].decode(errors="replace")


def _is_function_value(assignment: Node) -> bool:
    """Whether a name is given a function and nothing else."""
    values = assignment.named_children[-1].named_children if assignment.named_children else []
    return len(values) == 1 and values[0].type == "function_definition"


_KINDS_OF_BLOCKS = {"resource": "", "variable": "var"}
"""What Terraform calls a block in the address that expressions use."""


def _block_address(parts: list[str]) -> str:
    """The address of a block of HCL: `aws_vpc.this`, `data.aws_ami.base`, `var.region`."""
    kind, *labels = [part.strip('"') for part in parts if part[:1] not in ("{", "}")][:3] or [""]
    labels = [label for label in labels if re.fullmatch(r"[\w.*-]{1,100}", label)]
    if not labels:
        return kind
    return ".".join(filter(None, [_KINDS_OF_BLOCKS.get(kind, kind), *labels]))


def _last_row(node: Node) -> int:
    """The last line of a node; a node that ends with a line break does not reach the next line."""
    end = node.end_point
    return end.row - 1 if end.column == 0 and end.row > node.start_point.row else end.row


def _first_paragraph(text: str) -> str:
    return shorten(text.strip().split("\n\n", 1)[0], _LONGEST_DOCSTRING)


def _statement_rows(body: Node) -> Sequence[Sequence[int]]:
    """Lines where statements begin, level by level from the outermost."""
    levels: list[list[int]] = []
    nodes = [body]
    for _ in range(_BREAK_LEVELS):
        nodes = [child for node in nodes for child in node.named_children]
        levels.append([node.start_point.row for node in nodes])
    return levels


_TARGET = re.compile(r"(?![ \t#.])([^\s:=#][^:=#]{0,300}?)[ \t]*::?(?![:=])")


def is_makefile(name: str) -> bool:
    """Whether a file's name is that of a makefile."""
    lowered = name.lower()
    return lowered in ("makefile", "gnumakefile") or lowered.endswith((".mk", ".mak"))


def makefile_pieces(document: TextDocument) -> Iterator[Piece]:
    """One piece for each target with its recipe and comments; lines above the first are text."""
    starts: list[tuple[int, str]] = [(0, "")]
    continued = False
    for row, line in enumerate(document.lines):
        match = None if continued else _TARGET.match(line)
        continued = line.endswith("\\")
        if match:
            first = row
            while first > starts[-1][0] and document.lines[first - 1].startswith(("#", ".PHONY")):
                first -= 1
            starts.append((first, " ".join(match[1].split())))
    ends = [*(row for row, _ in starts[1:]), len(document.lines)]
    for (start, target), end in zip(starts, ends, strict=True):
        if start < end:
            yield Piece(
                start=start,
                end=end,
                title=f"make {target}" if target else "",
                kind="script" if target else "text",
                facts={"language": "make", **({"symbol": target} if target else {})},
                breaks=(paragraph_starts(document, start, end),),
            )
