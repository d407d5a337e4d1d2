"""Bases on this machine: the folder of each, and whether its files are still the recorded ones.

For every source that was fetched the cache has a folder with a BASE.json: the fingerprint, and
size, time and SHA-256 of each file. Converted weights are in a folder beside it; a hub snapshot or
a folder of the user's is used where it is. Finding a base reads that record, file sizes and weight
headers, so it takes milliseconds. Nothing here uses the network.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from modelyard.core.clock import utc_now
from modelyard.core.errors import Diagnostic, ModelyardError
from modelyard.core.files import sha256_file, write_json
from modelyard.core.json_reading import InvalidJson, read_json, read_json_object
from modelyard.core.layout import Project, cache_folder, check_name
from modelyard.core.progress import Progress, Silent
from modelyard.core.wording import megabytes
from modelyard.weights.catalogue import (
    BaseCard,
    BaseSource,
    HubSource,
    PathSource,
    WheelSource,
    find_base,
)
from modelyard.weights.files import (
    BASE_FILES,
    GRID_NAME,
    UnreadableWeights,
    base_files,
    fingerprint_weights,
    missing_parts,
    read_tensor_entries,
    weight_files,
)

RECORD_NAME = "BASE.json"

_CONVERSION = 1
"""Increase this when convert.py writes other files from the same GGUF: they are rebuilt then."""


class BaseDamaged(ModelyardError):
    """Files of a base are missing or changed since they were recorded."""

    def __init__(self, name: str, problems: Iterable[Diagnostic]) -> None:
        super().__init__(
            f"the files of base '{name}' are damaged",
            hint=f"run `models base pull {name} --force` to fetch and build it again",
            problems=problems,
        )


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What was recorded about one file of a base."""

    size_bytes: int
    """Its size."""
    mtime_ns: int
    """When it was last changed; at another time its bytes are read again."""
    sha256: str
    """The SHA-256 of its bytes."""


@dataclass(frozen=True, slots=True)
class LocalBase:
    """A base that is available locally, with all its files."""

    name: str
    """Its name in the catalogue."""
    path: Path
    """The folder with config.json, the safetensors files and the tokenizer's files."""
    fingerprint: str
    """`sha256:<hex>` of the weights; adapters record it."""
    size_bytes: int
    """The size of its files."""
    source: str
    """The source it came from, in words."""
    files: Mapping[str, FileFacts] = field(default_factory=dict, repr=False)
    """What was recorded about each file, by name."""

    @property
    def has_grid(self) -> bool:
        """Whether the integers of four bits that its weights were made from are kept too."""
        return GRID_NAME in self.files

    @property
    def may_lack_grid(self) -> bool:
        """Whether it was made from a GGUF file, and none of the integers of that are here.

        An earlier version kept none, and some files have none of four bits.
        """
        return self.source.startswith("wheel ") and not self.has_grid

    def context_length(self) -> int | None:
        """The most tokens that its config.json says it takes; None when it does not say."""
        config = read_json_object(self.path / "config.json")
        length = config.get("text_config", config).get("max_position_embeddings")
        return length if isinstance(length, int) else None


def locate_base(
    project: Project, name: str, *, progress: Progress | None = None, remember: bool = True
) -> LocalBase | None:
    """The base if it is available locally, from the first of its sources that is; no network.

    A folder seen for the first time (a `path` source, or a snapshot in the hub's own cache) is read
    for its fingerprint: once, or each time with `remember` off, when nothing is written.
    Raises BaseDamaged when files are not what was recorded.
    """
    card = find_base(project, name)
    for source in card.sources:
        if found := _locate_source(project, card, source, progress or Silent(), remember=remember):
            return found
    return None


def verify_base(base: LocalBase) -> None:
    """Read every byte again. Raises BaseDamaged with each file that differs from the record."""
    problems = [
        Diagnostic(message=message, where=str(base.path / file))
        for file, facts in sorted(base.files.items())
        if (message := _difference(base.path / file, facts))
    ]
    if problems:
        raise BaseDamaged(base.name, problems)


def base_cache(name: str) -> Path:
    """The cache folder of one base."""
    return cache_folder() / "bases" / check_name(name, "base model")


def record_folder(project: Project, name: str, source: BaseSource) -> Path:
    """The cache folder of one source of a base: its record and, for a wheel, its converted files.

    Projects share the cache, and may use one name for different bases, so the folder is named after
    the content of the source.
    """
    match source:
        case WheelSource():
            kind, identity = "wheel", f"{source.file_sha256} {_CONVERSION}"
        case HubSource():
            kind, identity = "hub", f"{source.repo}@{source.revision}"
        case PathSource():
            kind, identity = "path", str(source.folder(project).resolve())
    return base_cache(name) / f"{kind}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"


