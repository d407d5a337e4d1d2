"""Where every file is: the only module that joins the project's paths.

A project is a folder that holds `configs/` and `models/`. Base weights lie outside, in the cache.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from modelyard.core.errors import InvalidInput

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_INDEX_FILE = re.compile(rf"({_NAME.pattern})(?:@([0-9a-f]{{8}}))?\.index")


def is_name(text: str) -> bool:
    """Whether `text` may name an adapter, a dataset and the like, and is safe as a file name."""
    return _NAME.fullmatch(text) is not None and ".." not in text


def check_name(name: str, kind: str) -> str:
    """Return `name` if it is safe as a file name; `kind` ("adapter", "dataset") is for the error.

    Raises InvalidInput otherwise: nothing a user typed is joined to a path unchecked.
    """
    if is_name(name):
        return name
    raise InvalidInput(
        f"{name!r} is not a valid {kind} name",
        hint="use up to 64 of a-z, 0-9, '.', '_' and '-', starting with a letter or a digit",
    )


@dataclass(frozen=True, slots=True)
class IndexFile:
    """What the name of a search index's file says."""

    group: str
    """The embedding config that declares the index."""
    name: str
    """The name of the index there."""
    digest: str | None
    """Identifies the settings that it was made with; None in names of 2026-11."""


def read_index_name(path: Path) -> IndexFile | None:
    """Index and settings of a file; None when no version of modelyard would name it so."""
    found = _INDEX_FILE.fullmatch(path.name)
    return IndexFile(path.parent.name, found[1], found[2]) if found else None


