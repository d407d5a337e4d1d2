"""What a run asks: every request before the first is made, so that it can be counted and timed."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from modelyard.core.errors import InvalidInput, NoData
from modelyard.core.layout import Project
from modelyard.core.wording import counted
from modelyard.deployments.effective_settings import Effective
from modelyard.performance.cases import Case, Suite
from modelyard.performance.results import LOAD
from modelyard.performance.targets import Target

Part = Literal["warm_up", "cases", "base", "load"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One request."""

    part: Part
    """What it is made for."""
    case: Case
    """The question."""
    effective: Effective
    """By which settings it is asked."""
    repeat: int
    """Which of the repeats it belongs to, from 0."""
    timeout_s: float
    """The time for its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All requests of a run, in their order."""

    cases: tuple[Case, ...]
    """The questions, each once."""
    jobs: tuple[Job, ...]
    """The requests."""
    repeats: int
    """Times that each question is asked."""
    concurrency: int
    """Requests at a time."""
    seed: int
    """Seed of the load's questions and of the answers."""
    notes: tuple[str, ...]
    """What a person should know."""

    def count(self, part: Part) -> int:
        """How many requests a part has."""
        return sum(job.part == part for job in self.jobs)

    def describe(self) -> str:
        """How many requests there are, and what for, in a line."""
        what = [counted(len(self.cases), "case")] if self.cases else []
        if self.cases and self.repeats > 1:
            what[0] += f", {self.repeats} times each"
        parts: Mapping[Part, str] = {
            "base": "to the base",
            "load": f"of load, {self.concurrency} at a time",
            "warm_up": "to warm up",
        }
        what += [f"{number:,} {parts[part]}" for part in parts if (number := self.count(part))]
        judged = sum(job.part == "cases" and job.case.check.scorer == "judge" for job in self.jobs)
        if judged:
            what.append(f"{judged:,} to judges")
        return f"{counted(len(self.jobs) + judged, 'request')}: {'; '.join(what)}"


def build_plan(
    project: Project,
    suite: Suite,
    target: Target,
    *,
    repeats: int | None = None,
    concurrency: int | None = None,
    seed: int | None = None,
) -> Plan:
    """The requests of a suite to a target; repeats, concurrency, seed: instead of the suite's.

    Raises NoData for a suite that asks nothing, InvalidInput when rows that may not leave this
    machine would, and what loading the settings of a domain raises.
    """
    settings = suite.settings
    repeats, seed = repeats or settings.repeats, settings.seed if seed is None else seed
    load = settings.load
    placed = [
        (case, effective)
        for case in suite.cases
        for effective in _settings_of(project, target, case)
    ]
    if not placed:
        raise NoData(
            f"the suite {suite.name} has no questions, and asks nothing",
            hint="give it `checks` with a dataset that has evaluation rows, or with cases",
        )
    several = len(target.effective) > 1
    cases = [
        (_in_domain(case, effective) if several and not case.check.domain else case, effective)
        for case, effective in placed
    ]
    for case, effective in cases:
        _refuse_leaving(case, effective)
    notes: list[str] = []
    asked = [
        Job(
            part="cases",
            case=case,
            effective=effective,
            repeat=repeat,
            timeout_s=case.check.timeout_s,
        )
        for repeat in range(repeats)
        for case, effective in cases
        if case.check.name != LOAD
    ]
    base = [replace(job, part="base", effective=bare) for job in asked if (bare := _base_of(job))]
    wanting = {job.case.check.name for job in asked if job.case.check.not_worse_than}
    without = sorted(wanting - {job.case.check.name for job in base})
    if without:
        notes.append(
            f"{', '.join(without)}: there is no base to compare with, since no adapter answers"
        )
    loads: list[Job] = []
    warm_up: list[Job] = []
    if load is not None:
        draw = random.Random(f"{seed}/load")
        chosen = draw.choices(cases, k=load.warm_up_requests + load.requests * repeats)
        loads = [
            Job(part="load", case=case, effective=effective, repeat=0, timeout_s=load.timeout_s)
            for case, effective in chosen
        ]
        warm_up = [replace(job, part="warm_up") for job in loads[: load.warm_up_requests]]
        loads = [
            replace(job, repeat=number) for number, job in enumerate(loads[load.warm_up_requests :])
        ]
    return Plan(
        cases=tuple(case for case, _ in cases if case.check.name != LOAD),
        jobs=(*warm_up, *asked, *base, *loads),
        repeats=repeats,
        concurrency=concurrency or (load.concurrency if load else 1),
        seed=seed,
        notes=tuple(notes),
    )


def _settings_of(project: Project, target: Target, case: Case) -> Sequence[Effective]:
    """By which settings a case is asked: those of its check's domain, else of the target's."""
    if case.check.domain is not None:
        return (target.of_domain(project, case.check.domain),)
    return tuple(target.effective.values())


def _in_domain(case: Case, effective: Effective) -> Case:
    """A case that several domains are asked, with an id for this one."""
    own = hashlib.sha256(f"{case.id} {effective.domain}".encode()).hexdigest()[:12]
    return replace(case, id=own)


def _base_of(job: Job) -> Effective | None:
    """The settings with the bare base, where the check compares with it and an adapter answers."""
    settings = job.effective.model.settings
    if job.case.check.not_worse_than != "base" or settings.adapter is None:
        return None
    model = replace(
        job.effective.model,
        name=f"base:{settings.model}",
        settings=replace(settings, adapter=None),
    )
    return replace(job.effective, model=model, fallback=(), rules=())


def _refuse_leaving(case: Case, effective: Effective) -> None:
    """Raise InvalidInput when a row that may not leave this machine would."""
    models = (effective.model, *effective.fallback, *(rule.model for rule in effective.rules))
    leaving = [model.name for model in models if model.settings.needs_network]
    if case.local_only and leaving:
        raise InvalidInput(
            f"the rows of {case.check.dataset} may not leave this machine (`local_only: true`), "
            f"and {', '.join(leaving)} would get them",
            hint="test a local model: --model NAME",
        )
