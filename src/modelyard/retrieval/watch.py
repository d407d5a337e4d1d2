"""Following the file system: an index is brought in step as soon as a file was saved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event

from modelyard.core.files import STAGING_PREFIX
from modelyard.core.layout import Yard
from modelyard.retrieval.domains import Domain
from modelyard.retrieval.reading.sources import matches_any

_QUIET_MS = 200
"""How long files must rest before they are read: editors write in several steps."""
_LONGEST_MS = 1_000
"""How long a file that never rests may keep the others waiting."""


def watch_domains(
    yard: Yard, domains: Sequence[Domain], *, stop: Event | None = None
) -> Iterator[list[Domain]]:
    """Yields the domains whose files changed, each time that some did, until `stop` is set.

    The first ones come after this has begun to watch, so nothing changes unseen: all of them.
    """
    from watchfiles import Change, watch

    root = yard.root.resolve()

    def is_source(change: Change, path: str) -> bool:
        return bool(_changed(domains, root, [path]))

    events = watch(
        *_watched(root, domains),
        watch_filter=is_source,
        debounce=_LONGEST_MS,
        step=_QUIET_MS,
        rust_timeout=_LONGEST_MS,
        yield_on_timeout=True,
        stop_event=stop,
        raise_interrupt=True,
    )
    first = True
    for changes in events:
        chosen = list(domains) if first else _changed(domains, root, [path for _, path in changes])
        first = False
        if chosen:
            yield chosen


def _watched(root: Path, domains: Sequence[Domain]) -> list[Path]:
    """The folders that the globs name before their first wildcard, none inside another."""
    folders: set[Path] = set()
    for domain in domains:
        for glob in domain.settings.sources:
            place = root
            for part in glob.split("/")[:-1]:
                if any(letter in part for letter in "*?[") or not (place / part).is_dir():
                    break
                place /= part
            folders.add(place)
    return sorted(
        one for one in folders if not any(one != top and one.is_relative_to(top) for top in folders)
    )


def _changed(domains: Sequence[Domain], root: Path, paths: Sequence[str]) -> list[Domain]:
    """The domains that one of these files, or of the files in these folders, can belong to."""
    shown = [_shown(root, path) for path in paths]
    return [domain for domain in domains if any(one and _concerns(domain, one) for one in shown)]


def _shown(root: Path, path: str) -> str | None:
    place = Path(path)
    if place.name.startswith(STAGING_PREFIX) or not place.is_relative_to(root):
        return None
    return place.relative_to(root).as_posix()


def _concerns(domain: Domain, shown: str) -> bool:
    """Whether it is a source, or rules over sources: a `.gitignore`, a folder that moved."""
    globs = domain.settings.sources
    if matches_any(shown, globs) or shown.rpartition("/")[2] == ".gitignore":
        return True
    return "." not in shown.rpartition("/")[2] and any(_may_hold(glob, shown) for glob in globs)


def _may_hold(glob: str, folder: str) -> bool:
    """Whether a folder can hold what the glob asks for, as far as its wildcards tell."""
    fixed = glob.split("*", 1)[0].rpartition("/")[0]
    return folder.startswith(fixed) or fixed.startswith(folder)
