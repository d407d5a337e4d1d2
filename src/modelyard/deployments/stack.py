"""The history of an environment read as a stack: where a rollback or an undo goes back to.

Deploying, removing and switching add a revision to it. An undo takes the last one off, and a
rollback restores the stack as it was then. So a second one goes back one more step, never forward.
"""

from __future__ import annotations

from collections.abc import Sequence

from modelyard.deployments.revisions import Action, Revision


def read_stack(history: Sequence[Revision], *, pushing: Sequence[Action]) -> list[Revision]:
    """The revisions in effect, the newest last.

    history: every revision of an environment, oldest first. pushing: the actions that add one.
    """
    stacks: dict[int, list[Revision]] = {}
    stack: list[Revision] = []
    for revision in history:
        if revision.action in pushing:
            stack = [*stack, revision]
        elif revision.action == "undo":
            stack = stack[:-1]
        elif revision.action == "rollback":
            stack = stacks.get(revision.from_revision or 0, [])
        stacks[revision.number] = stack
    return stack


def rollback_stack(history: Sequence[Revision]) -> list[Revision]:
    """What is live, last, and before it what the next rollbacks go to, the first one nearest."""
    return read_stack(history, pushing=("deploy", "remove", "switch", "undo"))
