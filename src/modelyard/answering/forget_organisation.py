"""Forgetting an organisation: everything that this project holds of what it asked and was answered.

Each part is removed in one transaction or rename and can be removed again, so the same command
completes what was interrupted. What is not removed is named, with its place.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from modelyard.access.audited_prompts import count_audited, forget_audited_prompts
from modelyard.access.keys import list_keys
from modelyard.adapters.remove import (
    adapters_of,
    remove_adapter,
    require_removable_adapter,
    sweep_removed,
)
from modelyard.answering.answer_cache import count_kept, purge
from modelyard.answering.recorded_prompts import count_prompts, forget_prompts
from modelyard.chatdata.dataset import CARD_FILE, read_dataset_card
from modelyard.chatdata.feedback import forget_feedback, list_feedback
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.core.clock import utc_now
from modelyard.core.errors import ModelyardError
from modelyard.core.forgotten import note_forgotten
from modelyard.core.json_reading import InvalidJson, read_json_object
from modelyard.core.layout import Project, check_name, is_name
from modelyard.core.state import read_state
from modelyard.core.wording import counted
from modelyard.deployments.running import running_settings
from modelyard.monitoring.forgetting import count_samples, forget_samples
from modelyard.records.modelref import ModelRef


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgottenAdapter:
    """An adapter of the organisation."""

    name: str
    """Its name."""
    versions: tuple[int, ...]
    """The numbers of its versions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftBehind:
    """Something that may hold texts of the organisation, and is not removed."""

    place: str
    """Where it is."""
    what: str
    """What it is, and what removes it where something does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What was removed of an organisation, or would be."""

    organisation: str
    """Its name."""
    dry_run: bool
    """Whether nothing was removed, and the counts say what would be."""
    samples: int
    """Answers in the records."""
    prompts: int
    """Recorded prompts."""
    feedback: int
    """Rows of feedback."""
    answers: int
    """Kept answers."""
    audited_prompts: int
    """Prompts in the audit log."""
    adapters: tuple[ForgottenAdapter, ...]
    """Its adapters, where they were asked for."""
    left: tuple[LeftBehind, ...]
    """What is not removed."""

    @property
    def is_empty(self) -> bool:
        """Whether there was nothing to remove."""
        texts = (self.samples, self.prompts, self.feedback, self.answers, self.audited_prompts)
        return not any((*texts, self.adapters))


def forget_organisation(
    project: Project,
    organisation: str,
    *,
    adapters: bool = False,
    dry_run: bool = False,
    wait_s: float = 0.0,
) -> Forgotten:
    """Remove samples, prompts, feedback and kept answers of an organisation.

    adapters: also its adapters with all their versions.
    Raises InvalidInput for what is no name, LockHeld while another process works with its feedback
    or an adapter, NoAccess before anything is removed when another user alone may remove a version,
    and ModelyardError when a file cannot be written; what was removed until then
    stays removed.
    """
    check_name(organisation, "organisation")
    own = adapters_of(project, organisation)
    # Found before the feedback is removed, which names some of it.
    kept, chosen = ({}, own) if adapters else (own, {})
    left = (*_configs_naming(project, chosen), *_left_behind(project, organisation, kept))
    if dry_run:
        samples = count_samples(project, organisation)
        prompts = count_prompts(project, organisation)
        feedback = len(list_feedback(project, org=organisation))
        answers = count_kept(project, organisation)
        audited = count_audited(project, organisation)[1]
    else:
        for name in chosen:
            require_removable_adapter(project, name)
        note_forgotten(project, "organisation", [organisation])
        note_forgotten(project, "adapter", chosen)
        answers = purge(project, organisation)
        prompts = forget_prompts(project, organisation)
        audited = forget_audited_prompts(project, organisation)
        feedback = forget_feedback(project, organisation, wait_s=wait_s)
        samples = forget_samples(project, organisation)
        for name in chosen:
            remove_adapter(project, name, wait_s=wait_s)
        if adapters:
            sweep_removed(project)
    return Forgotten(
        organisation=organisation,
        dry_run=dry_run,
        samples=samples,
        prompts=prompts,
        feedback=feedback,
        answers=answers,
        audited_prompts=audited,
        adapters=tuple(
            ForgottenAdapter(name=name, versions=numbers) for name, numbers in chosen.items()
        ),
        left=left,
    )


