"""A repository of the Hugging Face hub that holds one adapter: `hf://OWNER/NAME[@REVISION]`.

    adapter_model.safetensors ...        the files of a version, as PEFT loads them
    adapter_config.json                  the same, naming the base by its repository on the hub
    README.md                            what the hub shows
    modelyard/MANIFEST.json              the version
    modelyard/adapter_config.json        the version's own file
    modelyard/figures/<SHA-256>.json     figures recorded since it was registered

A push is one commit on `main`, and then the tag `v<number>`, which never moves: killed in between,
it is completed by the same push again. A pull makes of a revision a registry of one version in a
temporary folder, so that everything is checked as in any pull.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from modelyard.adapters.lora import CONFIG_NAME
from modelyard.adapters.manifest import MANIFEST_NAME, FileEntry, parse_manifest, require_intact
from modelyard.adapters.recorded import recorded_figures
from modelyard.adapters.registry.blobs import blob_key
from modelyard.adapters.registry.figures import missing_figures
from modelyard.adapters.registry.push import Push, as_remote
from modelyard.adapters.registry.record import (
    DamagedRegistry,
    RemoteVersion,
    manifest_problems,
)
from modelyard.adapters.registry.registry import Registry, VersionTaken, open_registry
from modelyard.adapters.stated_base import NAME_KEY
from modelyard.adapters.versions import AdapterVersion
from modelyard.core.errors import InvalidInput
from modelyard.core.files import sha256_file
from modelyard.core.json_reading import read_json_object
from modelyard.core.layout import Project
from modelyard.core.progress import Progress
from modelyard.core.wording import counted, megabytes
from modelyard.hub.client import HubFailed, asking_hub, hub_cache_folder, is_offline
from modelyard.records.modelref import ModelRef
from modelyard.weights.catalogue import HubSource, find_base

SCHEME = "hf://"

_ADDRESS = re.compile(
    r"hf://([A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})(?:@([\w./-]{1,255}))?/?", re.ASCII
)
_OURS = "modelyard"
_FIGURES = "figures"
_MAIN = "main"


@dataclass(frozen=True, slots=True)
class HubAddress:
    """A repository of models on the hub."""

    repo: str
    """Its name, `OWNER/NAME`."""
    revision: str | None
    """A branch, a tag or a commit."""


def parse_hub_address(address: str) -> HubAddress:
    """The repository that `hf://OWNER/NAME[@REVISION]` names. Raises InvalidInput."""
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise InvalidInput(
            f"{address!r} names no repository of the hub", hint="write hf://OWNER/NAME"
        )
    return HubAddress(found[1], found[2])


def push_to_hub(
    project: Project,
    version: AdapterVersion,
    address: str,
    *,
    progress: Progress,
    dry_run: bool = False,
) -> Push:
    """Store a version in a repository of the hub, which is made, private, if there is none.

    Raises HubFailed offline, without a login and when the hub refuses, VersionTaken when its number
    is another version's there, DamagedVersion.
    """
    where = parse_hub_address(address)
    if where.revision is not None:
        raise InvalidInput(
            f"{address!r} names a revision, and a push goes to {_MAIN}",
            hint=f"write {SCHEME}{where.repo}; the version gets the tag v{version.number}",
        )
    _require_network(address)
    local = as_remote(version)
    require_intact(version.path, version.manifest)

    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
    from huggingface_hub.errors import RepositoryNotFoundError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if get_token() is None:
        raise HubFailed(
            "there is no token of the hub",
            where=address,
            hint="run `hf auth login`, or set HF_TOKEN to one that may write",
        )
    disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    tag = f"v{version.number}"
    with asking_hub(where.repo, _MAIN) as endpoint:
        api = HfApi(endpoint=endpoint)
        try:
            refs = api.list_repo_refs(where.repo)
            there = set(api.list_repo_files(where.repo)) if refs.branches else set()
            exists = True
        except RepositoryNotFoundError:
            refs, there, exists = None, set(), False
    tags = {ref.name for ref in refs.tags} if refs else set()
    sent = _files_to_send(project, version, local)
    tagged = _digest_at(where.repo, tag) if tag in tags else None
    if tagged not in (None, local.digest):
        raise VersionTaken(
            f"{tag} is another version there", where=address, hint="nothing was overwritten"
        )
    is_new = tagged is None
    on_main = f"{_OURS}/{MANIFEST_NAME}" in there and _digest_at(where.repo, _MAIN) == local.digest
    missing = {name: data for name, data in sent.items() if not (on_main and name in there)}
    uploads = {name: entry for name, entry in version.manifest.files.items() if name in missing}
    done = Push(
        version=local,
        uploads=uploads,
        added=is_new,
        tags={tag: version.number} if is_new else {},
        figures={name: b"" for name in missing if f"/{_FIGURES}/" in name},
    )
    if dry_run or not (missing or is_new):
        return done
    size = megabytes(done.uploaded_bytes)
    progress.stage(f"push: {counted(len(missing), 'file')}, {size} of {version.name}")
    gone = [
        name for name in there if name not in sent and name.startswith(f"{_OURS}/") and not on_main
    ]
    with asking_hub(where.repo, _MAIN) as endpoint:
        if not exists:
            api.create_repo(where.repo, private=True, exist_ok=True)
        if missing:
            api.create_commit(
                where.repo,
                [
                    *(CommitOperationAdd(name, data) for name, data in missing.items()),
                    *(CommitOperationDelete(name) for name in gone),
                ],
                commit_message=f"Add {version.name}",
            )
        if is_new:
            api.create_tag(where.repo, tag=tag, revision=_MAIN, exist_ok=True)
    return done


def _files_to_send(
    project: Project, version: AdapterVersion, local: RemoteVersion
) -> Mapping[str, bytes | str]:
    """Everything of a version by its path in the repository: bytes, or the path of a file here."""
    files: dict[str, bytes | str] = {
        name: str(version.path / name) for name in version.manifest.files
    }
    config = read_json_object(version.path / CONFIG_NAME)
    config |= _base_on_hub(project, version) | {"task_type": "CAUSAL_LM"}
    files[CONFIG_NAME] = (json.dumps(config, indent=2) + "\n").encode()
    files["README.md"] = _readme(version, config.get(NAME_KEY)).encode()
    files[f"{_OURS}/{MANIFEST_NAME}"] = local.manifest_bytes
    files[f"{_OURS}/{CONFIG_NAME}"] = str(version.path / CONFIG_NAME)
    for key, data in missing_figures(None, local, recorded_figures(project, version)).items():
        files[f"{_OURS}/{_FIGURES}/{key.rpartition('/')[2]}"] = data
    return files


def _base_on_hub(project: Project, version: AdapterVersion) -> dict[str, str | None]:
    """The keys of adapter_config.json that let PEFT find the base on the hub, if it is there."""
    with suppress(InvalidInput):  # the project has no card of its base
        card = find_base(project, version.manifest.base.name)
        for source in card.sources:
            if isinstance(source, HubSource):
                return {NAME_KEY: source.repo, "revision": source.revision}
        if card.upstream:
            return {NAME_KEY: card.upstream, "revision": None}
    return {}


def _readme(version: AdapterVersion, base: object) -> str:
    is_repository = isinstance(base, str) and base.count("/") == 1
    front = ["library_name: peft", "tags: [lora]"]
    if is_repository:
        front.insert(0, f"base_model: {base}")
    lines = "\n".join(front)
    return (
        f"---\n{lines}\n---\n\n# {version.name}\n\nA LoRA adapter for `{base}`. How it was trained "
        "and evaluated is in TRAINING_INFO.md.\n"
    )


def _digest_at(repo: str, revision: str) -> str | None:
    """The SHA-256 of the manifest at a revision; None when there is none."""
    path = _download(repo, revision, f"{_OURS}/{MANIFEST_NAME}")
    if path is None:
        return None
    return sha256_file(path)


def _download(repo: str, revision: str, name: str) -> Path | None:
    """One file of a repository, in the hub's cache; None when the revision does not have it."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    with asking_hub(repo, revision) as endpoint:
        try:
            return Path(
                hf_hub_download(
                    repo,
                    name,
                    revision=revision,
                    cache_dir=hub_cache_folder(),
                    endpoint=endpoint,
                    local_files_only=is_offline(),
                )
            )
        except LocalEntryNotFoundError as error:
            if not is_offline():
                raise
            raise HubFailed(
                f"is not in the hub's cache ({hub_cache_folder()}), and this run is offline",
                where=f"{SCHEME}{repo}@{revision}/{name}",
                hint="run it once where there is a network, or unset HF_HUB_OFFLINE",
            ) from error
        except EntryNotFoundError:
            return None


