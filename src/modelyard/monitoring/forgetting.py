"""Forgetting an organisation: its samples, in traffic.db and in the spool.

Lines of the spool are overwritten by spaces where they stand, since others may append to a segment
at the same time, and how much of it is folded must stay true. Readers pass over empty lines.
"""

from __future__ import annotations

from modelyard.core.layout import Project
from modelyard.monitoring.fold import fold
from modelyard.monitoring.samples import open_traffic
from modelyard.monitoring.traffic_db import TRAFFIC
from modelyard.records.spool import blank_lines


def count_samples(project: Project, organisation: str) -> int:
    """How many samples of answers an organisation has, those of single calls not counted."""
    query = "SELECT count(*) FROM samples WHERE organisation = ? AND kind = 'answer'"
    with open_traffic(project) as traffic:
        return int(traffic.execute(query, (organisation,)).fetchone()[0])


def organisations_with_samples(project: Project) -> list[str]:
    """The organisations that samples are of, those in the spool included."""
    fold(project)
    query = "SELECT DISTINCT organisation FROM samples WHERE organisation IS NOT NULL"
    with open_traffic(project) as traffic:
        return [row[0] for row in traffic.execute(query)]


def forget_samples(project: Project, organisation: str) -> int:
    """Remove all samples of an organisation, and its turns in the limits; how many answers.

    Samples that are recorded meanwhile stay. Again after it was interrupted, it completes. Raises
    ModelyardError when the files cannot be written.
    """
    fold(project)
    # Only then from traffic.db: what others fold meanwhile, they fold before it is blank.
    for path in project.traffic_segments:
        blank_lines(path, organisation)
    values = {"name": organisation, "scope": f"/organisation/{organisation}"}
    of_scope = "substr(scope, -length(:scope)) = :scope"
    return TRAFFIC.delete_for_good(
        project,
        ("DELETE FROM samples WHERE organisation = :name AND kind = 'answer'", values),
        ("DELETE FROM samples WHERE organisation = :name", values),
        ("DELETE FROM rollups WHERE organisation = :name", values),
        (f"DELETE FROM turns WHERE {of_scope}", values),
        (f"DELETE FROM holds WHERE {of_scope}", values),
    )
