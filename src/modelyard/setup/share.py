"""Sharing a project with others: its word is written, and what lies there already follows it.

Only the owner of a file may change its mode, so a project of several people can need the command
from each of them. Killed at any instant, the same command completes it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modelyard.core.errors import InvalidInput
from modelyard.core.files import write_atomic
from modelyard.core.layout import Project
from modelyard.core.os_errors import NoAccess
from modelyard.core.sharing import (
    Shared,
    Sharing,
    group_name,
    load_sharing,
    project_file_text,
    user_name,
)
from modelyard.core.wording import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """A file or folder that does not follow the sharing of its project."""

    path: str
    """It, from the project's root."""
    owner: str
    """Whose it is; only they may change its mode."""
    wanted_owner: str
    """Whose it should be, which only root can change: the project's owner, where it is private."""
    mode: str
    """Its mode in octal, such as `0644`."""
    wanted_mode: str
    """The mode that the sharing gives it."""
    group: str
    """Its group."""
    wanted_group: str
    """The group that the sharing gives it."""
    locks_out: bool
    """Whether somebody cannot use it who should; else somebody can who should not."""

    def __str__(self) -> str:
        if self.owner != self.wanted_owner:
            return f"{self.path} belongs to {self.owner}, not {self.wanted_owner}"
        return (
            f"{self.path} has mode {self.mode} and group {self.group}, not {self.wanted_mode} and "
            f"{self.wanted_group}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SharingChange:
    """What `models project sharing` changed, or would change."""

    project: str
    """The project's folder."""
    dry_run: bool
    """Whether nothing was changed."""
    before: str | None
    """With whom the project was shared; null where its file said nothing that can be read."""
    sharing: str
    """With whom it is shared: `private`, `group` or `all`."""
    group: str
    """The group of the project's folder."""
    adjusted: tuple[Misfit, ...]
    """The files and folders that got another mode or group, as they were before."""
    left: tuple[Misfit, ...]
    """Those that stay as they are, since they belong to others."""

    def require_whole(self) -> None:
        """Raise NoAccess where something was left."""
        if not self.left or self.dry_run:
            return
        owners = sorted({each.owner for each in self.left})
        what = counted(len(self.left), "file or folder does", "files and folders do")
        foreign = next((each for each in self.left if each.owner != each.wanted_owner), None)
        hint = f"run `models project sharing {self.sharing}` as {', '.join(owners)}"
        if foreign is not None:
            shared = Shared.of(Project(Path(self.project)), Sharing(self.sharing))
            hint = f"{shared.giving_back}, then this command as {foreign.wanted_owner}"
        elif self.sharing != Sharing.PRIVATE:
            hint += f", who must be in the group {self.group}"
        raise NoAccess(
            f"{what} not follow the sharing yet: {foreign or self.left[0]}",
            where=self.project,
            hint=hint,
        )


def share_project(project: Project, sharing: Sharing, *, dry_run: bool = False) -> SharingChange:
    """Share a project: write it down, then give every file and folder its mode and group.

    Raises NoAccess, before anything is changed, where the project's file would be written by
    somebody else than its owner. What belongs to others is returned as left.
    """
    require_may_share(project, sharing)
    before = _word(project)
    shared = Shared.of(project, sharing)
    if not dry_run and _is_news(project, sharing):
        if before is None:  # another user's, perhaps, who lets nobody read it
            project.project_file.unlink()
        write_atomic(project.project_file, project_file_text(sharing))
    found = list(list_misfits(shared))
    if dry_run:
        own = {each for each in found if _may_change(each, project)}
        left = [each for each in found if each not in own]
    else:
        for each in found:
            place = project.root / each.path
            if os.path.lexists(place):
                shared.follow(place)
        left = list(list_misfits(shared))
    kept = {each.path for each in left}
    return SharingChange(
        project=str(project.root),
        dry_run=dry_run,
        before=before,
        sharing=sharing,
        group=group_name(shared.group),
        adjusted=tuple(each for each in found if each.path not in kept),
        left=tuple(left),
    )


def require_may_share(project: Project, sharing: Sharing) -> None:
    """Raise NoAccess where this user may not say with whom the project is shared.

    The project's file belongs to whoever writes it: written by a member of the group, `private`
    would lock out the owner. Where nothing would be written, anybody may adjust their own files.
    """
    folders = [each for each in (project.root, project.local_state) if each.is_dir()]
    owners = {folder.stat().st_uid for folder in folders}
    if os.geteuid() in (0, *owners) or not project.local_state.is_dir():
        return
    if not _is_news(project, sharing):
        return
    word = _word(project) or "private"
    raise NoAccess(
        f"no access: only its owner may change the project's sharing from {word} to {sharing}",
        where=str(project.root),
        hint=f"run the same command as {user_name(project.root.stat().st_uid)}",
    )


def _word(project: Project) -> Sharing | None:
    """What the project's file says; None where that cannot be read."""
    try:
        return load_sharing(project)
    except (InvalidInput, PermissionError):
        return None


def _is_news(project: Project, sharing: Sharing) -> bool:
    """Whether the project's file does not say this yet."""
    return _word(project) is not sharing or not os.path.lexists(project.project_file)


def list_misfits(shared: Shared) -> Iterator[Misfit]:
    """The project's root, and all in its own folders, that does not follow the sharing exactly.

    What lies in a folder that this user cannot read is not seen.
    """
    for place in _places(shared.project):
        try:
            status = place.stat()
        except OSError:  # it is gone, or a broken link
            continue
        mode, wanted = stat.S_IMODE(status.st_mode), shared.mode(place, status)
        fits = shared.fits_group(status) and shared.fits_owner(status)
        if mode != wanted or not fits:
            owner = user_name(status.st_uid)
            group = group_name(status.st_gid)
            yield Misfit(
                path=shared.project.show(place),
                owner=owner,
                wanted_owner=owner if shared.fits_owner(status) else user_name(shared.owner),
                mode=f"{mode:04o}",
                wanted_mode=f"{wanted:04o}",
                group=group,
                wanted_group=group_name(shared.group) if not shared.fits_group(status) else group,
                locks_out=bool(wanted & ~mode) or not fits,
            )


def list_concerns(shared: Shared) -> list[Misfit]:
    """Those that somebody should know of: who is locked out, and who can read what is not for them.

    What people put into the project themselves, as git does, may be open to more than the sharing.
    """
    project = shared.project
    own = (project.local_state, project.versions, project.embeddings, project.experiments)

    def is_own(path: str) -> bool:
        place = project.root / path
        return any(place == one or one in place.parents for one in own)

    return [each for each in list_misfits(shared) if each.locks_out or is_own(each.path)]


def _places(project: Project) -> Iterator[Path]:
    yield project.root
    for top in project.folders:
        if top.is_dir():
            yield top
        for parent, folders, files in os.walk(top):
            for name in (*folders, *files):
                place = Path(parent, name)
                if not place.is_symlink():
                    yield place


def _may_change(misfit: Misfit, project: Project) -> bool:
    if misfit.owner != misfit.wanted_owner:
        return False
    return os.geteuid() in (0, (project.root / misfit.path).stat().st_uid)
