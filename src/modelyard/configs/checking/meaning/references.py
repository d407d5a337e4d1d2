"""Whether everything that a config names exists."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from modelyard.configs.checking.meaning import problem, warning
from modelyard.configs.checking.view import EnvironmentView
from modelyard.configs.kinds import KINDS
from modelyard.configs.reading.references import ConfigReference, references
from modelyard.core.errors import (
    Diagnostic,
    InvalidInput,
    ModelyardError,
    did_you_mean,
    dotted,
    nearest,
)
from modelyard.records.modelref import ModelRef, version_number

_CUSTOM = "custom/"
_MOST_LISTED = 8
_MOST_COMPARED = 100
"""Names that a misspelt one is compared with: more takes longer than the whole check."""


def check_references(settings: Any, view: EnvironmentView) -> Iterator[Diagnostic]:
    """Each name in the settings that names nothing, or too much."""
    for reference in references(settings):
        if reference.to in KINDS:
            yield from _check_config(reference, view)
        elif view.has_project or reference.to == "search_domains":
            yield from check_reference(reference, view)


def check_reference(reference: ConfigReference, view: EnvironmentView) -> Iterator[Diagnostic]:
    """Whether there is the base model, adapter, dataset or index that is named."""
    yield from _CHECKS[reference.to](reference, view)


def _unknown(
    reference: ConfigReference,
    what: str,
    known: Sequence[str],
    hint: str | None = None,
    *,
    meant: str | None = None,
) -> Diagnostic:
    near = f" (did you mean '{meant}'?)" if meant else _suggest(reference.target, tuple(known))
    listed = ", ".join((*known[:_MOST_LISTED], *(["..."] if len(known) > _MOST_LISTED else [])))
    there_are = f"there are: {listed}" if known else "there is none yet"
    return problem(
        reference.path,
        "unknown-reference",
        f"'{dotted(reference.path)}' names the {what} '{reference.target}', "
        f"which does not exist{near}",
        hint=f"{there_are}; {hint}" if hint else there_are,
    )


def _check_config(reference: ConfigReference, view: EnvironmentView) -> Iterator[Diagnostic]:
    kind, name, configs = KINDS[reference.to], reference.target, view.configs
    if name.startswith(_CUSTOM) and kind.name in ("language_models", "specialized_models"):
        yield warning(
            reference.path,
            "not-there-yet",
            f"'{dotted(reference.path)}' names the custom model '{name.removeprefix(_CUSTOM)}', "
            "which is not there yet",
            hint=f"it cannot be deployed so; until then, name a config in {kind.place}",
        )
        return
    if configs.find(kind.name, name) is not None or _is_task(reference, view):
        return
    broken = configs.paths_named(kind.name, name)
    if not broken:
        yield _unknown(reference, kind.noun, configs.names(kind.name))
    elif broken[0] not in configs.checked:
        place = view.project.show(broken[0])
        yield problem(
            reference.path,
            "broken-reference",
            f"'{dotted(reference.path)}' names the {kind.noun} '{name}', which is not valid",
            hint=f"`models validate-config {place}` says why",
        )


def _is_task(reference: ConfigReference, view: EnvironmentView) -> bool:
    """Whether a domain is named as the integration's tasks call it."""
    joint = view.integration
    if reference.to != "specialized_models" or joint is None:
        return False
    return "tasks" not in reference.path and reference.target in joint.primary_models.tasks


def _check_base(reference: ConfigReference, view: EnvironmentView) -> Iterator[Diagnostic]:
    from modelyard.weights.catalogue import bases_called, known_as

    try:
        name = ModelRef.parse(reference.target, kind="base").name
    except InvalidInput:
        name = ""
    found = bases_called(view.surroundings, name)
    if not found:
        known = known_as(view.surroundings, name)
        hint = "to add one, write models/base/NAME/MODEL_INFO.md"
        yield _unknown(reference, "base model", known, hint)
    elif len(found) > 1:
        yield problem(
            reference.path,
            "ambiguous-reference",
            f"'{dotted(reference.path)}' names '{name}', whose weights belong to several base "
            f"models: {', '.join(found)}",
            hint=f"say which: {found[0]}",
        )


def _check_dataset(reference: ConfigReference, view: EnvironmentView) -> Iterator[Diagnostic]:
    try:
        found = view.surroundings.dataset(reference.target).is_dir()
    except InvalidInput:
        found = False
    if not found:
        known = _folders_in(view.surroundings.datasets)
        finding = _unknown(reference, "dataset", known, "`models prepare-data` makes one")
        # Data is seldom committed, so a machine that checks a config need not have it.
        yield replace(finding, code="missing-dataset", level="warning")


