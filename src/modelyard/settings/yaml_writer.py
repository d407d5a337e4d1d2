"""YAML that `load_yaml` reads back unchanged, and that a person likes to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from modelyard.settings.yaml_scalars import is_plain_text


class _Dumper(yaml.SafeDumper):
    """Writes each value out where it stands, without anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # PyYAML would write `1e5` and `y` bare, which our reader takes for more than text.
    style = None if is_plain_text(text) else '"'
    if "\n" in text:
        style = "|"  # PyYAML takes quotes by itself where the text cannot stand so
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def render_yaml(values: Mapping[str, Any]) -> str:
    """The values as YAML, in the order given; text of several lines stands as such."""
    text: str = yaml.dump(
        dict(values), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
    )
    return text
