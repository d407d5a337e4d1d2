"""The plan of a deployment, a switch, an undo or a rollback.

Nothing here changes anything. What is live now and what the files say is read at the moment of the
call, so a plan that must hold is made under the environment's lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modelyard.configs.checking.check import check_configs
from modelyard.configs.kinds import DEFAULT_ENVIRONMENT, KINDS
from modelyard.configs.reading.catalogue import (
    ConfigCatalogue,
    configs_below,
    find_folder,
    kind_name,
)
from modelyard.configs.reading.document import Document
from modelyard.configs.reading.given import GIVEN
from modelyard.configs.reading.references import ConfigReference, references
from modelyard.configs.reading.shape import check_shape
from modelyard.core.errors import (
    Diagnostic,
    InvalidInput,
    ModelyardError,
    ProblemsFound,
    did_you_mean,
)
from modelyard.core.files import sha256_file
from modelyard.core.layout import Project
from modelyard.deployments.layers import build_effective
from modelyard.deployments.live_domains import (
    domains_of,
    integration_of,
    live_domains,
    profile_in_use,
)
from modelyard.deployments.needed import label_among, require_unneeded, without_configs
from modelyard.deployments.origins import deployable_content
from modelyard.deployments.plan import (
    Plan,
    PlanPreconditions,
    Request,
    build_plan,
    profile_changes,
)
from modelyard.deployments.revisions import (
    NotDeployed,
    Revision,
    check_environment,
    list_revisions,
    live_environments,
    live_snapshot,
    load_snapshot,
    not_deployed,
)
from modelyard.deployments.running import running_snapshot
from modelyard.deployments.snapshot import (
    Content,
    Snapshot,
    names_missing_config,
    require_closed,
    require_distinct_names,
    split_label,
)
from modelyard.deployments.stack import read_stack, rollback_stack
from modelyard.deployments.variants import require_test, with_variant


def propose(project: Project, request: Request, environment: str) -> Plan:
    """The plan of a request, from the current state.

    Raises ProblemsFound when a config is not valid, or when what would be live does not fit
    together; InvalidInput when something is named that does not exist.
    """
    check_environment(project, environment)
    make = {
        "deploy": _propose_deployment,
        "remove": _propose_removal,
        "switch": _propose_switch,
        "undo": _propose_undo,
        "rollback": _propose_rollback,
    }
    return make[request.action](project, request, environment)


def find_configs(project: Project, words: Sequence[str]) -> tuple[str, ...]:
    """The labels of the configs that the words name: paths, folders, KIND/NAME, or names.

    Of a folder all in it that are deployed.
    Raises InvalidInput for a file that is not among the project's configs, and for a folder in
    which none is.
    """
    catalogue = ConfigCatalogue(project)
    labels: list[str] = []
    problems: list[Diagnostic] = []
    for word in words:
        folder = find_folder(catalogue, word)
        named = [str(path) for path in _deployable_below(folder)] if folder else [word]
        if not named:
            raise InvalidInput(f"there is no config to deploy in {word}")
        for each in named:
            try:
                labels.append(_locate(catalogue, each).label)
            except ProblemsFound as error:
                problems += error.problems
    if problems:
        raise _not_valid(problems)
    return tuple(dict.fromkeys(labels))


def find_deployed(project: Project, words: Sequence[str], environment: str) -> tuple[str, ...]:
    """The labels of the configs that the words name, of those that are or were live.

    A word is that of a draft, or KIND/NAME or a name where the draft is gone.
    Raises InvalidInput for a word that names none, NotDeployed where nothing was ever live.
    """
    history = list_revisions(project, environment)
    if not history:
        raise _nothing_to_take_out(environment)
    known = dict.fromkeys(label for past in reversed(history) for label in past.configs)
    catalogue = ConfigCatalogue(project)
    labels: list[str] = []
    for word in words:
        try:
            label = catalogue.inspect(catalogue.locate(word)).label
        except ModelyardError:
            label = ""
        labels.append(label if label in known else label_among(word, known))
    return tuple(dict.fromkeys(labels))


def _locate(catalogue: ConfigCatalogue, word: str) -> Document:
    located = catalogue.locate(word)
    for path in catalogue.paths():
        if path == located or _is_same_file(path, located):
            document = catalogue.read(path)
            if not document.kind.deployable:
                raise InvalidInput(
                    f"{document.source.name} is not deployed: every command reads it as it is",
                    hint="leave it out; a change of it holds as soon as it is saved",
                )
            return document
    raise InvalidInput(
        f"{word} is not one of the project's configs",
        hint="only what lies under configs/ in the folder of its kind can be deployed",
    )


def _deployable_below(folder: Path) -> Iterator[Path]:
    """The files below a folder that are of a kind that is deployed."""
    return (path for path in configs_below(folder) if KINDS[kind_name(path)].deployable)


def _is_same_file(path: Path, other: Path) -> bool:
    with suppress(OSError):  # one of them may be a link to nothing
        return path.samefile(other)
    return False


def _require_valid(catalogue: ConfigCatalogue, paths: Sequence[Path], environment: str) -> None:
    """Return if every file is valid in an environment. Raises ProblemsFound with all problems.

    Other warnings than that something named is not there yet do not stop a deployment; `models
    validate-config` shows them.
    """
    if not paths:
        return
    live = live_environments(catalogue.project)
    report = check_configs(catalogue, paths, environments=(environment,), live=live)
    wrong = [
        replace(finding, level="error")
        for finding in report.findings
        if finding.level == "error" or finding.code == "not-there-yet"
    ]
    if wrong:
        raise _not_valid(wrong)


def _not_valid(problems: Sequence[Diagnostic]) -> ProblemsFound:
    by_option = all((problem.where or "").startswith(GIVEN) for problem in problems)
    return ProblemsFound(
        "the configs are not valid, so nothing was deployed",
        problems,
        hint="`models config explain KEY CONFIG` says what a setting takes"
        if by_option
        else "`models validate-config` shows the lines",
    )


def _propose_deployment(project: Project, request: Request, environment: str) -> Plan:
    if request.keep_variant is not None:
        return _propose_end_of_test(project, request, environment)
    catalogue = ConfigCatalogue(project)
    number, live = live_snapshot(project, environment)
    if request.every_config:
        _require_valid(catalogue, catalogue.paths(), environment)
        asked = [catalogue.read(path) for path in catalogue.deployable_paths()]
        before = Snapshot(profiles=live.profiles)  # what is no longer there goes out
    else:
        asked = [_find_label(catalogue, label) for label in request.configs]
        if request.settings:
            asked = [catalogue.lay_over(document, request.settings) for document in asked]
        before = live
    gathered = _gather(catalogue, asked, before, environment)
    if not request.every_config:
        _require_valid(catalogue, gathered.paths, environment)
    after = gathered.added_to(before, environment)
    domains = live_domains(after)
    profiles = {domain: profile for domain, profile in after.profiles.items() if domain in domains}
    return _plan(
        project,
        request,
        environment,
        number,
        live,
        Snapshot(configs=after.configs, profiles=profiles),
        gathered=gathered,
        asked=() if request.every_config else tuple(document.label for document in asked),
    )


def _propose_removal(project: Project, request: Request, environment: str) -> Plan:
    number, live = live_snapshot(project, environment)
    if not number:
        raise _nothing_to_take_out(environment)
    gone = [*live.configs] if request.every_config else list(request.configs)
    require_unneeded(gone, live, environment)
    after = without_configs(live, gone)
    return _plan(project, request, environment, number, live, after)


def _nothing_to_take_out(environment: str) -> NotDeployed:
    return NotDeployed(
        f"nothing is deployed to {environment}, so there is nothing to take out of it"
    )


def _propose_end_of_test(project: Project, request: Request, environment: str) -> Plan:
    """What is live with one variant of its A/B test in it and without the test; no draft is."""
    number, live = live_snapshot(project, environment)
    if not number:
        raise not_deployed(environment)
    test = require_test(integration_of(live), environment)
    variant = test.a if request.keep_variant == "a" else test.b
    after = with_variant(live, test, variant, live_domains(live))
    catalogue = ConfigCatalogue(project)
    configs = {
        label: _as_drafted(catalogue, label, content, environment)
        if content is not live.configs[label]
        else content
        for label, content in after.configs.items()
    }
    kept = Snapshot(configs=configs, profiles=after.profiles)
    return _plan(project, request, environment, number, live, kept)


def _as_drafted(
    catalogue: ConfigCatalogue, label: str, content: Content, environment: str
) -> Content:
    """The content with the lines of its draft, where the draft says the same."""
    with suppress(ModelyardError):
        draft = catalogue.find(*split_label(label))
        same = draft and deployable_content(draft, environment)
        if same and same.digest == content.digest:
            return same
    return content


def _find_label(catalogue: ConfigCatalogue, label: str) -> Document:
    found = catalogue.find(*split_label(label))
    if found is None:
        raise InvalidInput(f"there is no config {label}, or it cannot be read")
    return found


@dataclass(frozen=True, slots=True)
class _Gathered:
    """Configs that are deployed together."""

    documents: Mapping[str, Document]
    """Each by its label, in the order found."""
    named_by: Mapping[str, str]
    """For each included config that was not asked for, the label of the config that names it."""

    @property
    def paths(self) -> list[Path]:
        return [document.path for document in self.documents.values()]

    def added_to(self, live: Snapshot, environment: str) -> Snapshot:
        """The live snapshot with these configs resolved and added; they must be valid."""
        new = {
            label: deployable_content(document, environment)
            for label, document in self.documents.items()
        }
        return Snapshot(configs={**live.configs, **new}, profiles=live.profiles)


def _gather(
    catalogue: ConfigCatalogue, asked: Sequence[Document], live: Snapshot, environment: str
) -> _Gathered:
    """The configs asked for, and those that they name, directly or not, and that are not live.

    So no live config ever names one that is not live.
    """
    documents = {document.label: document for document in asked}
    named_by: dict[str, str] = {}
    waiting = list(asked)
    while waiting:
        document = waiting.pop(0)
        for found in _named(catalogue, document, live, environment):
            if found.label not in documents and found.label not in live.configs:
                documents[found.label] = found
                named_by[found.label] = document.label
                waiting.append(found)
    return _Gathered(documents, named_by)


def _named(
    catalogue: ConfigCatalogue, document: Document, live: Snapshot, environment: str
) -> Iterator[Document]:
    """The configs of the project that must be live when this one is."""
    settings = _settings_in(document, environment)
    if settings is None:
        return  # the check of the config reports it
    needed = [
        _find_named(catalogue, reference, environment)
        for reference in references(settings)
        if names_missing_config(reference, live)
    ]
    if document.kind.name == "specialized_models":
        needed.append(_read_integration(catalogue))
    yield from filter(None, needed)


def _find_named(
    catalogue: ConfigCatalogue, reference: ConfigReference, environment: str
) -> Document | None:
    """The project's config that a reference names."""
    if reference.to != "search_domains":
        return catalogue.find(reference.to, reference.target)
    group, _, domain = reference.target.rpartition("/")
    if group:
        return catalogue.find("embedding_models", group)
    for document in catalogue.documents("embedding_models"):
        settings = _settings_in(document, environment)
        if settings is not None and domain in settings.domains:
            return document
    return None


