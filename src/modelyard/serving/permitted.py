"""What a caller may name as a model, and what answers then.

A name is looked up among those of the caller and nowhere else: what belongs to somebody else takes
the same way as what does not exist.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from modelyard.access.caller import Caller
from modelyard.adapters.owner import find_owner
from modelyard.adapters.versions import active_number, resolve_number, version_numbers
from modelyard.answering.asked_model import load_asked
from modelyard.configs.kinds.integration import Served
from modelyard.configs.kinds.integration import Service as ServiceSettings
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.layout import Project
from modelyard.deployments.effective import load_effective, load_integration, load_live_domains
from modelyard.deployments.effective_settings import Effective
from modelyard.records.modelref import ModelRef
from modelyard.retrieval.indexes import load_indexes
from modelyard.serving.own_adapters import OwnAdapters
from modelyard.serving.problems import Problem, no_such_model
from modelyard.serving.service import Service
from modelyard.weights.catalogue import base_names


@dataclass(frozen=True, slots=True, kw_only=True)
class Permitted:
    """All that a caller may name."""

    adapters: Mapping[str, str]
    """The base of each of its adapters, by name."""
    bases: frozenset[str]
    """Bases."""
    domains: frozenset[str]
    """Domains of work."""
    search_domains: frozenset[str]
    """Search domains, GROUP/DOMAIN."""

    def named(self, name: str) -> list[ModelRef]:
        """The models that a bare name fits."""
        found = [ModelRef("adapter", name)] if name in self.adapters else []
        found += [ModelRef("base", name)] if name in self.bases else []
        return found + ([ModelRef("domain", name)] if name in self.domains else [])

    def has(self, ref: ModelRef) -> bool:
        """Whether a model with its kind is among them."""
        if ref.kind == "adapter":
            return ref.name in self.adapters
        if ref.kind == "base":
            return ref.name in self.bases
        return ref.kind == "domain" and ref.name in self.domains

    def listed(self) -> list[str]:
        """Every name, as a request may write it: with its kind where several have it."""
        names = sorted({*self.adapters, *self.bases, *self.domains})
        every = [(name, self.named(name)) for name in names]
        return [name if len(refs) == 1 else str(ref) for name, refs in every for ref in refs]


def find_permitted(service: Service, caller: Caller) -> Permitted:
    """All that a caller may name at this moment."""
    with _configs():
        return permitted_to(
            service.project, service.environment, service.own_adapters, caller.organisation
        )


def permitted_to(
    project: Project, environment: str, adapters: OwnAdapters, organisation: str | None
) -> Permitted:
    """All that an organisation may name at this moment; None: everything that there is."""
    domains = load_live_domains(environment, project=project)
    if organisation is None:
        return Permitted(
            adapters=adapters.all(),
            bases=frozenset(base_names(project)),
            domains=frozenset(domains),
            search_domains=frozenset(load_indexes(project, environment)),
        )
    settings = _load_settings(project, environment)
    own = adapters.of(organisation)
    served = [settings.everyone, settings.organisations.get(organisation, Served())]
    return Permitted(
        adapters=own,
        bases=frozenset(own.values()).union(*(each.bases for each in served)),
        domains=frozenset(domains) & {name for each in served for name in each.domains},
        search_domains=frozenset(name for each in served for name in each.search_domains),
    )


def load_service_settings(service: Service) -> ServiceSettings:
    """What the integration config lets organisations use."""
    with _configs():
        return _load_settings(service.project, service.environment)


def _load_settings(project: Project, environment: str) -> ServiceSettings:
    integration = load_integration(environment, project=project)
    return integration.model_integration.service if integration else ServiceSettings()


@contextmanager
def _configs() -> Iterator[None]:
    """Tell a client nothing of what is wrong with the configs: that is not for it to mend."""
    try:
        yield
    except ModelyardError as error:
        raise Problem(
            status=503,
            message="the configs of this service cannot be used now",
            code="unavailable",
            cause=error,
        ) from error


def find_model(service: Service, caller: Caller, name: str) -> Effective:
    """The settings that answer for a model by its name.

    Raises Problem: 404 where the caller has no such model.
    """
    permitted = find_permitted(service, caller)
    try:
        ref = ModelRef.parse(name)
    except InvalidInput:
        raise no_such_model(name) from None
    if ref.kind is None:
        fitting = permitted.named(ref.name)
        if len(fitting) > 1:
            names = " and ".join(map(str, fitting))
            raise Problem(
                status=400,
                message=f"{name!r} fits {names}: name one of them",
                code="ambiguous_model",
                param="model",
            )
        if not fitting:
            raise no_such_model(name)
        [ref] = fitting
    if not permitted.has(ref):
        raise no_such_model(name)
    if ref.kind == "adapter":
        with _files(name):
            is_there = _has_version(service, ref)
        if not is_there:
            raise no_such_model(name)
    project, environment = service.project, service.environment
    if ref.kind == "domain":  # whose adapters are read when they are to answer
        with _configs():
            effective = load_effective(environment, ref.name, project=project)
    else:
        with _files(name) if ref.kind == "adapter" else _configs():
            effective = load_asked(project, environment, model=str(ref))
    if caller.organisation is not None:
        with _files(name):
            is_own = _is_for(service, caller.organisation, effective)
        if not is_own:
            raise no_such_model(name)
    return effective


@contextmanager
def _files(name: str) -> Iterator[None]:
    """Say of a model whose files cannot be read that it is damaged, and nothing of the files."""
    try:
        yield
    except ModelyardError as error:
        raise Problem(
            status=503,
            message=f"{name} cannot be used: files of its adapter are damaged or missing",
            code="model_broken",
            param="model",
            cause=error,
        ) from error


def _has_version(service: Service, ref: ModelRef) -> bool:
    """Whether an adapter has the version that is meant: of a number, or the active one."""
    if ref.version is None:
        return active_number(service.project, ref.name) is not None
    return ref.version in version_numbers(service.project, ref.name)


def _is_for(service: Service, organisation: str, effective: Effective) -> bool:
    """Whether no adapter that may answer belongs to another organisation."""
    test = effective.ab_test
    sides = (effective,) if test is None else (effective, test.a, test.b)
    models = [
        model
        for side in sides
        for model in (side.model, *side.fallback, *(rule.model for rule in side.rules))
    ]
    adapters = {each.settings.adapter for each in models if each.settings.adapter is not None}
    return all(
        find_owner(service.project, *resolve_number(service.project, adapter)).org
        in (organisation, None)
        for adapter in adapters
    )
