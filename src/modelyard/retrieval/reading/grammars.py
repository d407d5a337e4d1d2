"""The languages that are split by their syntax tree, and which of its nodes are definitions."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Parser


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    """How one language is read."""

    name: str
    """What it is called, and what `--filter language=` takes."""
    module: str
    """The package that holds its parser."""
    entry: str = "language"
    """The function of that package which gives it."""
    functions: frozenset[str]
    """Nodes that are functions or methods."""
    classes: frozenset[str] = frozenset()
    """Nodes that are classes, types, or hold definitions."""
    wrappers: frozenset[str] = frozenset()
    """Nodes around a definition: decorators, exports."""
    attributes: frozenset[str] = frozenset()
    """Nodes that stand above a definition and belong to it."""
    bodies: frozenset[str] = frozenset()
    """Nodes that are the body of a definition, where the grammar has no field for it."""
    names: frozenset[str] = frozenset()
    """Nodes that hold a definition's name, where the grammar has no field for it."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SCRIPT_FUNCTIONS = _words(
    "function_declaration generator_function_declaration method_definition variable_declarator"
)
_SCRIPT_WRAPPERS = _words("export_statement lexical_declaration ambient_declaration")
_TYPE_CLASSES = _words(
    "class_declaration abstract_class_declaration interface_declaration enum_declaration"
    " type_alias_declaration internal_module"
)

GRAMMARS: Mapping[str, Grammar] = {
    grammar.name: grammar
    for grammar in (
        Grammar(
            name="python",
            module="tree_sitter_python",
            functions=_words("function_definition"),
            classes=_words("class_definition"),
            wrappers=_words("decorated_definition"),
        ),
        Grammar(name="shell", module="tree_sitter_bash", functions=_words("function_definition")),
        Grammar(
            name="javascript",
            module="tree_sitter_javascript",
            functions=_SCRIPT_FUNCTIONS,
            classes=_words("class_declaration"),
            wrappers=_SCRIPT_WRAPPERS,
        ),
        Grammar(
            name="typescript",
            module="tree_sitter_typescript",
            entry="language_typescript",
            functions=_SCRIPT_FUNCTIONS,
            classes=_TYPE_CLASSES,
            wrappers=_SCRIPT_WRAPPERS,
        ),
        Grammar(
            name="tsx",
            module="tree_sitter_typescript",
            entry="language_tsx",
            functions=_SCRIPT_FUNCTIONS,
            classes=_TYPE_CLASSES,
            wrappers=_SCRIPT_WRAPPERS,
        ),
        Grammar(
            name="go",
            module="tree_sitter_go",
            functions=_words("function_declaration method_declaration"),
            classes=_words("type_declaration"),
        ),
        Grammar(
            name="rust",
            module="tree_sitter_rust",
            functions=_words("function_item macro_definition"),
            classes=_words("struct_item enum_item trait_item impl_item mod_item union_item"),
            attributes=_words("attribute_item"),
        ),
        Grammar(
            name="java",
            module="tree_sitter_java",
            functions=_words("method_declaration constructor_declaration"),
            classes=_words(
                "class_declaration interface_declaration enum_declaration record_declaration"
                " annotation_type_declaration"
            ),
        ),
        Grammar(
            name="c",
            module="tree_sitter_c",
            functions=_words("function_definition"),
            classes=_words("struct_specifier union_specifier enum_specifier type_definition"),
        ),
        Grammar(
            name="c++",
            module="tree_sitter_cpp",
            functions=_words("function_definition"),
            classes=_words(
                "class_specifier struct_specifier union_specifier enum_specifier type_definition"
                " namespace_definition"
            ),
            wrappers=_words("template_declaration"),
        ),
        Grammar(
            name="c#",
            module="tree_sitter_c_sharp",
            functions=_words(
                "method_declaration constructor_declaration property_declaration"
                " local_function_statement operator_declaration indexer_declaration"
            ),
            classes=_words(
                "class_declaration interface_declaration struct_declaration enum_declaration"
                " record_declaration delegate_declaration namespace_declaration"
            ),
            wrappers=_words("preproc_if preproc_region"),
        ),
        Grammar(
            name="kotlin",
            module="tree_sitter_kotlin",
            functions=_words("function_declaration secondary_constructor"),
            classes=_words("class_declaration object_declaration companion_object type_alias"),
            bodies=_words("class_body enum_class_body function_body"),
        ),
        Grammar(
            name="ruby",
            module="tree_sitter_ruby",
            functions=_words("method singleton_method"),
            classes=_words("class module singleton_class"),
        ),
        Grammar(
            name="php",
            module="tree_sitter_php",
            entry="language_php",
            functions=_words("function_definition method_declaration"),
            classes=_words(
                "class_declaration interface_declaration trait_declaration enum_declaration"
            ),
        ),
        Grammar(
            name="swift",
            module="tree_sitter_swift",
            functions=_words(
                "function_declaration init_declaration deinit_declaration subscript_declaration"
                " protocol_function_declaration"
            ),
            classes=_words("class_declaration protocol_declaration typealias_declaration"),
        ),
        Grammar(
            name="lua",
            module="tree_sitter_lua",
            functions=_words("function_declaration assignment_statement"),
            wrappers=_words("variable_declaration"),
        ),
        Grammar(
            name="scala",
            module="tree_sitter_scala",
            functions=_words("function_definition function_declaration"),
            classes=_words(
                "class_definition object_definition trait_definition enum_definition"
                " type_definition package_object given_definition"
            ),
        ),
        Grammar(
            name="sql",
            module="tree_sitter_sql",
            functions=_words("create_function create_procedure create_trigger"),
            classes=_words(
                "create_table create_view create_materialized_view create_index create_type"
                " create_schema create_database create_sequence create_policy"
            ),
            wrappers=_words("statement"),
            names=_words("object_reference identifier"),
        ),
        Grammar(
            name="hcl",
            module="tree_sitter_hcl",
            functions=_words("block"),
            bodies=_words("body"),
        ),
    )
}