@contextmanager
def hub_registry(reference: str, address: str) -> Iterator[tuple[Registry, RemoteVersion]]:
    """A registry with the one version that a reference means in a repository, and that version.

    `name@3` is the tag `v3` unless the address has a revision; `name` is what `main` holds. The
    registry lasts as long as the block. Raises InvalidInput when the revision holds no version of
    that name, HubFailed, DamagedRegistry.
    """
    where = parse_hub_address(address)
    named = ModelRef.parse(reference, kind="adapter")
    revision = where.revision or (f"v{named.version}" if named.version else _MAIN)
    shown = f"{SCHEME}{where.repo}@{revision}"
    found = _download(where.repo, revision, f"{_OURS}/{MANIFEST_NAME}")
    if found is None:
        raise InvalidInput(
            "holds no version that was pushed there by `models adapters push`",
            where=shown,
            hint=f"an adapter of PEFT is imported: `hf download {where.repo} --local-dir DIR`, "
            f"then `models adapters import DIR --name {named.name} --base-model BASE`",
        )
    data = found.read_bytes()
    manifest = parse_manifest(data, where=shown)
    if manifest.adapter != named.name or named.version not in (None, manifest.version):
        raise InvalidInput(
            f"holds {manifest.adapter}@{manifest.version}, not {reference}",
            where=shown,
            hint=f"pull {manifest.adapter}@{manifest.version}, or name another revision",
        )
    if problems := list(manifest_problems(manifest, manifest.adapter, manifest.version)):
        raise DamagedRegistry("holds an invalid manifest", where=shown, problems=problems)
    version = RemoteVersion(manifest.adapter, manifest.version, data, manifest)
    with TemporaryDirectory() as place:
        registry = open_registry(Path(place).as_uri(), make=True)
        assert registry is not None
        registry.prepare()
        commit = found.parent.parent.name  # the branch may move on meanwhile
        for name, entry in manifest.files.items():
            _place_blob(where.repo, commit, name, entry, Path(place))
        for name in _figures_at(where.repo, commit, found.parent / _FIGURES):
            figures = _download(where.repo, commit, f"{_OURS}/{_FIGURES}/{name}")
            key = f"adapters/{version.adapter}/figures/{version.number}/{name}"
            registry.store.create(key, figures.read_bytes() if figures else b"")
        yield registry, version