def _settings_in(document: Document, environment: str) -> Any:
    """The settings object of a document; None when they do not have the shape of their kind."""
    return check_shape(document, (environment,)).settings.get(environment)


def _read_integration(catalogue: ConfigCatalogue) -> Document | None:
    """The project's integration config, if it has one. Raises ModelyardError for a broken one."""
    paths = catalogue.paths("integration")
    return catalogue.read(paths[0]) if paths else None


def _propose_switch(project: Project, request: Request, environment: str) -> Plan:
    catalogue = ConfigCatalogue(project)
    number, live = running_snapshot(project, environment)
    profile = request.profile or ""
    asked = [
        *_missing_domains(catalogue, live, request.domain, environment),
        *_missing_profile(catalogue, live, profile, environment),
    ]
    gathered = _gather(catalogue, asked, live, environment)
    _require_valid(catalogue, gathered.paths, environment)
    after = gathered.added_to(live, environment)
    domains = live_domains(after) if request.domain is None else [request.domain]
    chosen = {domain: profile for domain in domains if profile_in_use(after, domain) != profile}
    switched = Snapshot(configs=after.configs, profiles={**live.profiles, **chosen})
    return _plan(project, request, environment, number, live, switched, gathered=gathered)


def _missing_domains(
    catalogue: ConfigCatalogue, live: Snapshot, domain: str | None, environment: str
) -> list[Document]:
    """The specialised models to deploy to make the domain live; none when it is."""
    known = live_domains(live)
    if domain in known or (domain is None and known):
        return []
    offered = _project_domains(catalogue, environment)
    if domain is not None and domain not in offered:
        every = sorted({*known, *offered})
        raise InvalidInput(
            f"there is no domain {domain!r}{did_you_mean(domain, every)}",
            hint=f"there are {', '.join(every)}"
            if every
            else "a domain is a config in configs/specialized_models/",
        )
    if not offered:
        raise InvalidInput(
            "there is no domain to switch",
            hint="a domain is a config in configs/specialized_models/",
        )
    wanted = offered if domain is None else {domain: offered[domain]}
    # A task of the integration config is a domain only where that config is live.
    names = dict.fromkeys(wanted.values())
    found = [catalogue.find("specialized_models", name) for name in names]
    if "integration" not in live.configs and any(task not in names for task in wanted):
        found.append(_read_integration(catalogue))
    return [document for document in found if document is not None]


