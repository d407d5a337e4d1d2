"""A drill: a snapshot is restored into a scratch folder and used, and nothing else is touched.

What cannot be tried on this machine, such as an answer without its base, is told as that: it
neither passes nor fails.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modelyard.access.audit_key import NoAuditKey
from modelyard.access.audit_reading import verify_audit
from modelyard.adapters.verify import verify_pointer, verify_version
from modelyard.adapters.versions import (
    active_number,
    list_adapters,
    load_version,
    version_numbers,
)
from modelyard.answering.answer import Answerer
from modelyard.answering.asked_model import load_asked
from modelyard.answering.request import Request
from modelyard.backup.chosen_items import Chosen, choose_items
from modelyard.backup.manifest import Item
from modelyard.backup.read_blobs import BlobReader
from modelyard.backup.repository import Repository
from modelyard.backup.restore import require_room, stage_items, staged_beside
from modelyard.chatdata.conversation import Message
from modelyard.configs.checking.check import check_configs
from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.core.errors import ModelyardError
from modelyard.core.files import disk_errors, sha256_file
from modelyard.core.layout import Project
from modelyard.core.progress import Progress
from modelyard.core.wording import counted
from modelyard.deployments.revisions import live_environments
from modelyard.deployments.running import running_snapshot
from modelyard.retrieval.index_file import open_index
from modelyard.retrieval.indexes import load_search_settings
from modelyard.retrieval.search import QueryLimits, Searcher
from modelyard.weights.local import locate_base

Verdict = Literal["passed", "failed", "not_tried"]
Step = Literal["files", "adapters", "configs", "indexes", "audit", "answer"]

QUESTION = "What is this for?"
_WORDS = 6
"""Words of a chunk that its index is searched for."""
_MOST_PROBLEMS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillStep:
    """One thing that was tried with the restored project."""

    step: Step
    """What was tried."""
    verdict: Verdict
    """How it went; `not_tried`: this machine or this snapshot has not what it needs."""
    detail: str
    """What was found, in words."""
    problems: tuple[str, ...]
    """What is wrong, 50 at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillResult:
    """A drill."""

    snapshot: str
    """The snapshot that was restored."""
    created_at: str
    """When it was made, UTC."""
    repository: str
    """The address of the repository."""
    ok: bool
    """Whether nothing failed."""
    steps: tuple[DrillStep, ...]
    """What was tried, in order."""
    files: int
    """How many files were restored."""
    bytes: int
    """Their size."""
    seconds: float
    """How long it took."""


def run_drill(
    repository: Repository,
    name: str,
    progress: Progress,
    *,
    scratch: Path | None = None,
) -> DrillResult:
    """Restore a snapshot into a scratch folder, try everything with it, and remove it again.

    scratch: the folder in which one is made; None: that of temporary files. Raises NoSpace when the
    snapshot does not fit there, and what `restore_to` raises.
    """
    began = time.monotonic()
    snapshot = repository.load_snapshot(name)
    reader = BlobReader(repository, repository.load_index())
    chosen = choose_items(snapshot, reader.read)
    folder = scratch or Path(tempfile.gettempdir())
    require_room(chosen, folder)
    final = folder / "modelyard-drill"
    with disk_errors(final), staged_beside(final) as root:
        stage_items(root, chosen, reader, progress, snapshot)
        steps = tuple(_try_all(Project(root), chosen, progress))
    return DrillResult(
        snapshot=snapshot.id,
        created_at=snapshot.created_at,
        repository=repository.store.url,
        ok=all(step.verdict != "failed" for step in steps),
        steps=steps,
        files=chosen.files,
        bytes=chosen.bytes,
        seconds=time.monotonic() - began,
    )


_Outcome = tuple[str, list[str]]
"""What was found in words, and what is wrong."""


class _NotTried(Exception):
    """This machine or this snapshot has not what a step needs; its text says what."""


def _try_all(project: Project, chosen: Chosen, progress: Progress) -> Iterator[DrillStep]:
    progress.stage("drill: compare every file")
    yield _step(project, "files", lambda: _compare_files(project, chosen))
    progress.stage("drill: verify the adapters")
    yield _step(project, "adapters", lambda: _verify_adapters(project, progress))
    progress.stage("drill: load the configs of every environment")
    yield _step(project, "configs", lambda: _load_configs(project))
    progress.stage("drill: search every index")
    yield _step(project, "indexes", lambda: _search_indexes(project))
    progress.stage("drill: verify the audit log")
    yield _step(project, "audit", lambda: _verify_audit(project))
    progress.stage("drill: answer a question")
    yield _step(project, "answer", lambda: _answer(project, progress))


def _step(
    project: Project,
    step: Step,
    attempt: Callable[[], _Outcome],
) -> DrillStep:
    try:
        detail, problems = attempt()
    except _NotTried as error:
        return DrillStep(step=step, verdict="not_tried", detail=str(error), problems=())
    except ModelyardError as error:
        detail, problems = "it could not be done", [str(error)]
    return DrillStep(
        step=step,
        verdict="failed" if problems else "passed",
        detail=detail,
        # Paths are those of the project: the scratch folder is gone when they are read.
        problems=tuple(each.replace(f"{project.root}/", "") for each in problems[:_MOST_PROBLEMS]),
    )


