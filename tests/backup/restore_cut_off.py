"""A restore cut off at its calls, in a process of its own: obstore's threads survive no fork.

    python restore_cut_off.py new|in-place|undo kill|fail FOLDER

FOLDER holds what the test laid down: `project` as it is now, `then` as it was backed up, the
repository `backups`. Counted are the calls that tests/killed.py counts, and each request to the
store. This process itself only looks at files.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, cast

from hand_made_snapshots import Content, contents_of
from killed import interruptions, run_whole
from modelyard.backup.in_place import restore_in_place, undo_restore
from modelyard.backup.repository import Repository, open_repository
from modelyard.backup.restore import restore_to
from modelyard.backup.swap import complete_restore
from modelyard.core.files import STAGING_PREFIX
from modelyard.core.layout import Project
from modelyard.core.progress import Silent
from modelyard.stores.store import ObjectStore

How = Literal["kill", "fail"]


class CountedClient:
    """A client of a store whose every call can be the one at which the process dies or fails."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            # killed.py counts this event; here it stands for a call that is not Python's.
            sys.audit("os.rename", "", "", -1, -1)
            return call(*arguments, **options)

        return counted


def counted_repository(folder: Path) -> Repository:
    plain = open_repository((folder / "backups").as_uri(), Project(folder))
    store = plain.store
    counted = ObjectStore(store.url, cast(Any, CountedClient(store.client)), store.folder)
    return Repository(store=counted, id=plain.id)


def files(project: Project) -> Mapping[str, Content]:
    return {
        path: content
        for path, content in contents_of(project).items()
        if not path.endswith(".db") and not path.startswith(f".models/{STAGING_PREFIX}")
    }


def state(project: Project) -> tuple[Any, ...]:
    """The rows that a restore brings back, and how often it was recorded."""
    with closing(sqlite3.connect(project.state_db)) as connection:
        moves = connection.execute("SELECT adapter, to_version FROM pointer_moves ORDER BY 1, 2")
        spent = connection.execute("SELECT nano_usd FROM spending").fetchall()
        return (*moves.fetchall(), *spent)


def recorded(project: Project) -> int:
    with closing(sqlite3.connect(project.state_db)) as connection:
        query = "SELECT count(*) FROM backup_runs WHERE kind = 'restore'"
        return int(connection.execute(query).fetchone()[0])


def cut_off_new(folder: Path, how: How) -> int:
    work_folder = folder / "work"
    new, then = Project(work_folder / "new"), contents_of(Project(folder / "then"))

    def work() -> None:
        restore_to(counted_repository(folder), "latest", new.root, Silent())

    work_folder.mkdir()
    number = 0
    for number in interruptions(work, how):
        if not new.root.exists():
            run_whole(work)
        names = {place.name for place in work_folder.iterdir()}
        # What was tried of the file system is removed later, by whoever tries it next.
        assert {name for name in names if not name.endswith("-probe")} == {"new"}, number
        assert contents_of(new) == then, number
        shutil.rmtree(new.root)
    return number


def cut_off_in_place(folder: Path, how: How, *, undo: bool) -> int:
    project, before = Project(folder / "project"), folder / "before"

    def restore() -> None:
        restore_in_place(project, counted_repository(folder), "latest", Silent())

    def work() -> None:
        undo_restore(project) if undo else restore()

    start = files(project)
    now = state(project)
    if undo:
        run_whole(restore)
    shutil.copytree(project.root, before, symlinks=True)
    first = files(project), state(project), recorded(project)
    run_whole(work)
    last = files(project), state(project), recorded(project)
    assert last[0] == (start if undo else files(Project(folder / "then")))
    assert first[0] != last[0]
    assert first[1] != last[1] or undo
    assert last[2] == first[2] + 1
    assert not undo or last[1][: len(now)] == now
    number = 0
    for number in _from_start(interruptions(work, how), project, before):
        # The next command, whatever it is.
        run_whole(lambda: complete_restore(project))
        assert not project.restoring.is_symlink(), number
        found = files(project), state(project), recorded(project)
        assert found in (first, last), number
        if found == first:
            run_whole(work)
            assert (files(project), state(project), recorded(project)) == last, number
            assert not list(project.local_state.glob(f"{STAGING_PREFIX}*")), number
        homes = list(project.restores.iterdir())
        assert all(not (home / "new").exists() for home in homes) or found == last, number
    return number


def _from_start(numbers: Any, project: Project, before: Path) -> Any:
    """The numbers; the project is as in `before` again ahead of each run."""

    def reset() -> None:
        shutil.rmtree(project.root)
        shutil.copytree(before, project.root, symlinks=True)

    reset()
    for number in numbers:
        yield number
        reset()


if __name__ == "__main__":
    action, how, place = sys.argv[1:]
    if action == "new":
        calls = cut_off_new(Path(place), cast(How, how))
    else:
        calls = cut_off_in_place(Path(place), cast(How, how), undo=action == "undo")
    print(f"{action} {how}: the last call was {calls}")
