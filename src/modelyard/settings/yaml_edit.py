"""Changes of single values in YAML text, with everything else as it is written, comments included.

The text is changed where PyYAML says that a value stands, and the result is read again: when it
does not say exactly what was meant (an alias, a mapping in braces), the change is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from modelyard.core.errors import InvalidInput, KeyPath, ProblemsFound, dotted
from modelyard.settings.yaml_files import parse_yaml, render_yaml

_STEP = 2


class NotEditable(InvalidInput):
    """A value stands where it cannot be changed without touching more than it (exit code 2)."""


def set_value(text: str, path: KeyPath, value: str, *, name: str) -> str:
    """The text with a value at a key path; groups that are not there yet are added.

    value: a text, such as a name.  name: how messages call the file.
    Raises NotEditable where that is not possible, ProblemsFound for text that is not YAML.
    """
    wanted = _as_is(text, name)
    group: Any = wanted
    for step in path[:-1]:
        if not isinstance(group.get(step), dict):
            group[step] = {}
        group = group[step]
    group[path[-1]] = value
    return _proven(_set(text, path, value), wanted, name, path)


def remove_key(text: str, path: KeyPath, *, name: str) -> str:
    """The text without a key and all below it, and without groups that would be empty then.

    Raises as `set_value` does.
    """
    wanted = _as_is(text, name)
    groups: list[Any] = [wanted]
    for step in path[:-1]:
        groups.append(groups[-1][step])
    depth = len(path)
    while depth > 1 and len(groups[depth - 1]) == 1:
        depth -= 1
    del groups[depth - 1][path[depth - 1]]
    return _proven(_remove(text, path[:depth]), wanted, name, path)


def _as_is(text: str, name: str) -> dict[str, Any]:
    value = parse_yaml(text, name=name).value
    if not isinstance(value, dict):
        raise NotEditable("is no mapping of keys to values", where=name)
    found: dict[str, Any] = _unshared(value)
    return found


def _unshared(value: Any) -> Any:
    """The same in containers of its own: what an alias names is one object at all its places."""
    if isinstance(value, dict):
        return {key: _unshared(below) for key, below in value.items()}
    return [_unshared(below) for below in value] if isinstance(value, list) else value


def _proven(changed: str | None, wanted: Mapping[str, Any], name: str, path: KeyPath) -> str:
    """The changed text, when it says what is wanted and nothing else."""
    try:
        if changed is not None and parse_yaml(changed, name=name).value == wanted:
            return changed
    except ProblemsFound:
        pass  # said below: the text before was YAML
    raise NotEditable(
        f"'{dotted(path)}' cannot be changed there without changing more than it",
        where=name,
        hint="write each key of its group on a line of its own, without aliases, and try again",
    )


def _set(text: str, path: KeyPath, value: str) -> str | None:
    found, depth = _deepest(text, path)
    if depth == len(path):
        if not isinstance(found, yaml.ScalarNode):
            return None
        start, end = found.start_mark.index, found.end_mark.index
        space = "" if text[start - 1 : start].isspace() else " "
        return f"{text[:start]}{space}{_scalar(value)}{text[end:]}"
    if not isinstance(found, yaml.MappingNode) or found.flow_style or not found.value:
        return None
    return _insert(text, found, path[depth:], value)


def _insert(text: str, group: yaml.MappingNode, tail: KeyPath, value: str) -> str:
    """The text with a key that a block mapping does not have yet."""
    lines = text.splitlines(keepends=True)
    column = group.value[0][0].start_mark.column
    new = []
    for depth, step in enumerate(tail):
        rest = f" {_scalar(value)}" if depth == len(tail) - 1 else ""
        new.append(f"{' ' * (column + _STEP * depth)}{step}:{rest}\n")
    on_one_line = [
        below.end_mark.line
        for key, below in group.value
        if isinstance(below, yaml.ScalarNode)
        and below.style not in ("|", ">")
        and below.end_mark.line == key.start_mark.line
    ]
    line = on_one_line[-1] + 1 if on_one_line else group.value[0][0].start_mark.line
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    return "".join([*lines[:line], *new, *lines[line:]])


def _remove(text: str, path: KeyPath) -> str | None:
    group, depth = _deepest(text, path[:-1])
    if depth < len(path) - 1 or not isinstance(group, yaml.MappingNode) or group.flow_style:
        return None
    lines = text.splitlines(keepends=True)
    for key, below in group.value:
        if key.value == path[-1]:
            first, last = key.start_mark.line, max(key.end_mark.line, _last_line(below, lines))
            around = lines[max(0, first - 1) : first] + lines[last + 1 : last + 2]
            if len(around) == 2 and not "".join(around).strip():  # of two empty lines one stays
                last += 1
            return "".join([*lines[:first], *lines[last + 1 :]])
    return None


def _last_line(node: yaml.Node, lines: list[str]) -> int:
    """The last line that a value is written on, from 0."""
    if isinstance(node, yaml.MappingNode) and node.value and not node.flow_style:
        return max(_last_line(below, lines) for _, below in node.value)
    if isinstance(node, yaml.SequenceNode) and node.value and not node.flow_style:
        return max(_last_line(below, lines) for below in node.value)
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        line = node.end_mark.line - (node.end_mark.column == 0)
        while line > node.start_mark.line and not lines[min(line, len(lines) - 1)].strip():
            line -= 1
        return line
    return int(node.end_mark.line)


def _deepest(text: str, path: KeyPath) -> tuple[yaml.Node, int]:
    """The value at a path, or at the longest part of it that is there, and how long that is."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    assert node is not None  # it holds a mapping
    for depth, step in enumerate(path):
        below = None
        if isinstance(node, yaml.MappingNode):
            below = next((value for key, value in node.value if key.value == step), None)
        if below is None:
            return node, depth
        node = below
    return node, len(path)


def _scalar(value: str) -> str:
    """A text as YAML, in quotes where it needs them."""
    return render_yaml({"key": value}).removeprefix("key: ").rstrip("\n")