def _left_behind(
    project: Project, organisation: str, adapters: dict[str, tuple[int, ...]]
) -> Iterator[LeftBehind]:
    for name, numbers in adapters.items():
        versions = counted(len(numbers), "version")
        yield LeftBehind(
            place=project.show(project.adapter_versions(name)),
            what=f"an adapter, {versions}; --adapters removes it",
        )
    for name in _datasets(project, organisation):
        yield LeftBehind(place=project.show(project.dataset(name)), what="a dataset of it")
    for name, record in _experiments(project, organisation):
        sent = [str(record[key]) for key in ("file_id", "tuned_model") if record.get(key)]
        what = "a training run, with checkpoints and answers in its report"
        if sent:
            what = "a hosted job, with the rows that were sent; its provider holds " + (
                f"{' and '.join(sent)}: remove them there"
            )
        yield LeftBehind(place=project.show(project.experiment(name)), what=what)
    query = "SELECT count(DISTINCT day) FROM spending WHERE organisation = ?"
    days = sum(row[0] for row in read_state(project, query, (organisation,)))
    if days:
        yield LeftBehind(
            place=project.show(project.state_db),
            what=f"what its answers cost on {counted(days, 'day')}, without texts: the accounts",
        )
    rows, _ = count_audited(project, organisation)
    if rows:
        yield LeftBehind(
            place=project.show(project.audit_log),
            what=f"{counted(rows, 'row')} of the audit log, without texts: when, with which key, "
            "which model, how many tokens; a row that is removed would break the chain",
        )
    if keys := list_keys(project, organisation):
        working = sum(key.works_at(utc_now()) for key in keys)
        yield LeftBehind(
            place=project.show(project.state_db),
            what=f"{counted(len(keys), 'API key')}, of which {working} may still be used: "
            "`models keys revoke` ends one",
        )
    yield LeftBehind(
        place="backups, registries and copies that were made before",
        what="nothing in them is changed: remove them, or wait until they are replaced; a backup "
        "that is restored over this project does not bring it back",
    )


def _configs_naming(project: Project, adapters: Collection[str]) -> Iterator[LeftBehind]:
    """The configs of every environment that name an adapter which is removed."""
    for environment in ConfigCatalogue(project).environments.names if adapters else ():
        for kind in ("language_models", "specialized_models"):
            try:
                running = running_settings(project, environment, kind)
            except ModelyardError:  # nothing is deployed there, or the command that reads it says
                continue
            for name, settings in running.items():
                named = settings.adapter and ModelRef.parse(settings.adapter, kind="adapter").name
                if named in adapters:
                    yield LeftBehind(
                        place=f"{kind}/{name} in {environment}",
                        what=f"a config that names the adapter {named}: give it another one",
                    )


def _datasets(project: Project, organisation: str) -> list[str]:
    """The datasets whose card names the organisation, or that its feedback was used in."""
    used = {row.used_in for row in list_feedback(project, org=organisation) if row.used_in}
    for card in sorted(project.datasets.glob(f"*/{CARD_FILE}")):
        try:
            owner = read_dataset_card(card.parent, project.show(card.parent)).get("org")
        except ModelyardError:  # `models fine-tune` reports a card that cannot be read
            continue
        if owner == organisation:
            used.add(card.parent.name)
    return sorted(name for name in used if is_name(name) and project.dataset(name).is_dir())


def _experiments(project: Project, organisation: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The runs and hosted jobs whose record names the organisation, with that record."""
    for folder in sorted(project.experiments.glob("*")):
        for name in ("run.json", "hosted.json"):
            try:
                record = read_json_object(folder / name)
            except InvalidJson:  # there is none, or `models fine-tune` reports it
                continue
            if record.get("org") == organisation:
                yield folder.name, record
