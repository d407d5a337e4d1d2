"""How a version was made: of which base and data, with which settings, by which program.

A manifest and a card keep it. Does not know versions or files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A base model or a dataset, by name and by content."""

    name: str
    """Its name in the project."""
    fingerprint: str
    """`sha256:<hex>` of its content when the version was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """How one version was made."""

    run_key: str
    """Identifies the run that made it: registering a run twice gives the same version."""
    org: str | None = None
    """The organisation whose data it was trained on."""
    base: Origin
    """The base model it was trained on and fits."""
    data: Origin
    """The dataset it was trained on."""
    template_hash: str
    """The hash of the chat template it was trained with."""
    spec: Mapping[str, Any]
    """The settings of the run, resolved."""
    packages: Mapping[str, str]
    """Versions of the packages that made it."""
    code_commit: str | None = None
    """The git commit of this program, when it ran from a checkout."""
    machine: Mapping[str, Any]
    """The machine that made it, and what `auto` settings became on it."""
    parent: str | None = None
    """The version it continues from, such as `techcorp-demo@3`."""
