"""The base model that an adapter_config.json names: in an import, and for other programs in an
export.

PEFT writes there what the training program loaded: a repository on the hub or a folder. Adapters of
one shape fit many models, so that this name is the only sign of a wrong base.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from modelyard.core.layout import Project
from modelyard.weights.catalogue import BaseCard, PathSource, find_base
from modelyard.weights.local import LocalBase

NAME_KEY = "base_model_name_or_path"
"""The key of adapter_config.json that names the base."""

_IN_HUB_CACHE = re.compile(r"(?:^|/)models--([^/]+)--([^/]+)(?:/snapshots/[^/]+)?/?$")
_SNAPSHOT = re.compile(r"/models--([^/]+)--([^/]+)/snapshots/([0-9a-f]{40})$")
_QUANTISED = re.compile(r"(-unsloth)?-bnb-(4|8)bit$")


def stated_base(config: Mapping[str, Any]) -> str | None:
    """The base that the content of an adapter_config.json names; None when it names none."""
    stated = config.get(NAME_KEY)
    return stated.strip() or None if isinstance(stated, str) else None


def names_base(project: Project, stated: str, base: LocalBase | BaseCard) -> bool:
    """Whether a stated name is one of this base: its name, its folder or a repository of it.

    A mirror of a repository, its loading in 4 or 8 bits, and a folder of the same name count as
    the base: only the last part of a name is compared, without the owner.
    """
    stated_path = Path(stated)
    if (
        isinstance(base, LocalBase)
        and stated_path.is_absolute()
        and stated_path.resolve() == base.path.resolve()
    ):
        return True
    return _last_part(stated) in set(map(_last_part, _names_of(find_base(project, base.name))))


def loadable_name(base: LocalBase) -> dict[str, str | None]:
    """The keys of adapter_config.json that let PEFT find the base from an export.

    The repository and commit of a base that the hub's own cache holds, which other machines can
    fetch too; else the folder of the base on this machine.
    """
    if found := _SNAPSHOT.search(base.path.as_posix()):
        return {NAME_KEY: f"{found[1]}/{found[2]}", "revision": found[3]}
    return {NAME_KEY: str(base.path), "revision": None}


def _names_of(card: BaseCard) -> Iterator[str]:
    yield card.name
    yield from card.repositories
    for source in card.sources:
        if isinstance(source, PathSource):
            yield source.path


def _last_part(name: str) -> str:
    """The model's own name in a repository, a folder or the hub's cache, in lower case."""
    cached = _IN_HUB_CACHE.search(name)
    last = cached[2] if cached else name.rstrip("/\\").replace("\\", "/").rpartition("/")[2]
    return _QUANTISED.sub("", last.lower())
