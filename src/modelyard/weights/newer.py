"""Whether the hub has newer revisions of the bases than their cards name; nothing is fetched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from modelyard.hub.client import HubFailed, asking_hub, is_offline
from modelyard.weights.catalogue import BaseCard, HubSource
from modelyard.weights.files import BASE_FILES

if TYPE_CHECKING:
    from huggingface_hub import HfApi

RevisionState = Literal["current", "newer", "unpinned", "no revision", "not asked"]
"""
current: no file of the base is another one in the newest revision.
newer: some are.
unpinned: the card names a branch, so it has what is newest when it is fetched.
no revision: the weights come from the hub by another way, which says no revision of it.
not asked: the hub was not reached, or has not got it.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseRevision:
    """The revision of a base, compared with the newest one on the hub."""

    base: str
    """The base."""
    repo: str | None
    """Its repository on the hub; null where its card names none."""
    revision: str | None
    """The revision that the card names; null for none."""
    newest: str | None
    """The newest commit; null where it is not known."""
    newest_at: str | None
    """When that was made, UTC; null where it is not known."""
    changed: tuple[str, ...]
    """The files of the base that are others, new or gone in the newest commit."""
    state: RevisionState
    """What is known of it."""
    said: str
    """The same in words."""


def check_revisions(cards: Mapping[str, BaseCard]) -> Iterator[BaseRevision]:
    """Ask the hub for the newest revision of each base, in the order of the cards."""
    for card in cards.values():
        hub = next((source for source in card.sources if isinstance(source, HubSource)), None)
        if hub is None:
            said = (
                f"it is not fetched from {card.upstream}, so it has no revision of it"
                if card.upstream
                else "its card names no repository on the hub"
            )
            yield _revision(card, card.upstream, None, "no revision", said)
        elif not hub.is_pinned:
            said = f"its card names {hub.revision}; a commit would keep it as it is"
            yield _revision(card, hub.repo, hub.revision, "unpinned", said)
        elif is_offline():
            said = "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set"
            yield _revision(card, hub.repo, hub.revision, "not asked", said)
        else:
            yield _ask(card, hub)


def _ask(card: BaseCard, source: HubSource) -> BaseRevision:
    from huggingface_hub import HfApi

    try:
        with asking_hub(source.repo, source.revision) as endpoint:
            api = HfApi(endpoint=endpoint)
            info = api.model_info(source.repo)
            newest = info.sha or ""
            at = f"{info.last_modified:%Y-%m-%dT%H:%M:%SZ}" if info.last_modified else None
            before = _files(api, source.repo, source.revision)
            after = before if newest == source.revision else _files(api, source.repo, newest)
    except HubFailed as error:
        return _revision(card, source.repo, source.revision, "not asked", error.message)
    changed = tuple(sorted(name for name in before | after if before.get(name) != after.get(name)))
    state: RevisionState = "current"
    if changed:
        state, said = "newer", f"other files: {', '.join(changed)}"
    elif newest == source.revision:
        said = "it is the newest revision"
    else:
        said = "a newer revision has the same files"
    return BaseRevision(
        base=card.name,
        repo=source.repo,
        revision=source.revision,
        newest=newest or None,
        newest_at=at,
        changed=changed,
        state=state,
        said=said,
    )


def _files(api: HfApi, repo: str, commit: str) -> dict[str, str]:
    """The hash of each file of a base in a commit, by its path."""
    from huggingface_hub.hf_api import RepoFile

    return {
        entry.path: entry.lfs.sha256 if entry.lfs else entry.blob_id
        for entry in api.list_repo_tree(repo, revision=commit, recursive=True)
        if isinstance(entry, RepoFile) and BASE_FILES.matches(entry.path)
    }


def _revision(
    card: BaseCard, repo: str | None, revision: str | None, state: RevisionState, said: str
) -> BaseRevision:
    return BaseRevision(
        base=card.name,
        repo=repo,
        revision=revision,
        newest=None,
        newest_at=None,
        changed=(),
        state=state,
        said=said,
    )
