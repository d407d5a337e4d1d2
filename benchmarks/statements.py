"""Count the statements of a source tree, docstrings and blank lines left out.

`python benchmarks/statements.py [DIR] [--by-package]`: what a change adds to or takes from `src`.
A statement is an `ast.stmt`; a string that stands alone, such as a docstring, is none.
"""

from __future__ import annotations

import argparse
import ast
from collections import Counter
from pathlib import Path


def count_statements(source: str) -> int:
    """Statements of one module, nested ones included."""
    return sum(
        isinstance(node, ast.stmt) and not _is_docstring(node)
        for node in ast.walk(ast.parse(source))
    )


def _is_docstring(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def longest_functions(source: str) -> list[tuple[int, str]]:
    """(lines, name) of each function of one module, docstring included."""
    return [
        ((node.end_lineno or node.lineno) - node.lineno + 1, node.name)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("src/modelyard"))
    parser.add_argument("--by-package", action="store_true")
    arguments = parser.parse_args()
    by_package: Counter[str] = Counter()
    functions: list[tuple[int, str]] = []
    modules = sorted(arguments.folder.rglob("*.py"))
    for path in modules:
        source = path.read_text()
        parts = path.relative_to(arguments.folder).parts
        by_package[parts[0] if len(parts) > 1 else "."] += count_statements(source)
        functions += [(lines, f"{path}:{name}") for lines, name in longest_functions(source)]
    if arguments.by_package:
        for package, count in by_package.most_common():
            print(f"{count:7,} {package}")
    print(f"{by_package.total():7,} statements in {len(modules)} modules")
    for lines, name in sorted(functions, reverse=True)[:8]:
        print(f"{lines:7,} lines {name}")


if __name__ == "__main__":
    main()