def _project_domains(catalogue: ConfigCatalogue, environment: str) -> dict[str, str]:
    """The specialised model of each domain in the project's configs."""
    integration = _read_integration(catalogue)
    settings = _settings_in(integration, environment) if integration else None
    return domains_of(catalogue.names("specialized_models"), settings)


def _missing_profile(
    catalogue: ConfigCatalogue, live: Snapshot, profile: str, environment: str
) -> list[Document]:
    """The profile's config, when it is not live yet."""
    if f"performance_profiles/{profile}" in live.configs:
        return []
    found = catalogue.find("performance_profiles", profile)
    if found is not None:
        return [found]
    known = sorted({*catalogue.names("performance_profiles"), *live.names("performance_profiles")})
    raise InvalidInput(
        f"there is no performance profile {profile!r}{did_you_mean(profile, known)}",
        hint=f"there are {', '.join(known)}"
        if known
        else "a profile is a config in configs/performance_profiles/",
    )


def _propose_undo(project: Project, request: Request, environment: str) -> Plan:
    history = list_revisions(project, environment)
    if not history:
        raise not_deployed(environment)
    standing = read_stack(history, pushing=("switch",))
    if not standing:
        further = f"; `models deploy-config --rollback --env {environment}` undoes a deployment"
        raise ModelyardError(
            f"there is no switch left to undo in {environment}",
            hint=f"`models deployments --env {environment}` shows what was done"
            + (further if environment != DEFAULT_ENVIRONMENT else ""),
        )
    switch = standing[-1]
    before = switch.number - 1
    old = next((revision.profiles for revision in history if revision.number == before), {})
    number, live = running_snapshot(project, environment)
    switched = [change.domain for change in profile_changes(old, switch.profiles)]
    profiles = {
        **{key: live.profiles[key] for key in live.profiles if key not in switched},
        **{key: old[key] for key in old if key in switched},
    }
    after = Snapshot(configs=live.configs, profiles=profiles)
    return _plan(project, request, environment, number, live, after, goes_back_to=before or None)


