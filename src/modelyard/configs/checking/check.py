"""The check of configs: YAML, shape, meaning, secrets; every finding of every file in one go.

Nothing is executed, no file is changed, and no file outside the configs is read but cards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from modelyard.configs.checking.finding import CheckReport, Finding, SecretUse, finding_of
from modelyard.configs.checking.meaning import Check, load_check
from modelyard.configs.checking.meaning.mistake import Mistake
from modelyard.configs.checking.meaning.overlays import check_overlays
from modelyard.configs.checking.meaning.references import check_references
from modelyard.configs.checking.scene import Scene, Shelf, kind_word
from modelyard.configs.checking.secrets import find_secret_use, mask_secrets, secret_findings
from modelyard.configs.kinds import ENVIRONMENTS
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.configs.reading.document import Document, written_where
from modelyard.configs.reading.references import secret_references
from modelyard.configs.reading.shape import Shaped
from modelyard.core.errors import ModelyardError, Problem

_MOST_BYTES = 1_000_000
"""A larger file is refused whole; nothing in it is looked at."""


def check_configs(
    catalogue: ConfigCatalogue,
    paths: Sequence[Path],
    *,
    environments: tuple[str, ...] = ENVIRONMENTS,
    strict: bool = False,
) -> CheckReport:
    """Check config files, as they are in each of the environments.

    A file outside the yard's configs/ is checked as if it stood in for the one of its name.
    `strict` asks the published JSON Schema as well. Findings are sorted by file and line, each
    once; one that is not of every environment says of which it is.
    """
    chosen = list(dict.fromkeys(path.absolute() for path in paths))
    shelf = Shelf(catalogue, chosen, environments)
    scenes = [Scene(shelf, environment) for environment in environments]
    findings: list[Finding] = []
    uses: dict[tuple[str, str], SecretUse] = {}
    files = tuple(shelf.yard.show(path) for path in chosen)
    for path, file in zip(chosen, files, strict=True):
        findings += _check_text(path, file)
        document = _read(path, file, catalogue, findings)
        if document is not None:
            findings += _check_document(document, shelf, scenes, strict)
            for use in _secret_uses(document, shelf):
                uses.setdefault((use.reference, use.where), use)
    return CheckReport(
        files=files,
        findings=tuple(_sorted(findings)),
        secrets=tuple(sorted(uses.values())),
    )


def _check_text(path: Path, file: str) -> Iterator[Finding]:
    """Secrets anywhere in a file: in a value, a key or a remark, whether it is valid or not."""
    if not path.is_file():  # a pipe would never end
        return
    try:
        with path.open("rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
    except OSError:
        return
    if len(data) <= _MOST_BYTES:
        text = data.decode("utf-8-sig", "replace")
        yield from secret_findings(text, file)


def _read(
    path: Path, file: str, catalogue: ConfigCatalogue, findings: list[Finding]
) -> Document | None:
    try:
        document = catalogue.read(path)
    except ModelyardError as error:
        whole = Problem(message=error.message, where=error.where, hint=error.hint)
        findings += [finding_of(one, file) for one in error.problems or (whole,)]
        return None
    findings += [finding_of(one, file, level="warning") for one in document.source.warnings]
    return document


def _check_document(
    document: Document, shelf: Shelf, scenes: Sequence[Scene], strict: bool
) -> Iterator[Finding]:
    shown = document.source.name
    shaped = shelf.shaped(document)
    for problem in shaped.problems:
        yield finding_of(problem, shown)
    for mistake in check_overlays(document):
        yield _finding(mistake, document.source.where(mistake.path), shown)
    yield from _check_name(document, shelf)
    yield from _check_meaning(document, shaped, scenes)
    if strict and not shaped.problems:
        from modelyard.configs.checking.second_judge import refusals

        for mistake in refusals(document, shaped):
            yield _finding(mistake, document.source.where(mistake.path), shown)


def _check_name(document: Document, shelf: Shelf) -> Iterator[Finding]:
    kind = document.kind.name
    namesakes = shelf.paths_named(kind, document.name)
    others = [path.name for path in namesakes if path != document.path]
    if others:
        what = f"another {kind_word(kind)} called '{document.name}'"
        mistake = Mistake(
            ("name",),
            "duplicate-name",
            f"there is {what}, and only one of them would be found: {', '.join(others)}",
            hint="give one of them another `name:`",
        )
        yield _finding(mistake, document.source.where(mistake.path), document.source.name)


def _check_meaning(
    document: Document, shaped: Shaped, scenes: Sequence[Scene]
) -> Iterator[Finding]:
    """What is wrong in each environment; what is wrong in all of them is said once."""
    check = load_check(document.kind.name)
    found: dict[Finding, list[str]] = {}
    for scene in scenes:
        settings = shaped.settings.get(scene.environment)
        if settings is None:
            continue
        where = None
        for mistake in _mistakes(settings, document, scene, check):
            where = where or written_where(document, scene.environment)
            finding = _finding(mistake, where(mistake.path), document.source.name)
            found.setdefault(finding, []).append(scene.environment)
    for finding, environments in found.items():
        if len(set(environments)) == len(shaped.settings):
            yield finding
        else:
            yield _in_environments(finding, list(dict.fromkeys(environments)))


def _mistakes(settings: Any, document: Document, scene: Scene, check: Check) -> Iterator[Mistake]:
    yield from check_references(settings, scene)
    yield from check(settings, document.name, scene)


def _in_environments(finding: Finding, environments: Sequence[str]) -> Finding:
    return replace(finding, message=f"{finding.message} (in {' and '.join(environments)})")


def _finding(mistake: Mistake, where: str, shown: str) -> Finding:
    problem = Problem(message=mistake.message, where=where, hint=mistake.hint, rule=mistake.rule)
    return finding_of(problem, shown, level=mistake.level)


def _secret_uses(document: Document, shelf: Shelf) -> Iterator[SecretUse]:
    for environment, settings in shelf.shaped(document).settings.items():
        for reference in secret_references(settings):
            where = written_where(document, environment)(reference.path)
            yield find_secret_use(shelf.yard, reference.target, where)


def _sorted(findings: Iterable[Finding]) -> list[Finding]:
    """Each finding once, by its place, with nothing in it that looks like a secret."""
    shown = {
        (one.file, one.line, one.column, one.level, one.rule, one.message): one for one in findings
    }
    return [
        replace(one, message=mask_secrets(one.message), hint=one.hint and mask_secrets(one.hint))
        for _, one in sorted(shown.items(), key=lambda item: item[0])
    ]