ENDINGS: Mapping[str, str] = {
    ".py": "python",
    ".pyi": "python",
    ".sh": "shell",
    ".bash": "shell",
    ".zsh": "shell",
    ".ksh": "shell",
    ".js": "javascript",
    ".mjs": "javascript",
    ".cjs": "javascript",
    ".jsx": "javascript",
    ".ts": "typescript",
    ".mts": "typescript",
    ".cts": "typescript",
    ".tsx": "tsx",
    ".go": "go",
    ".rs": "rust",
    ".java": "java",
    ".c": "c",
    ".h": "c",
    ".cc": "c++",
    ".cpp": "c++",
    ".cxx": "c++",
    ".hh": "c++",
    ".hpp": "c++",
    ".cs": "c#",
    ".csx": "c#",
    ".kt": "kotlin",
    ".kts": "kotlin",
    ".rb": "ruby",
    ".rake": "ruby",
    ".gemspec": "ruby",
    ".php": "php",
    ".swift": "swift",
    ".lua": "lua",
    ".scala": "scala",
    ".sc": "scala",
    ".sql": "sql",
    ".tf": "hcl",
    ".tfvars": "hcl",
    ".hcl": "hcl",
}
"""The language of a file by its name's ending."""


def grammar_of(ending: str, first_line: str) -> Grammar | None:
    """The language of a file by its name's ending (`.py`), else by its `#!` line."""
    if ending in ENDINGS:
        return GRAMMARS[ENDINGS[ending]]
    if first_line.startswith("#!"):
        program = first_line[2:200]
        if "python" in program:
            return GRAMMARS["python"]
        for language in ("ruby", "php", "lua"):
            if language in program:
                return GRAMMARS[language]
        if "node" in program:
            return GRAMMARS["javascript"]
        if any(shell in program for shell in ("bash", "/sh", " sh", "zsh", "ksh", "dash")):
            return GRAMMARS["shell"]
    return None


@cache
def parser_of(name: str) -> Parser:
    """The parser of a language, made once in a process."""
    from tree_sitter import Language, Parser

    grammar = GRAMMARS[name]
    entry = getattr(importlib.import_module(grammar.module), grammar.entry)
    return Parser(Language(entry()))
