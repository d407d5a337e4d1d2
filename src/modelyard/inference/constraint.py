"""Answers that must keep to a form, such as a JSON schema: which tokens may be next in each row.

Knows no grammar: who asks brings one, and how far its answer has come in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from modelyard.core.errors import ModelyardError


class NothingAllowed(ModelyardError):
    """A constraint lets no token follow, not even one that ends the answer."""


class Constraint(Protocol):
    """What one answer may be, and how far it has come. The thread that computes calls it.

    Where a method raises a ModelyardError, that ends the answer, and no other.
    """

    def allowed(self) -> Tensor | None:
        """Which tokens may be next, by their ids: bool [n]; None for all.

        Tokens from n on are not. Where the answer may end, one of the ids that end it is.
        """

    def advance(self, token: int) -> None:
        """Go on by a token that was chosen. One that ends the answer is not told."""


def allowed_next(constraint: Constraint | None) -> Tensor | None:
    """What a constraint allows now: bool [n]; None where it allows all, or there is none.

    Raises NothingAllowed, and what the constraint raises.
    """
    allowed = None if constraint is None else constraint.allowed()
    if allowed is not None and not bool(allowed.any()):
        raise NothingAllowed(
            "no token may follow in this answer",
            where="constraint",
            hint="let its form end where the answer may",
        )
    return allowed


def restrict(logits: Tensor, allowed: Sequence[Tensor | None]) -> Tensor:
    """Logits of minus infinity where a row's token is not allowed, else as they are.

    logits: float32 [n, v].  allowed: of each row, as `allowed_next` gives it.
    """
    if all(own is None for own in allowed):
        return logits
    hidden = torch.zeros(logits.shape, dtype=torch.bool)
    for row, own in zip(hidden, allowed, strict=True):
        if own is not None:
            row[: len(own)] = ~own[: len(row)]
            row[len(own) :] = True
    return logits.masked_fill(hidden.to(logits.device), -torch.inf)