def _compare_files(project: Project, chosen: Chosen) -> _Outcome:
    """Read every file back from the disk."""
    wrong = [item.path for item in chosen.items if not _is_as_stored(project, item)]
    found = set(project.root.rglob("*"))
    more = found - {project.root / item.path for item in chosen.items}
    problems = [f"{path} is not what was backed up" for path in wrong]
    problems += [f"{project.show(place)} should not be there" for place in sorted(more)]
    return f"{counted(chosen.files, 'file')} compared by their SHA-256", problems


def _is_as_stored(project: Project, item: Item) -> bool:
    place = project.root / item.path
    if item.kind == "link":
        return place.is_symlink() and str(place.readlink()) == item.target
    if place.is_symlink() or (place.lstat().st_mode & 0o777) != item.mode & 0o777:
        return False
    return place.is_dir() if item.kind == "folder" else sha256_file(place) == item.sha256


def _verify_adapters(project: Project, progress: Progress) -> _Outcome:
    names = list_adapters(project)
    problems, count, without = [], 0, set()
    for name in names:
        problems += [f"{name}: {each.message}" for each in verify_pointer(project, name)]
        for number in version_numbers(project, name):
            count += 1
            try:
                version = load_version(project, name, number)
                base = locate_base(project, version.manifest.base.name, progress=progress)
                if base is None:
                    without.add(version.manifest.base.name)
                found = verify_version(project, version, base)
                problems += [f"{version.name}: {each.message}" for each in found]
            except ModelyardError as error:
                problems.append(f"{name}@{number}: {error.message}")
    if not count:
        raise _NotTried("the snapshot holds no version of an adapter")
    detail = f"{counted(count, 'version')} of {counted(len(names), 'adapter')} verified"
    if without:
        detail += f"; their fit was not checked without {', '.join(sorted(without))}"
    return detail, problems


def _load_configs(project: Project) -> _Outcome:
    catalogue = ConfigCatalogue(project)
    live = live_environments(project)
    report = check_configs(catalogue, catalogue.paths(), live=live)
    problems = [
        f"{each.where}: {each.message}" for each in report.findings if each.level == "error"
    ]
    for environment in dict.fromkeys((DEFAULT_ENVIRONMENT, *live)):
        try:
            running_snapshot(project, environment)
        except ModelyardError as error:
            problems.append(f"{environment}: {error}")
    names = dict.fromkeys((*catalogue.environments.names, *live))
    files = counted(len(report.files), "config")
    return f"{files} loaded in {', '.join(names)}", problems


def _search_indexes(project: Project) -> _Outcome:
    paths = project.search_indexes
    if not paths:
        raise _NotTried("the snapshot holds no index: `models backup --include-embeddings` adds it")
    declared = _declared_indexes(project)
    problems, searched, empty = [], 0, 0
    for path in paths:
        try:
            words = _words_in(path)
            empty += not words
            if words and path in declared:
                environment, label = declared[path]
                with closing(Searcher(project, environment=environment)) as searcher:
                    limits = QueryLimits(local_only=True)
                    found = searcher.search(words, indexes=[label], rerank=False, limits=limits)
                searched += 1
                if not found.results:
                    problems.append(f"{project.show(path)}: its own words find nothing")
        except ModelyardError as error:
            problems.append(f"{project.show(path)}: {error.message}")
    detail = f"{counted(len(paths), 'index', 'indexes')} read, {searched} searched"
    others = len(paths) - searched - empty - len(problems)
    detail += f", {empty} empty" if empty else ""
    return detail + (f", {others} in no config" if others > 0 else ""), problems


def _declared_indexes(project: Project) -> dict[Path, tuple[str, str]]:
    """By its file, an environment that declares an index, and what it is called there."""
    found: dict[Path, tuple[str, str]] = {}
    for environment in dict.fromkeys((DEFAULT_ENVIRONMENT, *live_environments(project))):
        for label, index in load_search_settings(project, environment).indexes.items():
            found.setdefault(index.readable_path, (environment, label))
    return found


def _words_in(path: Path) -> str:
    """The first words of some chunk of an index, which is read in full; empty where it has none."""
    with open_index(path) as reader:
        reader.check()
        for file in reader.files():
            if chunks := reader.chunks_of_file(file.id):
                return " ".join(chunks[0].text.split()[:_WORDS])
    return ""


def _verify_audit(project: Project) -> _Outcome:
    """Check every seal of the audit log, where this user has its key."""
    if not project.audit_log.exists():
        raise _NotTried("the snapshot holds no audit log")
    try:
        head = verify_audit(project)
    except NoAuditKey as error:
        raise _NotTried(f"{error.message}: {error.where}") from error
    return f"{counted(head.count, 'row')} verified, up to {head}", []


def _answer(project: Project, progress: Progress) -> _Outcome:
    """Ask a local model: an active adapter whose base is here; nothing leaves the machine."""
    without = set()
    for name in list_adapters(project):
        number = active_number(project, name)
        if number is None:
            continue
        base = load_version(project, name, number).manifest.base.name
        if locate_base(project, base, progress=progress) is None:
            without.add(base)
            continue
        effective = load_asked(project, DEFAULT_ENVIRONMENT, model=f"adapter:{name}")
        request = Request(
            messages=(Message("user", QUESTION),),
            use_fallback=False,
            use_cache=False,
            is_test=True,
        )
        with Answerer(project) as answerer:
            answer = answerer.answer(effective, request)
        problems = [] if answer.text.strip() else [f"{name} answered nothing"]
        return f"{name}@{number} answered {len(answer.text.split())} words", problems
    if without:
        raise _NotTried(f"without {', '.join(sorted(without))}: `models base pull` fetches it")
    raise _NotTried("the snapshot holds no active adapter")