@dataclass(frozen=True, slots=True)
class Project:
    """The places of one project; `docs/architecture.md` draws them."""

    root: Path
    kept_in: Path | None = None
    """Where `models/` and `.models/` lie instead, of a folder that is searched and no project."""

    # configs/
    @property
    def configs(self) -> Path:
        return self.root / "configs"

    # datasets/
    @property
    def datasets(self) -> Path:
        return self.root / "datasets"

    def dataset(self, name: str) -> Path:
        return self.datasets / check_name(name, "dataset")

    # experiments/
    @property
    def experiments(self) -> Path:
        return self.root / "experiments"

    def experiment(self, name: str) -> Path:
        return self.experiments / check_name(name, "experiment")

    # models/
    @property
    def models(self) -> Path:
        return (self.kept_in or self.root) / "models"

    @property
    def bases(self) -> Path:
        return self.models / "base"

    def base_card(self, name: str) -> Path:
        return self.bases / check_name(name, "base model") / "MODEL_INFO.md"

    @property
    def versions(self) -> Path:
        return self.models / "versions"

    def adapter_versions(self, adapter: str) -> Path:
        return self.versions / check_name(adapter, "adapter")

    def adapter_version(self, adapter: str, number: int) -> Path:
        return self.adapter_versions(adapter) / str(number)

    def highest_number(self, adapter: str) -> Path:
        return self.adapter_versions(adapter) / ".highest-number"

    @property
    def trained(self) -> Path:
        return self.models / "trained"

    def trained_link(self, adapter: str) -> Path:
        return self.trained / check_name(adapter, "adapter")

    @property
    def embeddings(self) -> Path:
        return self.models / "embeddings"

    def search_index(self, group: str, name: str, digest: str) -> Path:
        """The file of an index with the settings that `digest` (8 hex digits) identifies."""
        return self._index_folder(group) / f"{check_name(name, 'search domain')}@{digest}.index"

    def former_search_index(self, group: str, name: str) -> Path:
        """The file of an index as versions of 2026-11 named it, one for all settings."""
        return self._index_folder(group) / f"{check_name(name, 'search domain')}.index"

    def _index_folder(self, group: str) -> Path:
        return self.embeddings / check_name(group, "embedding group")

    @property
    def search_indexes(self) -> list[Path]:
        """Every existing file of a search index."""
        return sorted(
            path for path in self.embeddings.glob("*/*.index") if not path.name.startswith(".")
        )

    # .models/
    @property
    def local_state(self) -> Path:
        return (self.kept_in or self.root) / ".models"

    @property
    def project_file(self) -> Path:
        """With whom the project is shared."""
        return self.local_state / "project.yaml"

    @property
    def state_db(self) -> Path:
        return self.local_state / "state.db"

    @property
    def traffic_db(self) -> Path:
        return self.local_state / "traffic.db"

    @property
    def answer_cache(self) -> Path:
        return self.local_state / "answer-cache.db"

    @property
    def audit_log(self) -> Path:
        return self.local_state / "audit.db"

    def audit_log_aside(self, name: str) -> Path:
        """An audit log that a restore set aside, since the one it put there is of another chain."""
        return self.local_state / f"audit-{check_name(name, 'audit log')}.db"

    @property
    def audit_logs_aside(self) -> list[Path]:
        """Those that are there."""
        return sorted(self.local_state.glob("audit-*.db"))

    @property
    def recorded_prompts(self) -> Path:
        return self.local_state / "recorded-prompts.db"

    def feedback_texts(self, name: str) -> Path:
        """What people wrote in feedback on an answer that it names by its id."""
        return self.local_state / "feedback-texts" / f"{check_name(name, 'file')}.json"

    @property
    def all_feedback_texts(self) -> list[Path]:
        """Every existing file of such texts."""
        return sorted(self.local_state.glob("feedback-texts/*.json"))

    def traffic_segment(self, name: str) -> Path:
        return self.local_state / "traffic-spool" / f"{check_name(name, 'segment')}.jsonl"

    @property
    def traffic_segments(self) -> list[Path]:
        """Every existing segment of the spool of samples."""
        return sorted(self.local_state.glob("traffic-spool/*.jsonl"))

    def test_run(self, number: int) -> Path:
        return self.local_state / "test-runs" / f"{number}.json"

    def incoming(self, adapter: str) -> Path:
        return self.local_state / "incoming" / check_name(adapter, "adapter")

    def deployed(self, environment: str) -> Path:
        return self.local_state / "deployed" / check_name(environment, "environment")

    def deployed_revision(self, environment: str, number: int) -> Path:
        check_name(environment, "environment")
        return self.local_state / "deployed" / ".revisions" / f"{environment}-{number}"

    @property
    def embedding_cache(self) -> Path:
        return self.local_state / "embedding-cache.db"

    @property
    def backups(self) -> Path:
        """The repository of snapshots when no other is named; on the same disk."""
        return self.local_state / "backups"

    @property
    def restores(self) -> Path:
        """What restores over the project put in place, and what they replaced."""
        return self.local_state / "restores"

    @property
    def restoring(self) -> Path:
        """A link to the restore whose files are being put in place; there only meanwhile."""
        return self.local_state / "restoring"

    @property
    def kept_verdicts(self) -> Path:
        """Files of verdicts on configs, one for each way of checking; they may be removed."""
        return self.local_state / "cache"

    @property
    def logs(self) -> Path:
        return self.local_state / "logs"

    def schedule_log(self, job: str) -> Path:
        """What a job of the crontab printed last; no `.log` or `.txt`, which would be indexed."""
        return self.logs / f"schedule-{check_name(job, 'job')}.out"

    def service_socket(self, environment: str) -> Path:
        """Where the service of an environment answers the commands of this machine."""
        name = f"serve-{check_name(environment, 'environment')}.sock"
        return self.local_state / "sockets" / name

    @property
    def versions_lock(self) -> Path:
        """Held by a backup alone, and together by all that remove versions."""
        return self.local_state / "locks" / "versions.lock"

    def lock(self, kind: str, name: str) -> Path:
        return self.local_state / "locks" / f"{kind}-{check_name(name, kind)}.lock"

    @property
    def folders(self) -> tuple[Path, ...]:
        """The project's own folders; beside them its root may hold anything."""
        return (self.configs, self.datasets, self.experiments, self.models, self.local_state)

    def is_in_version(self, path: Path) -> bool:
        """Whether a path is the folder of an adapter version, or in it."""
        parts = path.parts[len(self.versions.parts) :]
        return len(parts) > 1 and parts[1].isdigit() and self.versions in path.parents

    def is_confidential(self, path: Path) -> bool:
        """Whether a path holds what people wrote, which nobody reads who may not change it."""
        places = (
            *(self.answer_cache, self.recorded_prompts, self.audit_log),
            *(
                self.backups,
                self.restores,
                self.test_run(1).parent,
                self.feedback_texts("x").parent,
            ),
        )
        written = str(path)
        # What SQLite keeps beside a file is named after it.
        if path.parent == self.local_state and path.name.startswith("audit-"):
            return True
        return any(path == one or written.startswith((f"{one}/", f"{one}-")) for one in places)

    def written_path(self, text: str) -> Path:
        """The path that a config names: `~` is the user's home, relative paths start here."""
        try:
            path = Path(text).expanduser()
        except RuntimeError:  # `~name` of nobody
            path = Path(text)
        return (self.root / path).absolute()

    def show(self, path: Path) -> str:
        """`path` for messages: relative to the project when it lies inside."""
        text, root = str(path), str(self.root)
        return "." if text == root else text.removeprefix(f"{root}/")

    def contain(self, path: Path, kind: str) -> Path:
        """Return `path` resolved; refuses links out of the project and broken links."""
        try:
            resolved = path.resolve()
            with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                resolved.stat()  # since Python 3.13 a circle of links is resolved without a word
        except (OSError, RuntimeError) as error:
            raise InvalidInput(f"the {kind} {self.show(path)} is a broken link") from error
        if resolved.is_relative_to(self.root.resolve()):
            return resolved
        raise InvalidInput(
            f"the {kind} {self.show(path)} is a link that leaves the project (to {resolved})",
            hint="copy the files into the project, or give their real path",
        )


def find_project(start: Path | None = None) -> Project:
    """The project that `start` (default: `$MODELS_PROJECT`, else the current folder) lies in.

    Raises InvalidInput when no parent folder holds both `configs/` and `models/`.
    """
    chosen = (start or Path(os.environ.get("MODELS_PROJECT") or Path.cwd())).absolute()
    for folder in (chosen, *chosen.parents):
        if (folder / "configs").is_dir() and (folder / "models").is_dir():
            return Project(folder)
    raise InvalidInput(
        f"{chosen} is not inside a project (no folder above it holds configs/ and models/)",
        hint="make one (`models init DIR`), go into one, or name it (`models --project DIR ...`)",
    )


def cache_folder() -> Path:
    """Where base models lie, shared by all projects: `$MODELS_CACHE`, else the XDG cache folder."""
    if chosen := os.environ.get("MODELS_CACHE"):
        return Path(chosen).absolute()
    xdg = os.environ.get("XDG_CACHE_HOME")
    return (Path(xdg) if xdg else Path.home() / ".cache") / "modelyard"


def shared_lock(name: str) -> Path:
    """The lock of something that all projects of a user share."""
    return cache_folder() / "locks" / f"{check_name(name, 'lock')}.lock"


def searched_folders() -> Path:
    """Where the indexes of searched folders lie that are no projects, a folder for each."""
    return cache_folder() / "searched"