def _figures_at(repo: str, commit: str, cached: Path) -> list[str]:
    """The names of the figures of a commit; offline, of those that the hub's cache holds."""
    if is_offline():
        return sorted(path.name for path in cached.glob("*.json"))
    from huggingface_hub import HfApi

    with asking_hub(repo, commit) as endpoint:
        names = HfApi(endpoint=endpoint).list_repo_files(repo, revision=commit)
    found = (re.fullmatch(rf"{_OURS}/{_FIGURES}/([0-9a-f]{{64}}\.json)", name) for name in names)
    return sorted(match[1] for match in found if match)


def _place_blob(repo: str, revision: str, name: str, entry: FileEntry, store: Path) -> None:
    path = _download(repo, revision, f"{_OURS}/{name}" if name == CONFIG_NAME else name)
    if path is None:
        raise DamagedRegistry("is missing", where=f"{SCHEME}{repo}@{revision}/{name}")
    if sha256_file(path) != entry.sha256:
        raise DamagedRegistry(
            "was changed: its SHA-256 differs from the manifest",
            where=f"{SCHEME}{repo}@{revision}/{name}",
        )
    target = store / blob_key(entry.sha256)
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        try:
            os.link(path.resolve(), target)
        except OSError:  # another disk, or one without hard links
            shutil.copyfile(path, target)


def _require_network(address: str) -> None:
    if is_offline():
        raise HubFailed(
            "a push needs the network, and this run is offline",
            where=address,
            hint="unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE",
        )
