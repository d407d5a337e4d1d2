"""The Hugging Face hub: snapshots of repositories, in the hub client's own cache.

Bases and encoders are fetched by the same functions; `FilePatterns` says which files of a
repository they need. A snapshot is used where the client puts it, shared with everything else on
the machine, and an interrupted download continues. `HF_ENDPOINT`, `HF_HOME` and `HF_TOKEN` count.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.core.files import folder_size_bytes, require_free_space, sha256_file
from modelyard.core.progress import Progress
from modelyard.core.wording import megabytes
from modelyard.hub.client import HubFailed, asking_hub, hub_cache_folder
from modelyard.weights.catalogue import HubSource
from modelyard.weights.download import SourceFailed, showing_growth
from modelyard.weights.files import FilePatterns

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoFile


def cached_snapshot(source: HubSource, files: FilePatterns) -> Path | None:
    """The snapshot folder, if the hub's cache holds all of it; no network."""
    if not _repo_cache(source).is_dir():
        return None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import IncompleteSnapshotError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                source.repo,
                revision=source.revision,
                cache_dir=hub_cache_folder(),
                allow_patterns=list(files.wanted),
                ignore_patterns=list(files.unwanted),
                local_files_only=True,
            )
        )
    except (LocalEntryNotFoundError, IncompleteSnapshotError):
        return None


def download_snapshot(
    source: HubSource,
    files: FilePatterns,
    *,
    name: str,
    progress: Progress,
    offline: bool,
    force: bool = False,
    download_bytes: int | None = None,
) -> Path:
    """The snapshot folder, after downloading what it lacks. The lock of `name` must be held.

    `name` is of the base or encoder, and part of the names of unfinished files. With `force`, files
    in the cache are compared with the hub's hashes and fetched again where they differ.
    Raises SourceFailed with the reason.
    """
    if offline:
        raise SourceFailed(
            f"is not in the hub's cache ({hub_cache_folder()}), and this run is offline",
            hint=f"where there is a network, run `hf download {source.repo} --revision "
            f"{source.revision}`, and bring {_repo_cache(source).name} into that folder",
        )
    blobs = _repo_cache(source) / "blobs"
    size = ""
    if download_bytes:
        require_free_space(
            blobs, max(0, download_bytes - folder_size_bytes(blobs)), f"pulling {name}"
        )
        size = f", {megabytes(download_bytes)}"
    progress.stage(f"download: {source.repo} from the hub{size}")
    with (
        showing_growth(blobs, progress, label="download", total_bytes=download_bytes),
        _asking(source) as endpoint,
    ):
        return _download(source, files, endpoint, name, force)


def _repo_cache(source: HubSource) -> Path:
    return hub_cache_folder() / f"models--{source.repo.replace('/', '--')}"


def _download(
    source: HubSource, files: FilePatterns, endpoint: str, name: str, force: bool
) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.hf_api import RepoFile
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    api = HfApi(endpoint=endpoint)
    # Also asked when the commit is known: without a network it fails at once, where the client
    # tries the next request for half a minute.
    commit = api.model_info(source.repo, revision=source.revision).sha or source.revision
    entries = [
        entry
        for entry in api.list_repo_tree(source.repo, revision=commit, recursive=True)
        if isinstance(entry, RepoFile) and files.matches(entry.path)
    ]
    blobs = _repo_cache(source) / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    for entry in entries:
        if force and not _is_whole(blobs, entry):
            (blobs / entry.blob_id).unlink(missing_ok=True)
        if entry.lfs is not None:
            _download_large(source, endpoint, commit, entry, blobs, name, force)
    return Path(
        snapshot_download(
            source.repo,
            # Given the branch's name, the client also records which commit it is at.
            revision=source.revision,
            cache_dir=hub_cache_folder(),
            allow_patterns=[entry.path for entry in entries],
            endpoint=endpoint,
        )
    )


def _is_whole(blobs: Path, entry: RepoFile) -> bool:
    """Whether the file in the cache has the bytes that the hub announces."""
    blob = blobs / (entry.lfs.sha256 if entry.lfs else entry.blob_id)
    if not blob.exists():
        return False
    if entry.lfs:
        return sha256_file(blob) == entry.lfs.sha256
    data = blob.read_bytes()
    # The hub names small files as git does.
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest() == entry.blob_id


def _download_large(
    source: HubSource,
    endpoint: str,
    commit: str,
    entry: RepoFile,
    blobs: Path,
    name: str,
    force: bool,
) -> None:
    """Put one large file into the hub's cache, continuing where an earlier process stopped.

    The client itself continues after a broken connection, and starts again in each process
    (huggingface_hub 2.4.0, `_download_to_tmp_and_move`): gigabytes, for weights.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    assert entry.lfs is not None
    blob = blobs / entry.lfs.sha256
    if blob.exists() and (not force or _is_whole(blobs, entry)):
        return
    # Named after the model, whose lock is held: two models of one repository never share it.
    partial = blobs / f"{entry.lfs.sha256}.{name}.incomplete"
    with partial.open("ab") as stream:
        if stream.tell() > entry.size:
            stream.truncate(0)
        http_get(
            hf_hub_url(source.repo, entry.path, revision=commit, endpoint=endpoint),
            stream,
            resume_size=stream.tell(),
            headers=build_hf_headers(),
            expected_size=entry.size,
        )
    if sha256_file(partial) != entry.lfs.sha256:
        partial.unlink()
        raise SourceFailed(
            f"{entry.path} arrived with another SHA-256 than the hub announces",
            hint="run the same command again; it was not kept",
        )
    partial.replace(blob)


@contextmanager
def _asking(source: HubSource) -> Iterator[str]:
    """Give the block the hub's endpoint; what goes wrong there becomes a SourceFailed."""
    try:
        with asking_hub(source.repo, source.revision) as endpoint:
            yield endpoint
    except HubFailed as error:
        raise SourceFailed(error.message, hint=error.hint) from error
