"""Which organisation has which adapters. A request looks up the names of its own organisation only.

An adapter belongs to the organisation that its versions name. Creating, promoting and removing one
changes the folder of versions or of links, so two `stat` say whether what is known still holds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType

from modelyard.adapters.owner import Owner, find_owner
from modelyard.adapters.versions import list_adapters, version_numbers
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project

_CLOCK_TICK_NS = 50_000_000
"""Two changes in one tick of a file system's clock have one time: what is so new may change."""
_NONE: Mapping[str, str] = MappingProxyType({})


class OwnAdapters:
    """The adapters of each organisation; threads may share it."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._lock = threading.Lock()
        self._stamp: tuple[int, int] | None = None
        self._owned: Mapping[str | None, Mapping[str, str]] = {}

    def of(self, organisation: str | None) -> Mapping[str, str]:
        """The base of each adapter of an organisation, by its name; None: of nobody."""
        return self._current().get(organisation, _NONE)

    def organisations(self) -> list[str]:
        """Those that have an adapter, by name."""
        return sorted(organisation for organisation in self._current() if organisation is not None)

    def all(self) -> Mapping[str, str]:
        """The base of every adapter, by its name."""
        return {name: base for own in self._current().values() for name, base in own.items()}

    def _current(self) -> Mapping[str | None, Mapping[str, str]]:
        with self._lock:
            stamp = self._read_stamp()
            if stamp != self._stamp:
                self._owned = self._read()
                settled = time.time_ns() - max(stamp) > _CLOCK_TICK_NS
                self._stamp = stamp if settled else None
            return self._owned

    def _read_stamp(self) -> tuple[int, int]:
        changed = []
        for folder in (self._project.versions, self._project.trained):
            try:
                changed.append(folder.stat().st_mtime_ns)
            except FileNotFoundError:
                changed.append(0)
        return changed[0], changed[1]

    def _read(self) -> dict[str | None, dict[str, str]]:
        before = {
            name: Owner(who, base) for who, own in self._owned.items() for name, base in own.items()
        }
        owned: dict[str | None, dict[str, str]] = {}
        for adapter in list_adapters(self._project):
            whose = before.get(adapter)  # for one of which every version is damaged by now
            for number in reversed(version_numbers(self._project, adapter)):
                with suppress(ModelyardError):
                    whose = find_owner(self._project, adapter, number)
                    break
            if whose is not None:
                owned.setdefault(whose.org, {})[adapter] = whose.base
        return owned
