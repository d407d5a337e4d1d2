"""What the check of one file found, and what that hangs on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modelyard.configs.checking.view import Question
from modelyard.core.errors import Diagnostic


@dataclass(frozen=True, slots=True)
class SecretPlace:
    """One place that refers to a secret or to an endpoint."""

    reference: str
    """`env:NAME` or `file:PATH`."""
    where: str
    """`file:line:col`."""
    is_endpoint: bool
    """Whether it is the URL of an endpoint, which may be shown."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the check of one file found."""

    path: Path
    """The file."""
    findings: tuple[Diagnostic, ...]
    """What was found; nothing of it quotes a secret."""
    secrets: tuple[SecretPlace, ...]
    """The secrets and endpoints that it refers to."""
    asked: frozenset[Question]
    """What was asked about more than the file."""
