"""The check of configs: YAML, shape, meaning, secrets; every finding of every file in one go.

Nothing is executed, no file is changed, and no file outside the configs is read but cards.
"""

from __future__ import annotations

import re
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
from modelyard.configs.checking.secrets import find_secret_use, secret_findings
from modelyard.configs.kinds import ENVIRONMENTS
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.configs.reading.document import Document, written_where
from modelyard.configs.reading.references import secret_references
from modelyard.configs.reading.shape import Shaped
from modelyard.core.errors import Diagnostic, KeyPath, ModelyardError, dotted
from modelyard.secrets.detection import mask_secrets

_REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:/\S+")
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

    A file outside the project's configs/ is checked as if it stood in for the one of its name.
    `strict` asks the published JSON Schema as well. Findings are sorted by file and line, each
    once; one that is not of every environment says of which it is.
    """
    chosen = list(dict.fromkeys(path.absolute() for path in paths))
    shelf = Shelf(catalogue, chosen, environments)
    scenes = [Scene(shelf, environment) for environment in environments]
    findings: list[Finding] = []
    uses: dict[tuple[str, str], SecretUse] = {}
    files = tuple(shelf.project.show(path) for path in chosen)
    for path, file in zip(chosen, files, strict=True):
        document = _read(path, file, catalogue, findings)
        if document is None:
            findings += secret_findings(_text_of(path), file)
            continue
        findings += secret_findings(document.source.text, file)
        findings += _check_document(document, shelf, scenes, strict)
        for reference, where in _secret_uses(document, shelf):
            if (reference, where) not in uses:
                uses[reference, where] = find_secret_use(shelf.project, reference, where)
    return CheckReport(
        files=files,
        findings=tuple(_sorted(findings)),
        secrets=tuple(use for _, use in sorted(uses.items())),
    )


def _text_of(path: Path) -> str:
    """The text of a file that is not valid: a secret may stand in it all the same."""
    if not path.is_file():  # a pipe would never end
        return ""
    try:
        with path.open("rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
    except OSError:
        return ""
    return data.decode("utf-8-sig", "replace") if len(data) <= _MOST_BYTES else ""


def _read(
    path: Path, file: str, catalogue: ConfigCatalogue, findings: list[Finding]
) -> Document | None:
    try:
        document = catalogue.inspect(path)
    except ModelyardError as error:
        whole = Diagnostic(message=error.message, where=error.where, hint=error.hint)
        findings += [finding_of(one, file) for one in error.problems or (whole,)]
        return None
    findings += [finding_of(one, file) for one in document.problems]
    findings += [finding_of(one, file, level="warning") for one in document.source.warnings]
    return document


def _check_document(
    document: Document, shelf: Shelf, scenes: Sequence[Scene], strict: bool
) -> Iterator[Finding]:
    shown = document.source.name
    shaped = shelf.shaped(document)
    for problem in shaped.problems:
        yield finding_of(problem, shown)
    for mistake in check_overlays(document) if not document.problems else ():
        yield _finding(mistake, document.source.where(mistake.path), shown)
    yield from _check_name(document, shelf)
    yield from _check_meaning(document, shaped, scenes)
    if strict and not shaped.problems and not document.problems:
        from modelyard.configs.checking.second_judge import refusals

        for mistake in refusals(document, shaped):
            yield _finding(mistake, document.source.where(mistake.path), shown)


def _check_name(document: Document, shelf: Shelf) -> Iterator[Finding]:
    kind = document.kind.name
    namesakes = shelf.paths_named(kind, document.name)
    if document.problems and document.path not in namesakes:
        return  # a draft that stands in for nothing yet
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
    held = 0
    for scene in scenes:
        settings = shaped.settings.get(scene.environment)
        partly = shaped.partly.get(scene.environment) if settings is None else None
        if settings is None and partly is None:
            continue
        where = None
        held += 1
        mistakes = _mistakes(settings or partly, document, scene, check)
        if partly is not None:
            mistakes = _certain(mistakes, shaped.doubtful[scene.environment])
        for mistake in mistakes:
            where = where or written_where(document, scene.environment)
            finding = _finding(mistake, where(mistake.path), document.source.name)
            found.setdefault(finding, []).append(scene.environment)
    for finding, environments in found.items():
        if len(set(environments)) == held:
            yield finding
        else:
            yield _in_environments(finding, list(dict.fromkeys(environments)))


def _certain(mistakes: Iterable[Mistake], doubtful: Iterable[KeyPath]) -> Iterator[Mistake]:
    """The mistakes that do not follow from what had to be left out."""
    doubts = list(doubtful)
    names = [f"'{dotted(path)}'" for path in doubts]
    for mistake in mistakes:
        touched = any(
            path[: len(mistake.path)] == mistake.path or mistake.path[: len(path)] == path
            for path in doubts
            if mistake.path
        )
        if not touched and not any(name in mistake.message for name in names):
            yield mistake


def _mistakes(settings: Any, document: Document, scene: Scene, check: Check) -> Iterator[Mistake]:
    yield from check_references(settings, scene)
    yield from check(settings, document.name, scene)


def _in_environments(finding: Finding, environments: Sequence[str]) -> Finding:
    return replace(finding, message=f"{finding.message} (in {' and '.join(environments)})")


def _finding(mistake: Mistake, where: str, shown: str) -> Finding:
    problem = Diagnostic(message=mistake.message, where=where, hint=mistake.hint, code=mistake.rule)
    return finding_of(problem, shown, level=mistake.level)


def _secret_uses(document: Document, shelf: Shelf) -> Iterator[tuple[str, str]]:
    """Each reference to a secret, and where it stands."""
    shaped = shelf.shaped(document)
    if shaped.doubtful:
        yield from _written_secrets(document.source.value, (), document)
        return
    for environment, settings in shaped.settings.items():
        for reference in secret_references(settings):
            yield reference.target, written_where(document, environment)(reference.path)


def _written_secrets(value: Any, path: KeyPath, document: Document) -> Iterator[tuple[str, str]]:
    """What looks like a reference to a secret in a document that is not valid."""
    if isinstance(value, str) and _REFERENCE.fullmatch(value):
        yield value, document.source.where(path)
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _written_secrets(one, (*path, key), document)
    elif isinstance(value, list):
        for place, one in enumerate(value):
            yield from _written_secrets(one, (*path, place), document)


def _sorted(findings: Iterable[Finding]) -> list[Finding]:
    """Each finding once, by its place, with nothing in it that looks like a secret."""
    shown = {
        (one.file, one.line, one.column, one.level, one.rule, one.message): one for one in findings
    }
    return [
        replace(one, message=mask_secrets(one.message), hint=one.hint and mask_secrets(one.hint))
        for _, one in sorted(shown.items(), key=lambda item: item[0])
    ]
