"""What a config means among the others: each kind has a module that knows what cannot be meant.

A check gets the settings that hold in one environment and the scene around them, and yields
mistakes. It reads no file of its own but through the scene, and does not know lines and columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from typing import Any

from modelyard.configs.checking.meaning.mistake import Mistake
from modelyard.configs.checking.scene import Scene

Check = Callable[[Any, str, Scene], Iterator[Mistake]]
"""From settings, their config's name and the scene, to what is wrong with them."""


@cache
def load_check(kind: str) -> Check:
    """The check of a kind, imported when it is asked for."""
    check: Check = import_module(f"{__name__}.{kind}").check
    return check
