"""A service, opened: what answers, who may ask, and the base that is loaded before the first
request."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial

from modelyard.access.audit import AuditLog
from modelyard.access.caller import Caller
from modelyard.access.keys import find_caller
from modelyard.answering.answer import Answerer
from modelyard.answering.asked_model import load_asked
from modelyard.answering.outside_engine import OutsideEngine
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project
from modelyard.deployments.effective import load_effective, load_live_domains
from modelyard.inference.engine_limits import EngineLimits
from modelyard.serving.answers import Answers
from modelyard.serving.observing import Observer
from modelyard.serving.own_adapters import OwnAdapters
from modelyard.serving.service import Service, ServiceLimits
from modelyard.weights.local import locate_base
from modelyard.weights.pull import BaseUnavailable

Note = Callable[[str], None]
"""Is told, in a sentence, what the one who runs the service should know."""


@contextmanager
def open_service(
    project: Project,
    environment: str,
    *,
    engine: EngineLimits,
    limits: ServiceLimits,
    without_key: Caller | None,
    note: Note,
    outside: OutsideEngine | None = None,
) -> Iterator[Service]:
    """A service, closed when the block is left.

    Raises NotDeployed when nothing is deployed, InvalidInput for configs that are not valid.
    """
    load_live_domains(environment, project=project)
    with ExitStack() as opened:
        audit = opened.enter_context(closing(AuditLog(project)))
        answerer = opened.enter_context(
            Answerer(project, note=note, engine=engine, outside=outside)
        )
        answers = Answers(answerer, at_once=limits.answers_at_once, waiting=limits.waiting)
        opened.enter_context(closing(answers))
        yield Service(
            project=project,
            environment=environment,
            answerer=answerer,
            answers=answers,
            own_adapters=OwnAdapters(project),
            find_caller=partial(find_caller, project),
            audit=audit,
            observer=Observer(answerer, answers.turns),
            without_key=without_key,
            limits=limits,
            loaded=threading.Event(),
        )


def find_base_to_load(
    project: Project, environment: str, adapters: OwnAdapters, base: str | None
) -> str | None:
    """The base to load before the first request: `base`, or that of most adapters, or else of the
    primary model.

    None where nothing that is served runs on this machine. Raises BaseUnavailable for one whose
    weights are not here, InvalidInput for one that is not known.
    """
    chosen = base or _choose_base(project, environment, adapters)
    if chosen is not None and locate_base(project, chosen, remember=False) is None:
        raise BaseUnavailable(
            f"the base {chosen} is not on this machine",
            hint=f"fetch it: `models base pull {chosen}`; or load another: --base-model NAME",
        )
    return chosen


def _choose_base(project: Project, environment: str, adapters: OwnAdapters) -> str | None:
    bases = list(adapters.all().values())
    if bases:
        return max(sorted(set(bases)), key=bases.count)
    try:
        effective = load_effective(environment, None, project=project)
    except ModelyardError:
        return None
    models = (effective.model, *effective.fallback)
    local = (each.settings.model for each in models if each.settings.provider == "local")
    return next(local, None)


def load_base(service: Service, base: str) -> float:
    """Load a base into memory; returns the seconds that it took.

    Raises what loading it raises.
    """
    effective = load_asked(service.project, service.environment, model=f"base:{base}")
    models = service.answerer.local_models
    _, load_s = models.open(models.find(effective.model, service.environment), None)
    service.loaded.set()
    return load_s
