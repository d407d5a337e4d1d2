"""Whose an adapter version is, also while its manifest is damaged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modelyard.adapters.manifest import DamagedVersion
from modelyard.adapters.versions import CARD_NAME, load_version
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project
from modelyard.settings.cards import load_card


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a version is."""

    org: str | None
    """The organisation that it belongs to; None: to nobody."""
    base: str
    """The base that it changes."""


def find_owner(project: Project, adapter: str, number: int) -> Owner:
    """Whose a version is: by its manifest, or by its card where the manifest cannot be read.

    The card only says who is told of the damage: nothing is loaded without a manifest.
    Raises DamagedVersion where neither can be read.
    """
    try:
        manifest = load_version(project, adapter, number).manifest
    except DamagedVersion:
        owner = _by_card(project, adapter, number)
        if owner is None:
            raise
        return owner
    return Owner(manifest.org, manifest.base.name)


def _by_card(project: Project, adapter: str, number: int) -> Owner | None:
    folder = project.adapter_version(adapter, number)
    if folder.is_symlink() or (folder / CARD_NAME).is_symlink():
        return None
    try:
        front: dict[str, Any] = load_card(folder / CARD_NAME).front.value
    except InvalidInput:
        return None
    named, base, org = front.get("adapter"), front.get("base"), front.get("org")
    base_name = base.get("name") if isinstance(base, dict) else None
    if named != adapter or not isinstance(base_name, str) or not isinstance(org, str | None):
        return None
    return Owner(org, base_name)
