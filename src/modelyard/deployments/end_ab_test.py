"""The end of an A/B test in the drafts: the variant that stays is written, and the test taken out.

Each file is changed in one rename and keeps its comments. The integration config comes last, so
that a process killed between two files leaves the test in it, and the same command completes it.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.configs.kinds.integration import AbTest
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.configs.reading.document import Document, resolve
from modelyard.core.errors import InvalidInput, KeyPath, ModelyardError
from modelyard.core.files import write_atomic
from modelyard.core.layout import Project
from modelyard.deployments.deploy import perform, switch_request
from modelyard.deployments.live_domains import live_domains
from modelyard.deployments.running import running_snapshot
from modelyard.deployments.variants import INTEGRATION
from modelyard.settings.yaml_edit import remove_key, set_value
from modelyard.settings.yaml_files import parse_yaml

Side = Literal["a", "b"]

_JOINT, _AB_TEST = "model_integration", "ab_test"
_TEST: KeyPath = (_JOINT, _AB_TEST)
_LANGUAGE: KeyPath = ("model_integration", "primary_models", "language")
_BASE: KeyPath = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftEdit:
    """A change of one draft."""

    path: Path
    """The file."""
    before: str
    """What it says."""
    after: str
    """What it will say."""
    changes: tuple[str, ...]
    """What changes, such as `model: claude`, in words."""
    environment: str | None
    """The overlay that it is written in; None: the base of the file, which is for all."""


def edit_drafts(
    project: Project, environment: str, test: AbTest, keep: Side
) -> tuple[DraftEdit, ...]:
    """The changes that end a test in the drafts, in the order in which they are written.

    What stays is written where the test is: for all environments, or in the overlay of one; and in
    an overlay that would hide it. A draft that is gone, or has another test by now, stays as it is.
    Raises NotEditable for a file in which it cannot be changed without touching more, ProblemsFound
    for one that is not valid YAML or cannot be read.
    """
    catalogue = ConfigCatalogue(project)
    integration = _draft(catalogue, INTEGRATION, INTEGRATION)
    if integration is None or _name_of_test(integration, environment) != test.name:
        return ()
    layer = _layer_of(integration, environment)
    variant = test.a if keep == "a" else test.b
    edits = []
    for name in test.domains:
        draft = _draft(catalogue, "specialized_models", name)
        own = {"model": variant.model, "adapter": variant.adapter, "profile": variant.profile}
        wanted: dict[KeyPath, str] = {
            (key,): value for key, value in own.items() if value is not None
        }
        if draft is not None and wanted:
            edits.append(_edit(draft, environment, layer, wanted))
    language: dict[KeyPath, str] = {}
    if variant.model is not None and not test.domains:
        language[_LANGUAGE] = variant.model
    edits.append(_edit(integration, environment, layer, language, without_test=True))
    return tuple(edit for edit in edits if edit.after != edit.before)


def write_edits(edits: Sequence[DraftEdit]) -> None:
    """Write the changed drafts. Raises ModelyardError when one was changed meanwhile."""
    for edit in edits:
        if _text(edit.path) != edit.before:
            raise ModelyardError(
                "was changed meanwhile", where=str(edit.path), hint="run the same command again"
            )
        mode = stat.S_IMODE(edit.path.stat().st_mode)
        write_atomic(edit.path.resolve(), edit.after, mode=mode)


def end_switches(
    project: Project, test: AbTest, keep: Side, *, reason: str | None, wait_s: float
) -> None:
    """Have no switch of development hide the profile of the variant that stays."""
    profile = (test.a if keep == "a" else test.b).profile
    if profile is None:
        return
    _, running = running_snapshot(project, DEFAULT_ENVIRONMENT)
    for domain, name in live_domains(running).items():
        if name in test.domains and domain in running.profiles:
            request = switch_request(profile, domain)
            perform(project, request, DEFAULT_ENVIRONMENT, reason=reason, wait_s=wait_s)


def _draft(catalogue: ConfigCatalogue, kind: str, name: str) -> Document | None:
    """The draft of that name; None when there is none, and not when it cannot be read."""
    paths = catalogue.paths_named(kind, name)
    return catalogue.read(paths[0]) if paths else None


def _name_of_test(integration: Document, environment: str) -> object:
    joint = resolve(integration, environment).values.get(_JOINT)
    test = joint.get(_AB_TEST) if isinstance(joint, dict) else None
    return test.get("name") if isinstance(test, dict) else None


def _layer_of(integration: Document, environment: str) -> KeyPath:
    """Where the test is written: in the base of the file, or in the overlay of an environment."""
    if _says(integration, _TEST):
        return _BASE
    overlays = [name for name in integration.layers(environment) if _says(integration, _in(name))]
    return ("environments", overlays[0]) if overlays else _BASE


def _in(name: str) -> KeyPath:
    return ("environments", name, *_TEST)


def _says(document: Document, path: KeyPath) -> bool:
    value = document.source.value
    for step in path:
        if not isinstance(value, dict) or step not in value:
            return False
        value = value[step]
    return True


def _edit(
    draft: Document,
    environment: str,
    layer: KeyPath,
    wanted: dict[KeyPath, str],
    *,
    without_test: bool = False,
) -> DraftEdit:
    """A draft with these values in an environment, and without the test."""
    before = _text(draft.path)
    name, text, changes = draft.source.name, before, []
    for path, value in wanted.items():
        if _value(draft, environment, text, path) == value:
            continue
        text = set_value(text, (*layer, *path), value, name=name)
        for overlay in draft.layers(environment):
            above = ("environments", overlay, *path)
            if _value(draft, environment, text, path) != value and _says(draft, above):
                text = set_value(text, above, value, name=name)
        changes.append(f"{path[-1]}: {value}")
    if without_test:
        places = (
            [_in(overlay) for overlay in draft.overlays] if layer == _BASE else [(*layer, *_TEST)]
        )
        for path in (*places, *([_TEST] if layer == _BASE else [])):
            if _says(draft, path):
                text = remove_key(text, path, name=name)
        changes.append("without ab_test")
    return DraftEdit(
        path=draft.path,
        before=before,
        after=text,
        changes=tuple(changes),
        environment=None if layer == _BASE else str(layer[1]),
    )


def _value(draft: Document, environment: str, text: str, path: KeyPath) -> object:
    """What a draft with this text says at a path in an environment."""
    source = parse_yaml(text, name=draft.source.name)
    value: object = resolve(replace(draft, source=source), environment).values
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _text(path: Path) -> str:
    """What a file says, with its ends of lines as they are."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InvalidInput(f"cannot be read: {error.strerror}", where=str(path)) from error
