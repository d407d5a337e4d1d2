"""Who is asked when a model fails: the chain, its end, and circles in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelyard.configs.kinds.language_models import LanguageModel

FindModel = Callable[[str], "LanguageModel | None"]


def fallback_chain(
    first: str, find: FindModel, order: Iterable[str] = ()
) -> Iterator[tuple[str, LanguageModel | None]]:
    """The models that are asked, `first` included, each once, with their settings.

    A model's own `fallback` comes next, else the first of `order` that has not been asked. The
    chain ends with a `builtin` model, which cannot fail.
    """
    order = tuple(order)
    asked = {first}
    name: str | None = first
    while name is not None:
        model = find(name)
        yield name, model
        if model is not None and model.provider == "builtin":
            return
        own = model.fallback if model else None
        candidates = (own, *order) if own else order
        name = next((one for one in candidates if one not in asked), None)
        if name is not None:
            asked.add(name)


def fallback_cycle(first: str, find: FindModel, acyclic: set[str]) -> tuple[str, ...]:
    """The circle that `fallback` leads from a model back to itself, its name at both ends.

    `acyclic` are models known to lead into no circle; those met on the way to an end join them.
    """
    asked: dict[str, None] = {first: None}
    name = first
    while True:
        model = find(name)
        following = model.fallback if model else None
        if following == first:
            return (*asked, first)
        if following is None or following in acyclic:
            acyclic.update(asked)
            return ()
        if following in asked:
            return ()
        asked[following] = None
        name = following
