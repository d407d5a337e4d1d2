"""What a registry holds: its adapters, their versions and tags. Only records are read."""

from __future__ import annotations

from dataclasses import dataclass

from modelyard.adapters.registry.record import DamagedRegistry
from modelyard.adapters.registry.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteTag:
    """A tag, and the version that it points to."""

    name: str
    """The tag."""
    version: int | None
    """The number of the version; None where the tag is damaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteAdapter:
    """One adapter of a registry."""

    name: str
    """Its name."""
    versions: tuple[int, ...]
    """The numbers of its versions, ascending."""
    deleted: tuple[int, ...]
    """The numbers of those that were deleted."""
    tags: tuple[RemoteTag, ...]
    """Its tags, by name; those that were removed are left out."""
    damaged: tuple[int, ...]
    """The numbers of the versions whose record is damaged; their files are not looked at."""


def list_registry(registry: Registry) -> tuple[RemoteAdapter, ...]:
    """Every adapter of a registry, by name."""
    return tuple(
        RemoteAdapter(
            name=adapter,
            versions=(numbers := tuple(registry.numbers(adapter))),
            deleted=tuple(registry.deleted_numbers(adapter)),
            tags=list_tags(registry, adapter),
            damaged=tuple(n for n in numbers if _is_damaged(registry, adapter, n)),
        )
        for adapter in registry.adapters()
    )


def _is_damaged(registry: Registry, adapter: str, number: int) -> bool:
    try:
        registry.record(adapter, number)
    except DamagedRegistry:
        return True
    return False


def list_tags(registry: Registry, adapter: str) -> tuple[RemoteTag, ...]:
    """The tags of an adapter, by name."""
    found = []
    for tag in registry.tags(adapter):
        try:
            number = registry.tag(adapter, tag)
        except DamagedRegistry:
            found.append(RemoteTag(name=tag, version=None))
            continue
        if number is not None:
            found.append(RemoteTag(name=tag, version=number))
    return tuple(found)
