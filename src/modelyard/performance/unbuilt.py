"""Checks whose questions can find nothing, known before the first request is made."""

from __future__ import annotations

from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project
from modelyard.performance.plan import Plan


def note_unbuilt(project: Project, plan: Plan) -> list[str]:
    """In sentences, which checks of a run will not be scored, since none of their indexes is built.

    Of the domains that answer only from what is found; others answer without. What is wrong with
    the configs of the indexes is left to the answers, which say it.
    """
    unsearched: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for job in plan.jobs:
        retrieval = job.effective.retrieval
        if job.part == "cases" and retrieval is not None and retrieval.required:
            key = (job.effective.environment, retrieval.domains)
            checks = unsearched.setdefault(key, [])
            if job.case.check.name not in checks:
                checks.append(job.case.check.name)
    return [
        f"{', '.join(checks)}: not scored without an index: `{command}` makes what is missing"
        for (environment, domains), checks in unsearched.items()
        if (command := _command(project, environment, domains)) is not None
    ]


def _command(project: Project, environment: str, domains: tuple[str, ...]) -> str | None:
    """What builds the indexes of these domains; None where one is built, or nobody knows."""
    from modelyard.retrieval.indexes import choose_indexes, load_indexes, update_command

    try:
        chosen = choose_indexes(load_indexes(project, environment), domains)
    except ModelyardError:
        return None
    if not chosen or any(index.readable_path.exists() for index in chosen):
        return None
    return update_command([index.label for index in chosen], environment)