def _locate_source(
    project: Project,
    card: BaseCard,
    source: BaseSource,
    progress: Progress,
    *,
    remember: bool,
) -> LocalBase | None:
    """The base of this source, if it is available locally."""
    home = record_folder(project, card.name, source)
    folder: Path | None = None
    if isinstance(source, PathSource):
        folder = source.folder(project)
        known = _load_record(card.name, home, forgiving=True)
        if (
            known is not None
            and not missing_parts(folder)
            and _has_recorded_times(known)
            and set(known.files) == set(base_files(folder))
        ):
            return known
    else:
        known = _load_record(card.name, home)
        if known is not None and known.path.is_dir():
            return _checked(known, home, remember=remember)
        if isinstance(source, HubSource):
            from modelyard.weights.hub import cached_snapshot

            folder = cached_snapshot(source, BASE_FILES)
    if folder is None or missing_parts(folder):
        return None
    base = _read_base(card.name, folder, str(source), progress)
    return _remember(home, base) if remember else base


def _remember(home: Path, base: LocalBase) -> LocalBase:
    # A cache that cannot be written is no error: the base is read again next time.
    with contextlib.suppress(ModelyardError, OSError):
        _write_record(home, base)
    return base


def record_base(name: str, folder: Path, home: Path, source: str, progress: Progress) -> LocalBase:
    """Read every byte of the base in `folder`, and store its record in `home`.

    Raises UnreadableWeights when its weights are truncated.
    """
    base = _read_base(name, folder, source, progress)
    _write_record(home, base)
    return base


def _read_base(name: str, folder: Path, source: str, progress: Progress) -> LocalBase:
    for weights in weight_files(folder):
        read_tensor_entries(weights)
    files: dict[str, FileFacts] = {}
    names = base_files(folder)
    size_bytes = sum((folder / file).stat().st_size for file in names)
    progress.stage(f"fingerprint: {megabytes(size_bytes)} of {name}, once")
    for file in names:
        found = (folder / file).stat()
        files[file] = FileFacts(found.st_size, found.st_mtime_ns, sha256_file(folder / file))
    return LocalBase(name, folder, fingerprint_weights(folder), size_bytes, source, files)


def _write_record(home: Path, base: LocalBase) -> None:
    write_json(
        home / RECORD_NAME,
        {
            "name": base.name,
            "source": base.source,
            "path": base.path.name if base.path.parent == home else str(base.path),
            "fingerprint": base.fingerprint,
            "size_bytes": base.size_bytes,
            "files": {name: asdict(facts) for name, facts in base.files.items()},
            "recorded_at": utc_now(),
        },
    )


def _load_record(name: str, home: Path, *, forgiving: bool = False) -> LocalBase | None:
    path = home / RECORD_NAME
    if not path.exists():
        return None
    try:
        record = read_json(path)
        return LocalBase(
            name=name,
            path=home / record["path"],
            fingerprint=record["fingerprint"],
            size_bytes=record["size_bytes"],
            source=record["source"],
            files={file: FileFacts(**facts) for file, facts in record["files"].items()},
        )
    except (InvalidJson, KeyError, TypeError, AttributeError) as error:
        if forgiving:
            return None
        raise BaseDamaged(
            name, [Diagnostic(message="is not a readable record", where=str(path))]
        ) from error


def _has_recorded_times(base: LocalBase) -> bool:
    """Whether every file has the size and time that were recorded."""
    try:
        found = {name: (base.path / name).stat() for name in base.files}
    except OSError:
        return False
    return all(
        (found[name].st_size, found[name].st_mtime_ns) == (facts.size_bytes, facts.mtime_ns)
        for name, facts in base.files.items()
    )


def _checked(base: LocalBase, home: Path, *, remember: bool) -> LocalBase:
    """The base, if its files are the recorded ones and its weights have complete headers."""
    if not _has_recorded_times(base):
        # A copied cache has new times and the same bytes; read them once and remember the times.
        verify_base(base)
        files = {
            name: replace(facts, mtime_ns=(base.path / name).stat().st_mtime_ns)
            for name, facts in base.files.items()
        }
        base = replace(base, files=files)
        if remember:
            _remember(home, base)
    try:
        for file in weight_files(base.path):
            read_tensor_entries(file)
    except UnreadableWeights as error:
        raise BaseDamaged(base.name, error.diagnostics()) from error
    return base


def _difference(path: Path, facts: FileFacts) -> str | None:
    try:
        size = path.stat().st_size
        if size != facts.size_bytes:
            return f"has {size:,} bytes, and {facts.size_bytes:,} were recorded"
        return None if sha256_file(path) == facts.sha256 else "has other bytes than were recorded"
    except OSError as error:
        return f"cannot read: {error.strerror}"
