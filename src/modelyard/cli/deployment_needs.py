"""What must be done after a deployment: search indexes whose file does not exist yet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from modelyard.core.layout import Project
from modelyard.core.wording import visible_line
from modelyard.deployments.deploy import DeploymentResult
from modelyard.deployments.plan import Plan
from modelyard.results.json_form import published

_MOST_SHOWN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownDeployment:
    """A deployment, and what it needs before everything works that it names."""

    result: DeploymentResult = field(metadata=published(inline=True))
    """What changed."""
    missing_indexes: tuple[str, ...]
    """GROUP/NAME of each search index of the changed configs that has no file yet, so that nothing
    is found there."""
    needs: str | None
    """The command that makes these indexes, once this is live; null when none is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a deployment needs."""

    missing_indexes: tuple[str, ...] = ()
    """GROUP/NAME of each search index without a file."""
    command: str | None = None
    """The command that makes them; None when none is missing."""

    def lines(self) -> Iterator[str]:
        """For people; none when nothing is needed."""
        if self.command is not None:
            names = ", ".join(self.missing_indexes[:_MOST_SHOWN])
            more = len(self.missing_indexes) - _MOST_SHOWN
            names += f" and {more:,} more" if more > 0 else ""
            yield visible_line(f"needs: {self.command}  (no index yet: {names})")


def find_needs(project: Project, plan: Plan) -> Needs:
    """What a plan needs, looked up now; reads nothing when it changes no embedding config."""
    prefix = "embedding_models/"
    changed = [
        change.config
        for change in plan.configs
        if change.config.startswith(prefix) and change.change in ("added", "changed")
    ]
    if not changed:
        return Needs()
    from modelyard.retrieval.indexes import missing_indexes, update_command

    groups = {label.removeprefix(prefix): plan.after.settings(label) for label in changed}
    missing = missing_indexes(project, groups)
    if not missing:
        return Needs()
    return Needs(
        missing_indexes=missing, command=update_command([], plan.preconditions.environment)
    )
