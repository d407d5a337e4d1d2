"""Where a value stands in nested settings: its keys, from the outermost on."""

from __future__ import annotations

from collections.abc import Callable

KeyPath = tuple[str | int, ...]
Where = Callable[[KeyPath], str | None]
"""Says where the value at a key path was written, such as `file:line:col` or `--set lora.rank=0`.
"""


def dotted(path: KeyPath) -> str:
    """A key path as people write it: `lora.targets[0]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
