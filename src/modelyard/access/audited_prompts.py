"""The prompts in the audit log, which can be removed: the rows and their seals stay."""

from __future__ import annotations

from modelyard.access.audit_reading import reading_audit
from modelyard.access.audit_rows import AUDIT_DB
from modelyard.core.layout import Project

_OF_IT = "number IN (SELECT number FROM entries WHERE organisation = ?)"


def count_audited(project: Project, organisation: str) -> tuple[int, int]:
    """How many rows of the audit log are of an organisation, and how many of them have a prompt."""
    with reading_audit(project) as log:
        if log is None:
            return 0, 0
        rows = "SELECT count(*) FROM entries WHERE organisation = ?"
        prompts = f"SELECT count(*) FROM prompts WHERE {_OF_IT}"
        found = [log.execute(query, (organisation,)).fetchone()[0] for query in (rows, prompts)]
        return found[0], found[1]


def organisations_with_prompts(project: Project) -> tuple[str, ...]:
    """The organisations that have prompts in the audit log."""
    with reading_audit(project) as log:
        query = "SELECT DISTINCT organisation FROM entries JOIN prompts USING (number)"
        names = log.execute(query).fetchall() if log is not None else []
        return tuple(name for (name,) in names if name is not None)


def forget_audited_prompts(project: Project, organisation: str) -> int:
    """Remove the prompts of an organisation, so that their text is nowhere in the file; how many.

    The rows still verify, and say of each prompt only a salted digest whose salt is gone. Raises
    ModelyardError when the file cannot be written, or another process reads what was deleted.
    """
    query = f"DELETE FROM prompts WHERE {_OF_IT}"
    return AUDIT_DB.delete_for_good(project, (query, (organisation,)))
