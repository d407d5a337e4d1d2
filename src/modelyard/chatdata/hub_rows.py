"""Files of rows in a data set on the Hugging Face hub: `hf://datasets/OWNER/NAME`.

Knows which files of a repository hold the rows to train on. They land in the hub client's own
cache; does not know what is in them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from modelyard.chatdata.reading import ACCEPTED_FILES, is_data_file
from modelyard.core.errors import InvalidInput, did_you_mean
from modelyard.core.progress import Progress
from modelyard.core.wording import counted
from modelyard.hub.client import HubFailed, asking_hub, hub_cache_folder, is_offline

HUB_PREFIX = "hf://"
_ADDRESS = re.compile(
    r"hf://datasets/(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/@\s]+))?(?:/(?P<path>[^\s]+?))?/?"
)
_MAIN = "main"
_METADATA = ("dataset_info.json", "dataset_infos.json", "config.json", "state.json")
_TRAIN = re.compile(r"(?:^|[/_.-])train(?:ing)?(?=[/_.\d-]|$)", re.IGNORECASE)
_OTHER_SPLIT = re.compile(
    r"(?:^|[/_.-])(?:test|testing|val|valid|validation|dev|eval|evaluation)(?=[/_.\d-]|$)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class HubDataset:
    """What an address names."""

    repo: str
    """The repository, `OWNER/NAME`."""
    revision: str
    """A branch, a tag or a commit."""
    path: str | None
    """A file or a folder in it; None for the whole data set."""

    @property
    def address(self) -> str:
        """The address without a path, and without the revision `main`."""
        revision = "" if self.revision == _MAIN else f"@{self.revision}"
        return f"{HUB_PREFIX}datasets/{self.repo}{revision}"


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file that was fetched."""

    path: Path
    """Where it lies in the hub's cache."""
    shown: str
    """Its address, which messages and the card show."""


def parse_address(address: str) -> HubDataset:
    """What an address names. Raises InvalidInput for any other text."""
    found = _ADDRESS.fullmatch(address)
    if not found or ".." in address:
        raise InvalidInput(
            "is no address of a data set",
            where=address,
            hint="write hf://datasets/OWNER/NAME, with @REVISION and /FILE where they are needed",
        )
    return HubDataset(found["repo"], found["revision"] or _MAIN, found["path"])


def fetch_hub_files(address: str, progress: Progress) -> list[HubFile]:
    """The files of rows that an address names, fetched; offline, from the hub's cache.

    Raises InvalidInput when it names none or too many, HubFailed when they cannot be had.
    """
    wanted = parse_address(address)
    if is_offline():
        folder = _cached_folder(wanted)
        names = [
            path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
        ]
        chosen = choose_files(sorted(names), wanted)
        return [HubFile(folder / name, f"{wanted.address}/{name}") for name in chosen]

    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    with asking_hub(f"datasets/{wanted.repo}", wanted.revision) as endpoint:
        api = HfApi(endpoint=endpoint)
        commit = api.dataset_info(wanted.repo, revision=wanted.revision).sha or wanted.revision
        names = api.list_repo_files(wanted.repo, revision=commit, repo_type="dataset")
    chosen = choose_files(sorted(names), wanted)
    files: list[HubFile] = []
    for name in chosen:
        progress.stage(f"download: {name} of {wanted.address}")
        with asking_hub(f"datasets/{wanted.repo}", wanted.revision) as endpoint:
            path = hf_hub_download(
                wanted.repo,
                name,
                repo_type="dataset",
                # Given the branch's name, the client also records which commit it is at.
                revision=wanted.revision,
                cache_dir=hub_cache_folder(),
                endpoint=endpoint,
            )
        files.append(HubFile(Path(path), f"{wanted.address}/{name}"))
    return files


def choose_files(names: Sequence[str], wanted: HubDataset) -> list[str]:
    """The files of rows to train on, out of all files of a repository.

    Without a path, that is the training split where files are named after splits. Raises
    InvalidInput when there is no file of rows, or when several data sets lie side by side.
    """
    rows = [
        name
        for name in names
        if is_data_file(name) and PurePosixPath(name).name not in _METADATA and name[0] != "."
    ]
    if wanted.path is not None:
        below = [name for name in rows if name == wanted.path or _is_below(name, wanted.path)]
        if not below:
            raise InvalidInput(
                f"has no file of rows '{wanted.path}'{did_you_mean(wanted.path, rows)}",
                where=wanted.address,
                hint=_list_files(rows),
            )
        return below
    if not rows:
        raise InvalidInput(
            "holds no file of rows", where=wanted.address, hint=f"read are {ACCEPTED_FILES}"
        )
    train = [name for name in rows if _TRAIN.search(name)]
    others = [name for name in rows if name not in train and _OTHER_SPLIT.search(name)]
    chosen = train or [name for name in rows if name not in others] or rows
    # A split or its shards may be a folder of their own; anything else is a data set of its own.
    places = {(_without_split(name), PurePosixPath(name).suffix) for name in chosen}
    if len(places) > 1:
        raise InvalidInput(
            f"holds {counted(len(chosen), 'file')} of rows that may not belong together",
            where=wanted.address,
            hint=f"name one, or a folder: {wanted.address}/FILE. {_list_files(chosen)}",
        )
    return chosen


def _is_below(name: str, folder: str) -> bool:
    return name.startswith(f"{folder.rstrip('/')}/")


def _without_split(name: str) -> str:
    """The name without its split, its digits and its suffix: equal for shards of one data set."""
    plain = re.sub(r"\d+|[-_.]of(?=[-_.\d])", "", _TRAIN.sub("", name))
    return re.sub(r"[-_.]+", "", plain.removesuffix("".join(PurePosixPath(name).suffixes)))


def _list_files(names: Sequence[str]) -> str:
    more = f" and {len(names) - 10:,} more" if len(names) > 10 else ""
    return f"there are {', '.join(names[:10]) or 'none'}{more}"


def _cached_folder(wanted: HubDataset) -> Path:
    """The data set's snapshot in the hub's cache. Raises HubFailed when it holds none."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import IncompleteSnapshotError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                wanted.repo,
                repo_type="dataset",
                revision=wanted.revision,
                cache_dir=hub_cache_folder(),
                local_files_only=True,
            )
        )
    except IncompleteSnapshotError as error:
        return Path(str(error.snapshot_path))
    except LocalEntryNotFoundError as error:
        raise HubFailed(
            f"is not in the hub's cache ({hub_cache_folder()}), and this run is offline",
            where=wanted.address,
            hint="run it once where there is a network, or unset HF_HUB_OFFLINE",
        ) from error