def _folders_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*/")) if folder.is_dir() else []


def _check_adapter(reference: ConfigReference, view: EnvironmentView) -> Iterator[Diagnostic]:
    project = view.surroundings
    known = _folders_in(project.versions)
    try:
        named = ModelRef.parse(reference.target, kind="adapter")
    except InvalidInput as error:
        message = f"'{dotted(reference.path)}' names no adapter: {error.message}"
        yield problem(reference.path, "unknown-reference", message, error.hint)
        return
    name, version = named.name, named.version
    if name not in known:
        yield _unknown(reference, "adapter", known, "`models fine-tune` makes one")
        return
    try:
        numbers = sorted(
            filter(None, map(version_number, _folders_in(project.adapter_versions(name))))
        )
        is_active = project.trained_link(name).is_symlink()
    except (ModelyardError, OSError):
        return  # `models adapters verify` says what is wrong there
    if version is not None and version not in numbers:
        known = [f"{name}@{number}" for number in numbers]
        yield _unknown(reference, "adapter version", known)
    elif version is None and not is_active:
        yield problem(
            reference.path,
            "unknown-reference",
            f"'{dotted(reference.path)}' names the adapter '{name}', "
            "and no version of it is active yet",
            hint=f"promote one (`models adapters promote {name}@N`), or name it: {name}@N",
        )


def _check_index(reference: ConfigReference, view: EnvironmentView) -> Iterator[Diagnostic]:
    group, _, domain = reference.target.rpartition("/")
    if group:
        yield from _check_grouped_index(reference, view, group, domain)
        return
    groups = [name for name, settings in view.groups() if domain in settings.domains]
    if len(groups) > 1:
        choices = [f"{name}/{domain}" for name in groups]
        yield problem(
            reference.path,
            "ambiguous-reference",
            f"'{dotted(reference.path)}' names the search domain '{domain}', which could be "
            f"{' or '.join(choices)}",
            hint=f"say which: {choices[0]}",
        )
    elif not groups:
        known = _indexes(view)
        by_domain = {index.rpartition("/")[2]: index for index in reversed(known)}
        near = nearest(domain, list(by_domain))
        yield _unknown(reference, "search domain", known, meant=near and by_domain[near])


def _check_grouped_index(
    reference: ConfigReference, view: EnvironmentView, group: str, domain: str
) -> Iterator[Diagnostic]:
    if view.configs.find("embedding_models", group) is None:
        yield _unknown(reference, "search domain", _indexes(view))
        return
    settings = view.settings("embedding_models", group)
    if settings is not None and domain not in settings.domains:
        yield _unknown(reference, "search domain", [f"{group}/{name}" for name in settings.domains])


def _indexes(view: EnvironmentView) -> list[str]:
    return sorted(
        f"{group}/{domain}" for group, settings in view.groups() for domain in settings.domains
    )


_CHECKS: Mapping[str, Callable[[ConfigReference, EnvironmentView], Iterator[Diagnostic]]] = {
    "base_models": _check_base,
    "adapters": _check_adapter,
    "datasets": _check_dataset,
    "search_domains": _check_index,
}


@lru_cache(maxsize=1024)  # a misspelt name occurs once in each environment
def _suggest(word: str, known: tuple[str, ...]) -> str:
    """` (did you mean 'x'?)` for the nearest known name, or an empty string."""
    if len(known) <= _MOST_COMPARED:
        return did_you_mean(word, known)
    spellings = _one_letter_less(known)
    near = {name: None for part in _without_a_letter(word) for name in spellings.get(part, ())}
    return did_you_mean(word, list(near)[:_MOST_COMPARED])


@lru_cache(maxsize=16)
def _one_letter_less(names: tuple[str, ...]) -> Mapping[str, list[str]]:
    """The names by their spellings with one letter left out.

    Two words that share such a spelling differ in one letter, added, left out, changed or swapped.
    """
    spellings: dict[str, list[str]] = {}
    for name in names:
        for part in _without_a_letter(name):
            spellings.setdefault(part, []).append(name)
    return spellings


def _without_a_letter(word: str) -> Iterator[str]:
    yield word
    for place in range(len(word)):
        yield word[:place] + word[place + 1 :]
