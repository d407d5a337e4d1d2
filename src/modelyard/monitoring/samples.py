"""Reading samples: those in traffic.db and those still in the spool, from any disk."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project
from modelyard.monitoring.fold import fold
from modelyard.monitoring.rollups import insert_earlier, insert_rollups
from modelyard.monitoring.traffic_db import TRAFFIC, folded_bytes, insert_samples
from modelyard.records.sample import FIELDS, Sample
from modelyard.records.spool import hold_segment, read_batch

_AT_ONCE = 20_000
_IDS_AT_ONCE = 500


def read_samples(
    project: Project,
    *,
    since_ms: int | None = None,
    until_ms: int | None = None,
    filters: Mapping[str, str | int | None] | None = None,
) -> Iterator[Sample]:
    """The samples from `since_ms` on and before `until_ms`, in the order of their time.

    `filters` names fields of Sample, each with the value that it must have. Everything that was
    recorded before the first is read is found, also on a disk that is read-only or full.
    Raises ModelyardError when traffic.db is damaged or was written by a newer modelyard.
    """
    bounds = {"answered_at_ms >= ?": since_ms, "answered_at_ms < ?": until_ms}
    conditions: dict[str, str | int | None] = {
        text: bound for text, bound in bounds.items() if bound is not None
    }
    for name, value in (filters or {}).items():
        if name not in FIELDS:
            raise ValueError(f"a sample has no {name}")
        conditions[f"{name} IS ?"] = value
    query = (
        f"SELECT {', '.join(FIELDS)} FROM samples WHERE {' AND '.join(conditions) or 'true'} "
        "ORDER BY answered_at_ms"
    )
    with open_traffic(project) as traffic:
        for row in traffic.execute(query, tuple(conditions.values())):
            yield Sample(**dict(zip(FIELDS, row, strict=True)))


def find_answers(project: Project, answer_ids: Iterable[str]) -> dict[str, Sample]:
    """The samples of these answers, by their ids; those that are not recorded are left out.

    Raises ModelyardError as `read_samples` does.
    """
    wanted = list(dict.fromkeys(answer_ids))
    found: dict[str, Sample] = {}
    with open_traffic(project) as traffic:
        for start in range(0, len(wanted), _IDS_AT_ONCE):
            some = wanted[start : start + _IDS_AT_ONCE]
            rows = traffic.execute(
                f"SELECT {', '.join(FIELDS)} FROM samples WHERE kind = 'answer' "
                f"AND answer_id IN ({', '.join('?' * len(some))})",
                some,
            )
            samples = (Sample(**dict(zip(FIELDS, row, strict=True))) for row in rows)
            found |= {sample.answer_id: sample for sample in samples}
    return found


@contextmanager
def open_traffic(project: Project) -> Iterator[sqlite3.Connection]:
    """A connection to read from; its `samples` and `rollups` have everything recorded so far.

    What lies in the spool is folded first; where the disk cannot be written, it is read beside
    traffic.db, and nothing is changed.
    """
    try:
        fold(project)
    except ModelyardError as error:
        with _open_with_spool(project, error) as traffic:
            yield traffic
        return
    if project.traffic_db.exists():
        with TRAFFIC.open(project) as traffic:
            yield traffic
    else:
        with TRAFFIC.connect_unwritable(project) as empty:
            assert empty is not None
            yield empty


@contextmanager
def _open_with_spool(project: Project, reason: ModelyardError) -> Iterator[sqlite3.Connection]:
    """`samples` and `rollups` as views of what is in traffic.db and what is in the spool.

    Raises `reason`, for which folding failed, when traffic.db cannot be read either.
    """
    with ExitStack() as held:
        # Held before traffic.db is read: until then, they may be folded and removed by others.
        holds = [hold_segment(path, to_remove=False) for path in project.traffic_segments]
        segments = [segment for hold in holds if (segment := held.enter_context(hold))]
        held.enter_context(TRAFFIC.errors(project))
        traffic = held.enter_context(TRAFFIC.connect_unwritable(project))
        if traffic is None:
            raise reason
        traffic.execute("PRAGMA temp_store = MEMORY")
        traffic.execute("BEGIN")  # places and samples of one state
        traffic.execute("CREATE TEMP TABLE pending AS SELECT * FROM main.samples WHERE false")
        traffic.execute(
            "CREATE TEMP TABLE pending_rollups AS SELECT * FROM main.rollups WHERE false"
        )
        insert_earlier(traffic, into="pending_rollups")
        for segment in segments:
            start, more = folded_bytes(traffic, segment.path.name), True
            while more:
                batch = read_batch(segment, start, most=_AT_ONCE)
                insert_samples(traffic, batch.samples, into="pending")
                insert_rollups(traffic, batch.samples, into="pending_rollups")
                start, more = batch.end, batch.end > start
        for name, pending in (("samples", "pending"), ("rollups", "pending_rollups")):
            traffic.execute(
                f"CREATE TEMP VIEW {name} AS SELECT * FROM main.{name} "
                f"UNION ALL SELECT * FROM {pending}"
            )
        yield traffic
