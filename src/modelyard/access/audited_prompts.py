"""The prompts in audit logs, which can be removed: the rows and their seals stay.

In the project's log, and in those that restores have set aside.
"""

from __future__ import annotations

from modelyard.access.audit_reading import reading_audit
from modelyard.access.audit_rows import audit_logs
from modelyard.core.layout import Project

_OF_IT = "number IN (SELECT number FROM entries WHERE organisation = ?)"


def count_audited(project: Project, organisation: str) -> tuple[int, int]:
    """How many rows of the audit log are of an organisation, and how many of them have a prompt."""
    rows = "SELECT count(*) FROM entries WHERE organisation = ?"
    prompts = f"SELECT count(*) FROM prompts WHERE {_OF_IT}"
    found = [0, 0]
    for each in audit_logs(project):
        with reading_audit(project, each) as log:
            for place, query in enumerate((rows, prompts) if log is not None else ()):
                assert log is not None
                found[place] += log.execute(query, (organisation,)).fetchone()[0]
    return found[0], found[1]


def organisations_with_prompts(project: Project) -> tuple[str, ...]:
    """The organisations that have prompts in the audit log."""
    query = "SELECT DISTINCT organisation FROM entries JOIN prompts USING (number)"
    found: dict[str, None] = {}
    for each in audit_logs(project):
        with reading_audit(project, each) as log:
            names = log.execute(query).fetchall() if log is not None else []
            found |= dict.fromkeys(name for (name,) in names if name is not None)
    return tuple(found)


def forget_audited_prompts(project: Project, organisation: str) -> int:
    """Remove the prompts of an organisation, so that their text is nowhere in the file; how many.

    The rows still verify, and say of each prompt only a salted digest whose salt is gone. Raises
    ModelyardError when the file cannot be written, or another process reads what was deleted.
    """
    query = f"DELETE FROM prompts WHERE {_OF_IT}"
    forget = (query, (organisation,))
    return sum(each.delete_for_good(project, forget) for each in audit_logs(project))
