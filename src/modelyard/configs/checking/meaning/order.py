"""Whether an order of models to ask makes sense: none twice, none after one that cannot fail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from modelyard.configs.checking.meaning.mistake import Mistake
from modelyard.configs.checking.scene import Scene
from modelyard.core.errors import KeyPath, dotted


def check_order(order: Sequence[str], path: KeyPath, scene: Scene) -> Iterator[Mistake]:
    """Names that are there twice, and those that are never reached."""
    last = None
    for place, name in enumerate(order):
        spot = (*path, place)
        if name in order[:place]:
            yield Mistake(
                spot,
                "repeated",
                f"'{name}' is already in '{dotted(path)}', and is asked once",
                hint="leave one out",
            )
        elif last is not None:
            yield Mistake(
                spot,
                "unreachable",
                f"'{name}' is never asked: {last} before it needs nothing, and so cannot fail",
                hint=f"put {last} at the end",
            )
        else:
            model = scene.model(name)
            last = name if model is not None and model.provider == "builtin" else None
