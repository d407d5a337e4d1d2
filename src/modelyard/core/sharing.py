"""With whom a project is shared, and the modes of its files and folders that follow from it.

One word in `.models/project.yaml` says it, as `core.sharedRepository` does for git:

    private   its owner alone           folders 0700   files 0600   versions 0700, their files 0400
    group     the group of its folder   folders 2770   files 0660   versions 2750, their files 0440
    all       others may read it too    folders 2775   files 0664   versions 2755, their files 0444

What the owner may do is up to whoever makes a file; the sharing says how much of that the group and
others may, whatever the umask. So a mode follows from the place of a file, and what is made outside
of projects keeps to the umask. The word is read where a file is made: no process remembers it.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import shlex
import stat
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.layout import Project
from modelyard.core.regular_files import read_regular

_LINE = re.compile(r"""(?:---|sharing\s*:\s+(["']?)(\w+)\1)?\s*(?:(?<!\S)#.*)?""")
_COMMENT = "# Who may use this project: private, group or all (`models project sharing MODE`).\n"
_MOST_BYTES = 10_000


class Sharing(StrEnum):
    """With whom a project is shared."""

    PRIVATE = "private"
    GROUP = "group"
    ALL = "all"


def load_sharing(project: Project) -> Sharing:
    """What the project's file says; private where there is none.

    Raises InvalidInput for anything but `sharing: MODE`, and OSError where it cannot be read.
    """
    path = project.project_file
    try:
        data = read_regular(path)
    except (FileNotFoundError, NotADirectoryError):
        return Sharing.PRIVATE
    modes = ", ".join(Sharing)
    found = None
    for number, line in enumerate(
        data[:_MOST_BYTES].decode("utf-8-sig", errors="replace").splitlines(), 1
    ):
        match = _LINE.fullmatch(line)
        word = match[2] if match else None
        if match is None or (word is not None and (found or word not in set(Sharing))):
            raise InvalidInput(
                f"{line.strip()[:60]!r} does not say with whom the project is shared",
                where=f"{project.show(path)}:{number}",
                hint=f"write one line, `sharing: MODE`, with one of {modes}",
            )
        found = found or word
    return Sharing(found) if found else Sharing.PRIVATE


def project_file_text(sharing: Sharing) -> str:
    """What `load_sharing` reads."""
    return f"{_COMMENT}sharing: {sharing}\n"


def mode_of(project: Project, place: Path, sharing: Sharing, owner: int, *, is_folder: bool) -> int:
    """The mode of a file or folder at `place`: the only function that says one.

    owner: the bits of its owner, such as 0o600; no others of it are looked at.
    """
    own = owner & stat.S_IRWXU
    if sharing is Sharing.PRIVATE:
        return own
    group = own >> 3
    if project.is_in_version(place):
        group &= ~stat.S_IWGRP
    others = own >> 6 & (stat.S_IROTH | stat.S_IXOTH)
    if sharing is Sharing.GROUP or project.is_confidential(place):
        others = 0
    return own | group | others | (stat.S_ISGID if is_folder else 0)


@dataclass(frozen=True, slots=True)
class Shared:
    """A project, with what its files are to follow."""

    project: Project
    """The project."""
    sharing: Sharing
    """With whom it is shared."""
    owner: int
    """The number of its owner, who is that of its folder."""
    group: int
    """The number of its group, which is that of its folder."""

    @classmethod
    def of(cls, project: Project, sharing: Sharing) -> Shared:
        """A project whose folder is there."""
        status = project.root.stat()
        return cls(project, sharing, status.st_uid, status.st_gid)

    def mode(self, place: Path, status: os.stat_result) -> int:
        """The mode that what has this status is to have at `place`."""
        is_folder = stat.S_ISDIR(status.st_mode)
        return mode_of(self.project, place, self.sharing, status.st_mode, is_folder=is_folder)

    def fits_group(self, status: os.stat_result) -> bool:
        """Whether its group is the project's, as far as that matters."""
        return self.sharing is Sharing.PRIVATE or status.st_gid == self.group

    def fits_owner(self, status: os.stat_result) -> bool:
        """Whether its owner is the project's, which only root can change, as far as that matters:
        in a private project, the files of others are their own alone."""
        return self.sharing is not Sharing.PRIVATE or self.owner in (0, status.st_uid)

    @property
    def giving_back(self) -> str:
        """How all files become those of the project's owner; only root can do that."""
        try:
            owner = pwd.getpwuid(self.owner).pw_name
        except KeyError:
            owner = str(self.owner)
        return f"as root, run `chown -R {owner} {shlex.quote(str(self.project.root))}`"

    def follow(self, path: Path, place: Path | None = None) -> None:
        """Give what this process made at `path` the group and the mode that it has at `place`."""
        status = path.lstat()
        if not stat.S_ISLNK(status.st_mode):
            self._change(path, status, self.mode(place or path, status))

    def follow_below(self, folder: Path, place: Path) -> None:
        """`follow` for a folder and all it holds, which is to lie at `place`."""
        for parent, folders, files in os.walk(folder):
            for name in (*folders, *files):
                path = Path(parent, name)
                self.follow(path, place / path.relative_to(folder))
        self.follow(folder, place)

    def mend(self, path: Path, status: os.stat_result) -> None:
        """Let those use a file of this user who should, where an earlier version locked them out.

        No more than that, except that nobody else reads what is confidential.
        """
        if status.st_uid == os.geteuid():
            mode = self.mode(path, status)
            if not self.project.is_confidential(path):
                mode |= stat.S_IMODE(status.st_mode)
            self._change(path, status, mode)

    def _change(self, path: Path, status: os.stat_result, mode: int) -> None:
        # Refused to who is in another group, or where a disk has no modes: `models doctor` says so.
        with suppress(PermissionError):
            if not self.fits_group(status):
                os.chown(path, -1, self.group)
        with suppress(PermissionError):
            if stat.S_IMODE(status.st_mode) != mode:
                path.chmod(mode)


def shared_at(path: Path) -> Shared | None:
    """The project that a path lies in; None outside of projects.

    Raises what `load_sharing` raises.
    """
    place = path.absolute()
    above = (place, *place.parents)
    root = None
    for folder in above:
        # What lies in `.models` may look like a project: a restore that is under way does.
        if Project(folder).local_state in above or (root is None and _is_project(str(folder))):
            root = folder
    if root is None or not root.is_dir():
        return None
    project = Project(root)
    return Shared.of(project, load_sharing(project))


def _is_project(folder: str) -> bool:
    is_folder = os.path.isdir  # Path.is_dir raises where there is no access
    return os.path.lexists(f"{folder}/.models/project.yaml") or (
        is_folder(f"{folder}/configs") and is_folder(f"{folder}/models")
    )


def access_hint(path: Path) -> str:
    """What to do where the system refuses access to `path`: who can do what about it."""
    path = path.absolute()
    beside = (path.with_name(f"{path.name}{end}") for end in ("-wal", "-shm"))
    places = (path, *path.parents, *beside)
    seen = [(place, status) for place in places if (status := _status(place))]
    with suppress(OSError, ModelyardError):
        if (shared := shared_at(path)) and (hint := _hint_in_project(shared, seen)):
            return hint
    place, status = seen[0]
    if (
        path == Project(path.parent.parent).project_file
        and path.parent.stat().st_uid == os.geteuid()
    ):
        return (
            f"{place} belongs to {user_name(status.st_uid)}, and its folder to you: "
            "`models project sharing MODE` writes it anew"
        )
    owner, group = user_name(status.st_uid), group_name(status.st_gid)
    mode = f"{stat.S_IMODE(status.st_mode):04o}"
    return f"check who owns it: {place} belongs to {owner}, group {group}, with mode {mode}"


def _hint_in_project(shared: Shared, seen: list[tuple[Path, os.stat_result]]) -> str | None:
    """The same, where it is due to the sharing of a project or to a file that does not follow it.

    seen: what can be seen of the path, first itself or its nearest parent.
    """
    sharing = shared.sharing
    for place, status in seen:
        if place != shared.project.root and shared.project.root not in place.parents:
            continue
        if not shared.fits_owner(status):
            return (
                f"{shared.project.show(place)} belongs to {user_name(status.st_uid)}, and the "
                f"project is private to {user_name(shared.owner)}: {shared.giving_back}"
            )
        lacking = shared.mode(place, status) & ~status.st_mode & 0o777
        if lacking or not shared.fits_group(status):
            return (
                f"{shared.project.show(place)} does not follow the project's sharing: run "
                f"`models project sharing {sharing}` as {user_name(status.st_uid)}"
            )
    status, of_root = seen[0][1], shared.project.root.stat()
    if os.geteuid() == status.st_uid:
        return None
    if sharing is Sharing.PRIVATE:
        if os.geteuid() == of_root.st_uid:
            return None
        owner = user_name(of_root.st_uid)
        return (
            f"the project is private to {owner}, who can share it: `models project sharing group`"
        )
    group = group_name(shared.group)
    is_member = shared.group in (os.getegid(), *os.getgroups())
    if not is_member and os.geteuid() != of_root.st_uid:
        may = "its members use it" if sharing is Sharing.GROUP else "others may only read"
        return f"the project is shared with the group {group}, which you are not in: {may}"
    return f"only its owner may do that: run the same command as {user_name(status.st_uid)}"


def _status(place: Path) -> os.stat_result | None:
    try:
        return place.stat()
    except OSError:
        return None


def user_name(number: int) -> str:
    """The name of a user, or its number where the machine knows none."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"the user {number}"


def group_name(number: int) -> str:
    """The name of a group, or its number where the machine knows none."""
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
