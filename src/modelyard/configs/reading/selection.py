"""Which config files a person means: a file, a folder, KIND/NAME, a name, or the whole project."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.configs.reading.document import is_config_name, kind_of
from modelyard.core.errors import InvalidInput, ModelyardError, NoData


def select_configs(catalogue: ConfigCatalogue, words: Sequence[str]) -> list[Path]:
    """The files that the words name, each once, in their order; without words all of the project's.

    Raises InvalidInput for a word that names nothing, NoData when there is no config at all.
    """
    if not words:
        found = catalogue.paths()
    else:
        found = [path for word in words for path in _named(catalogue, word)]
    if not found:
        places = ", ".join(words) or catalogue.project.show(catalogue.project.configs)
        raise NoData(f"there is no config in {places}", hint="`models init DIR` makes examples")
    return list(dict.fromkeys(found))


def _named(catalogue: ConfigCatalogue, word: str) -> list[Path]:
    if not word:
        raise InvalidInput("a config's name is empty", hint="name a file, a folder, or KIND/NAME")
    path = Path(word)
    if os.path.lexists(path) and not path.is_dir():
        return [path.absolute()]
    for folder in (Path(word), catalogue.project.configs / word):
        if folder.is_dir():
            return list(configs_below(folder.absolute()))
    return [catalogue.locate(word)]


def configs_below(folder: Path) -> Iterator[Path]:
    """Everything below a folder that is called like a config and has a kind; nothing hidden.

    What is no file, such as a link to nowhere, is named as well: reading it says what is wrong.
    """
    for place, folders, names in os.walk(folder):
        called = [name for name in folders if is_config_name(name)]
        folders[:] = sorted(
            name for name in folders if name not in called and not name.startswith(".")
        )
        for name in sorted((*names, *called)):
            path = Path(place, name)
            if is_config_name(name) and _has_kind(path):
                yield path


def _has_kind(path: Path) -> bool:
    try:
        kind_of(path, str(path))
    except ModelyardError:
        return False
    return True
