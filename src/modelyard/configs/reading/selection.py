"""Which config files a person means: a file, a folder, KIND/NAME, a name, or the whole yard."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.configs.reading.document import SUFFIXES, kind_of
from modelyard.core.errors import ModelyardError, NoData


def select_configs(catalogue: ConfigCatalogue, words: Sequence[str]) -> list[Path]:
    """The files that the words name, each once, in the order of the words; no word: the whole yard.

    Raises InvalidInput for a word that names nothing, NoData when there is no config at all.
    """
    if not words:
        found = catalogue.paths()
    else:
        found = [path for word in words for path in _named(catalogue, word)]
    if not found:
        places = ", ".join(words) or catalogue.yard.show(catalogue.yard.configs)
        raise NoData(f"there is no config in {places}", hint="`models init DIR` makes examples")
    return list(dict.fromkeys(found))


def _named(catalogue: ConfigCatalogue, word: str) -> list[Path]:
    for folder in (Path(word), catalogue.yard.configs / word):
        if folder.is_dir():
            return list(configs_below(folder.absolute()))
    return [catalogue.locate(word)]


def configs_below(folder: Path) -> Iterator[Path]:
    """Every YAML file below a folder that is a config of a kind, without hidden folders."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(place, name)
            if path.suffix in SUFFIXES and path.is_file() and _has_kind(path):
                yield path


def _has_kind(path: Path) -> bool:
    try:
        kind_of(path, str(path))
    except ModelyardError:
        return False
    return True