def _propose_rollback(project: Project, request: Request, environment: str) -> Plan:
    history = list_revisions(project, environment)
    if not history:
        raise not_deployed(environment)
    to = request.to
    if to is None:
        stack = rollback_stack(history)
        if len(stack) < 2:
            earlier = f"; `models deployments --env {environment}` lists all for --to REV"
            raise ModelyardError(
                f"nothing was live in {environment} before revision {history[-1].number}",
                hint="a rollback needs an earlier revision, and a deployment makes a new one"
                + (earlier if len(history) > 1 else ""),
            )
        to = stack[-2].number
    after = load_snapshot(project, environment, to)
    number, live = running_snapshot(project, environment)
    if environment == DEFAULT_ENVIRONMENT:
        after = Snapshot(configs=live.configs, profiles=after.profiles)
    return _plan(project, request, environment, number, live, after, goes_back_to=to)


def plan_of_revision(project: Project, revision: Revision, request: Request) -> Plan:
    """The plan that made a revision, derived from what was live before it."""
    before = Snapshot()
    if revision.number > 1:
        before = load_snapshot(project, revision.environment, revision.number - 1)
    after = load_snapshot(project, revision.environment, revision.number)
    preconditions = PlanPreconditions(
        request=request,
        environment=revision.environment,
        from_revision=revision.number - 1,
        goes_back_to=revision.from_revision,
        sources={},
        contents=after.digests,
        profiles=dict(after.profiles),
    )
    return build_plan(preconditions, before, after)


def _plan(
    project: Project,
    request: Request,
    environment: str,
    number: int,
    live: Snapshot,
    after: Snapshot,
    *,
    gathered: _Gathered | None = None,
    asked: tuple[str, ...] = (),
    goes_back_to: int | None = None,
) -> Plan:
    """The plan from the live snapshot to another one, which must be complete."""
    if environment == DEFAULT_ENVIRONMENT:  # drafts may be unfinished where nothing changes
        domains = {key for key in after.profiles if after.profiles[key] != live.profiles.get(key)}
    else:
        require_closed(after, environment)
        require_distinct_names(after, environment)
        domains = set(live_domains(after))
    for domain in sorted(domains):
        build_effective(after, environment, number, domain)
    preconditions = PlanPreconditions(
        request=request,
        environment=environment,
        from_revision=number,
        goes_back_to=goes_back_to,
        sources=_hashes(project, gathered.paths if gathered else []),
        contents=after.digests,
        profiles=dict(after.profiles),
    )
    return build_plan(
        preconditions,
        live,
        after,
        named_by=gathered.named_by if gathered else None,
        asked=asked,
    )


def _hashes(project: Project, paths: Iterable[Path]) -> dict[str, str]:
    try:
        return {project.show(path): sha256_file(path) for path in sorted(paths)}
    except OSError as error:
        raise InvalidInput(
            f"cannot read: {error.strerror}", where=project.show(Path(str(error.filename)))
        ) from error
