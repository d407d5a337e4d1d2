"""The reader in docs/backup-format.md, run as a user would."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from backup_projects import back_up, make_project, repository_at, tree_of, write_index
from modelyard.core.layout import Project

PAGE = Path(__file__).parents[2] / "docs" / "backup-format.md"


def test_forty_lines_of_python_restore_a_snapshot(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    (project.configs / "empty").touch()
    (project.configs / "caf\udce9.yaml").write_text("not UTF-8")
    write_index(project.search_index("docs", "large", "0123abcd"), rows=6_000, row_bytes=3_000)
    (project.models / "large").write_bytes(bytes(17 << 20))
    repository = repository_at(tmp_path / "repository")
    back_up(project, repository)
    back_up(project, repository)
    (found,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(found.splitlines()) < 60
    reader = tmp_path / "reader.py"
    reader.write_text(found)
    subprocess.run(
        [sys.executable, str(reader), str(repository.store.folder), str(tmp_path / "back")],
        check=True,
        timeout=60,
    )
    back = Project(tmp_path / "back")
    assert tree_of(back) == tree_of(project)
    for place in project.root.rglob("*.yaml"):
        again = back.root / place.relative_to(project.root)
        assert again.stat().st_mtime_ns == place.stat().st_mtime_ns
