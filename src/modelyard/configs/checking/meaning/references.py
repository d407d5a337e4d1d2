"""Whether everything that a config names is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from modelyard.configs.checking.meaning.mistake import Mistake
from modelyard.configs.checking.scene import Scene, kind_word, suggest
from modelyard.configs.kinds import KINDS
from modelyard.configs.reading.references import ConfigReference, references
from modelyard.core.errors import InvalidInput, KeyPath, ModelyardError, dotted

_MOST_LISTED = 8


def check_references(settings: Any, scene: Scene) -> Iterator[Mistake]:
    """Each name in the settings that names nothing, or too much."""
    for reference in references(settings):
        check = _PLACES.get(reference.to)
        if reference.to in KINDS:
            yield from _check_config(reference, scene)
        elif check is not None and (scene.has_project or reference.to == "search_domains"):
            yield from check(reference, scene)


def check_dataset(path: KeyPath, target: str, scene: Scene) -> Iterator[Mistake]:
    """Whether there is a dataset of that name."""
    yield from _check_dataset(ConfigReference(path, "datasets", target), scene)


def check_adapter(path: KeyPath, target: str, scene: Scene) -> Iterator[Mistake]:
    """Whether there is that adapter, NAME or NAME@VERSION."""
    yield from _check_adapter(ConfigReference(path, "adapters", target), scene)


def check_base(path: KeyPath, target: str, scene: Scene) -> Iterator[Mistake]:
    """Whether there is a base model of that name."""
    yield from _check_base(ConfigReference(path, "base_models", target), scene)


def _unknown(
    reference: ConfigReference, what: str, known: list[str], hint: str | None = None
) -> Mistake:
    near = suggest(reference.target, known)
    listed = ", ".join(known[:_MOST_LISTED]) + (", ..." if len(known) > _MOST_LISTED else "")
    there_are = f"there are: {listed}" if known else "there is none yet"
    return Mistake(
        reference.path,
        "unknown-reference",
        f"'{dotted(reference.path)}' names the {what} '{reference.target}', "
        f"which does not exist{near}",
        hint=f"{there_are}; {hint}" if hint else there_are,
    )


def _check_config(reference: ConfigReference, scene: Scene) -> Iterator[Mistake]:
    kind, name = reference.to, reference.target
    shelf = scene.shelf
    if shelf.find(kind, name) is not None or _is_task(reference, scene):
        return
    broken = shelf.paths_named(kind, name)
    if not broken:
        yield _unknown(reference, kind_word(kind), shelf.names(kind))
    elif broken[0] not in shelf.checked:
        place = scene.project.show(broken[0])
        yield Mistake(
            reference.path,
            "broken-reference",
            f"'{dotted(reference.path)}' names the {kind_word(kind)} '{name}', which is not valid",
            hint=f"`models validate-config {place}` says why",
        )


def _is_task(reference: ConfigReference, scene: Scene) -> bool:
    """Whether a domain is named as the integration's tasks call it."""
    joint = scene.integration
    if reference.to != "specialized_models" or joint is None:
        return False
    return "tasks" not in reference.path and reference.target in joint.primary_models.tasks


def _check_base(reference: ConfigReference, scene: Scene) -> Iterator[Mistake]:
    known = sorted(card.parent.name for card in scene.project.bases.glob("*/MODEL_INFO.md"))
    if reference.target not in known:
        hint = "to add one, write models/base/NAME/MODEL_INFO.md"
        yield _unknown(reference, "base model", known, hint)


def _check_dataset(reference: ConfigReference, scene: Scene) -> Iterator[Mistake]:
    try:
        found = scene.project.dataset(reference.target).is_dir()
    except InvalidInput:
        found = False
    if not found:
        folder = scene.project.datasets
        known = sorted(path.name for path in folder.glob("*/")) if folder.is_dir() else []
        mistake = _unknown(reference, "dataset", known, "`models prepare-data` makes one")
        # Data is seldom committed: who checks a config need not have it.
        yield replace(mistake, rule="missing-dataset", level="warning")


def _check_adapter(reference: ConfigReference, scene: Scene) -> Iterator[Mistake]:
    name, at, number = reference.target.partition("@")
    project = scene.project
    known = (
        sorted(path.name for path in project.versions.glob("*/"))
        if project.versions.is_dir()
        else []
    )
    if name not in known:
        yield _unknown(reference, "adapter", known, "`models fine-tune` makes one")
        return
    try:
        numbers = {path.name for path in project.adapter_versions(name).iterdir() if path.is_dir()}
        in_use = project.trained_link(name).is_symlink()
    except (ModelyardError, OSError):
        return  # `models adapters verify` says what is wrong there
    if at and number not in numbers:
        versions = sorted((f"{name}@{one}" for one in numbers if one.isdigit()), key=_version)
        yield _unknown(reference, "adapter version", versions)
    elif not at and not in_use:
        yield Mistake(
            reference.path,
            "unknown-reference",
            f"'{dotted(reference.path)}' names the adapter '{name}', "
            "and no version of it is in use yet",
            hint=f"promote one (`models adapters promote {name}@N`), or name it: {name}@N",
        )


def _version(name: str) -> int:
    return int(name.rpartition("@")[2])


def _check_domain(reference: ConfigReference, scene: Scene) -> Iterator[Mistake]:
    group, _, domain = reference.target.rpartition("/")
    if group:
        yield from _check_grouped(reference, scene, group, domain)
        return
    groups = [name for name, settings in scene.groups() if domain in settings.domains]
    if len(groups) > 1:
        choices = [f"{name}/{domain}" for name in groups]
        yield Mistake(
            reference.path,
            "ambiguous-reference",
            f"'{dotted(reference.path)}' names the search domain '{domain}', which could be "
            f"{' or '.join(choices)}",
            hint=f"say which: {choices[0]}",
        )
    elif not groups:
        yield _unknown(reference, "search domain", _domains(scene))


def _check_grouped(
    reference: ConfigReference, scene: Scene, group: str, domain: str
) -> Iterator[Mistake]:
    if scene.shelf.find("embedding_models", group) is None:
        grouped = [name for name in _domains(scene) if "/" in name]
        yield _unknown(reference, "search domain", grouped)
        return
    settings = scene.settings("embedding_models", group)
    if settings is not None and domain not in settings.domains:
        yield _unknown(reference, "search domain", [f"{group}/{one}" for one in settings.domains])


def _domains(scene: Scene) -> list[str]:
    return sorted(
        f"{group}/{domain}" for group, settings in scene.groups() for domain in settings.domains
    )


_PLACES: Mapping[str, Callable[[ConfigReference, Scene], Iterator[Mistake]]] = {
    "base_models": _check_base,
    "adapters": _check_adapter,
    "datasets": _check_dataset,
    "search_domains": _check_domain,
}
