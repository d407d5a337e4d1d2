"""Checks configs: YAML, shape, meaning and secrets; every finding of every file in one go.

Nothing is executed and no file is changed. Of the files outside configs/ only cards are read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from modelyard.configs.checking.found import SecretPlace, Verdict
from modelyard.configs.checking.meaning import Check, load_check, warning
from modelyard.configs.checking.meaning.calls import check_endpoint
from modelyard.configs.checking.meaning.references import check_references
from modelyard.configs.checking.report import CheckReport, SecretUse
from modelyard.configs.checking.view import ConfigSet, EnvironmentView
from modelyard.configs.compare import mask_problems
from modelyard.configs.environments import ENVIRONMENTS_FILE, find_undeclared
from modelyard.configs.kinds import HEADER_KEYS
from modelyard.configs.kinds.endpoints import endpoint_url
from modelyard.configs.reading.catalogue import (
    ConfigCatalogue,
    GivenConfigs,
    find_unread,
    kind_name,
    open_catalogue,
    select_configs,
)
from modelyard.configs.reading.document import (
    Document,
    peek_name_in,
    resolve,
    written_where,
)
from modelyard.configs.reading.given import GIVEN
from modelyard.configs.reading.references import secret_references
from modelyard.configs.reading.shape import Shaped
from modelyard.core.errors import Diagnostic, InvalidInput, KeyPath, ModelyardError, dotted
from modelyard.core.layout import Project
from modelyard.core.seen_from import STDIN, without_dots
from modelyard.core.shares import in_shares
from modelyard.secrets.detection import InlineSecret, find_secrets, mask_tokens
from modelyard.secrets.references import NoUsableEndpoint
from modelyard.settings.placeholders import encrypted_spans, wanted_secret

_SECRET_REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:/\S+")
_PLACE = re.compile(r".*:[0-9]+:[0-9]+", re.DOTALL)
_MOST_BYTES = 1_000_000
"""A larger file is refused whole; no part of it is checked."""
_FEWEST_SHARED = 100
"""Fewer files are checked sooner in one process."""
_FEWEST_KEPT = 50
"""Fewer files are checked as soon as their verdicts are found."""
_MOST_SECRETS = 100
"""Secrets reported of one file."""


def check_named(
    words: Sequence[str],
    *,
    environment: str | None = None,
    strict: bool = False,
    stdin: bytes | None = None,
    stdin_file: str | None = None,
    find_live: Callable[[Project], Collection[str]] = lambda _: (),
    processes: int = 1,
    keep: bool = False,
) -> CheckReport:
    """Check the configs that files, folders, KIND/NAME and names choose; without words, all.

    `stdin` is a config too, where it is given: the content of the file `stdin_file`, which need not
    be there yet, or of one that has no name.
    In one environment, or in all that are declared; `find_live` gives those in which something is
    live, when their declaration is checked. See check_configs.
    Raises InvalidInput for a word or an environment that names nothing and when there is no
    project, NoData when there is no config at all.
    """
    catalogue = open_catalogue(words, without_files=stdin is not None)
    paths = select_configs(catalogue, words) if words or stdin is None else []
    if stdin is not None:
        paths.append(_path_of_stdin(catalogue, stdin_file))
        catalogue.take_content(paths[-1], stdin)
    checks_environments = _take_environments(catalogue, paths) or (not words and stdin is None)
    if environment is not None and not catalogue.environments.problems:
        catalogue.environments.require(environment)
    return check_configs(
        catalogue,
        paths,
        environments=(environment,) if environment is not None else None,
        live=find_live(catalogue.project) if checks_environments else (),
        strict=strict,
        unread=not words and stdin is None,
        processes=processes,
        keep=keep and stdin is None,
    )


def _path_of_stdin(catalogue: ConfigCatalogue, file: str | None) -> Path:
    if file is None:
        return catalogue.project.root / STDIN
    try:
        return catalogue.locate(file)
    except InvalidInput:
        return without_dots(Path(file))


def _take_environments(catalogue: ConfigCatalogue, paths: Sequence[Path]) -> bool:
    """Whether a declaration of environments is checked; one outside configs/ is taken as in it."""
    given = [path for path in paths if kind_name(path) == "environments"]
    if given and given[0] not in catalogue.paths("environments"):
        catalogue.replace_environments(given[0])
    return bool(given)


def check_configs(
    catalogue: ConfigCatalogue,
    paths: Sequence[Path],
    *,
    environments: tuple[str, ...] | None = None,
    live: Collection[str] = (),
    strict: bool = False,
    unread: bool = False,
    processes: int = 1,
    keep: bool = False,
) -> CheckReport:
    """Check config files, as they are in each of the environments; default: all that are declared.

    A file outside the project's configs/ is checked as if it replaced the one of its name.
    `live` are the environments in which something is live, so that they must be declared.
    `strict` checks against the published JSON Schema as well; `unread` warns of files in configs/
    that nothing reads. With more than one of `processes` many files are checked in forked ones, so
    the calling process must have no other threads. With `keep` verdicts on many files are kept in
    the project, and those that still hold are taken from there: for configs as they lie on the
    disk. Findings are sorted by file and line, each once;
    one that does not occur in every environment names those in which it does.
    """
    chosen = list(dict.fromkeys(path.absolute() for path in paths))
    checks_environments = _take_environments(catalogue, chosen)
    environments = catalogue.environments.names if environments is None else environments
    findings = [] if checks_environments else [*_check_environments(catalogue, live)]
    findings += find_unread(catalogue.project) if unread else ()
    checked = _check_new(catalogue, chosen, environments, live, strict, processes) if keep else None
    if checked is None:
        checked = _check_in_shares(catalogue, chosen, environments, live, strict, processes)
    if checked is None:
        configs = ConfigSet(catalogue, chosen, environments, live)
        checked = _check_files(configs, chosen, strict)
    findings = [*mask_problems(findings)]
    uses: dict[tuple[str, str], SecretUse] = {}
    look_up = cache(partial(_look_up, catalogue.project))
    for verdict in checked.verdicts:
        findings += verdict.findings
        has_key = any(not use.is_endpoint for use in verdict.secrets)
        for use in verdict.secrets:
            if (use.reference, use.where) not in uses:
                found = look_up(use.reference, use.is_endpoint)
                uses[use.reference, use.where] = replace(found, where=use.where)
                if use.is_endpoint:
                    findings += _check_endpoint_here(uses[use.reference, use.where], has_key)
    files = tuple(catalogue.project.show(path) for path in chosen)
    return CheckReport(
        start=catalogue.project.root,
        in_project=not isinstance(catalogue, GivenConfigs),
        files=files,
        findings=tuple(_sorted(findings)),
        secrets=tuple(use for _, use in sorted(uses.items())),
    )


@dataclass(frozen=True, slots=True)
class _Checked:
    """What was found in some files, and whether that hangs on which files were read before."""

    verdicts: list[Verdict]
    by_order: bool


def _check_files(configs: ConfigSet, paths: Sequence[Path], strict: bool) -> _Checked:
    """Check some of the files of a set."""
    catalogue = configs.catalogue
    views = [EnvironmentView(configs, environment) for environment in configs.environments]
    verdicts: list[Verdict] = []
    by_order = False
    for path in paths:
        configs.asked.clear()
        for view in views:
            view.begin_file()
        uses: Iterable[SecretPlace] = ()
        file = catalogue.project.show(path)
        try:
            document = catalogue.inspect(path)
        except ModelyardError as error:
            whole = Diagnostic(message=error.message, where=error.where, hint=error.hint)
            found: Iterable[Diagnostic] = error.problems or (whole,)
            text = _text_of(path, catalogue.content_of(path))
        else:
            found = (*_check_document(document, configs, views, strict), *_given_secrets(document))
            text = document.source.text
            uses = dict.fromkeys(_secret_uses(document, configs))
            by_order |= peek_name_in(text, path) != document.name  # only found by parsing it
        findings = [_placed(finding, file) for finding in (*found, *_secrets_in(text, file))]
        asked = configs.all_asked(path)
        verdicts.append(Verdict(path, mask_problems(findings), tuple(uses), asked))
    by_order |= any(view.cycles for view in views)  # each is reported where it is met first
    return _Checked(verdicts, by_order)


def _check_new(
    catalogue: ConfigCatalogue,
    paths: Sequence[Path],
    environments: tuple[str, ...],
    live: Collection[str],
    strict: bool,
    processes: int,
) -> _Checked | None:
    """Check what has no verdict that holds; None for few, and where it would not be the same."""
    if len(paths) < _FEWEST_KEPT or isinstance(catalogue, GivenConfigs):
        return None
    from modelyard.configs.checking.verdicts import KeptVerdicts

    kept = KeptVerdicts(catalogue.project, environments, strict=strict)
    if not kept.paths.issuperset(paths):
        return None
    found = {path: kept.find(path) for path in paths}
    new = [path for path, verdict in found.items() if verdict is None]
    read = kept.catalogue
    checked = _check_in_shares(read, new, environments, live, strict, processes, among=paths)
    if checked is None:
        configs = ConfigSet(read, paths, environments, live, read=new)
        checked = _check_files(configs, new, strict)
    if checked.by_order:
        return None
    kept.keep(checked.verdicts)
    verdicts = [verdict for verdict in found.values() if verdict is not None]
    return _Checked([*verdicts, *checked.verdicts], by_order=False)


def _check_in_shares(
    catalogue: ConfigCatalogue,
    paths: Sequence[Path],
    environments: tuple[str, ...],
    live: Collection[str],
    strict: bool,
    processes: int,
    *,
    among: Sequence[Path] | None = None,
) -> _Checked | None:
    """Check many files in several processes; None for few, and where it would not be the same.

    `among` are all that are checked, of which others than `paths` have a verdict already.
    """
    if processes < 2 or len(paths) < _FEWEST_SHARED or not {*catalogue.paths()}.issuperset(paths):
        return None

    def check(share: Sequence[Path]) -> _Checked:
        configs = ConfigSet(catalogue, among or paths, environments, live, read=share)
        return _check_files(configs, share, strict)

    shares = in_shares(check, paths, processes=processes)
    if any(share.by_order for share in shares):
        return None
    return _Checked([verdict for share in shares for verdict in share.verdicts], by_order=False)


def _check_environments(catalogue: ConfigCatalogue, live: Collection[str]) -> Iterator[Diagnostic]:
    """What is wrong with the declaration of environments, which is not among what is checked."""
    declared = catalogue.environments
    yield from declared.problems or (
        replace(missing, where=f"{ENVIRONMENTS_FILE}:1:1")
        for missing in find_undeclared(declared.names, live)
    )


def _placed(finding: Diagnostic, file: str) -> Diagnostic:
    """The finding with a code and a place; without a place it is about the file's first line."""
    is_given = finding.where is not None and finding.where.startswith(GIVEN)
    placed = is_given or (finding.where and _PLACE.fullmatch(finding.where))
    where = finding.where if placed else f"{file}:1:1"
    return replace(finding, where=where, code=finding.code or "unreadable")


def _sorted(findings: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Each finding once, by its place."""
    by_place = {
        (finding.place, finding.level, str(finding.code), finding.message): finding
        for finding in findings
    }
    return tuple(by_place[key] for key in sorted(by_place))


def _text_of(path: Path, data: bytes | None = None) -> str:
    """The text of a file that is not valid: a secret may stand in it all the same."""
    if data is not None:
        return data.decode("utf-8-sig", "replace") if len(data) <= _MOST_BYTES else ""
    if not path.is_file():  # a pipe would never end
        return ""
    try:
        with path.open("rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
    except OSError:
        return ""
    return data.decode("utf-8-sig", "replace") if len(data) <= _MOST_BYTES else ""


def _check_document(
    document: Document, configs: ConfigSet, views: Sequence[EnvironmentView], strict: bool
) -> Iterator[Diagnostic]:
    yield from document.problems
    for odd in document.source.warnings:
        yield replace(odd, level="warning")
    shaped = configs.shaped(document)
    yield from shaped.problems
    found: list[Diagnostic] = list(_check_name(document, configs))
    if not document.problems:
        found += _check_overlays(document)
        if strict and not shaped.problems:
            from modelyard.configs.checking.json_schema import check_by_schema

            found += check_by_schema(document, shaped)
    for finding in found:
        yield replace(finding, where=document.source.where(finding.path))
    yield from _check_meaning(document, shaped, views)


def _check_name(document: Document, configs: ConfigSet) -> Iterator[Diagnostic]:
    namesakes = configs.paths_named(document.kind.name, document.name)
    if document.problems and document.path not in namesakes:
        return  # a draft that replaces nothing yet
    others = [path.name for path in namesakes if path != document.path]
    if others:
        what = f"another {document.kind.noun} called '{document.name}'"
        yield Diagnostic(
            path=("name",),
            code="duplicate-name",
            message=f"there is {what}, and only one of them would be found: {', '.join(others)}",
            hint="remove one" if document.kind.single else "give one of them another `name:`",
        )


def _check_overlays(document: Document) -> Iterator[Diagnostic]:
    """Overlays that are empty, and values in them that equal those of the base."""
    written = document.source.value
    if not document.kind.deployable:
        return
    if "environments" in written and not written["environments"]:
        message = "'environments' is empty, so that every environment is the same"
        yield warning(("environments",), "empty-overlay", message, hint="leave it out")
    own = resolve(document).values
    for environment, overlay in document.overlays.items():
        *inherited, _ = document.environments.lineage(environment)
        below = resolve(document, inherited[-1]).values if inherited else own
        source = inherited[-1] if any(map(document.overlays.get, inherited)) else "the base"
        yield from _check_overlay(overlay or {}, below, ("environments", environment), source)


def _check_overlay(
    above: Mapping[str, Any], below: Mapping[str, Any], path: KeyPath, source: str
) -> Iterator[Diagnostic]:
    if not above:
        message = f"'{dotted(path)}' is empty, and changes nothing"
        yield warning(path, "empty-overlay", message, hint="leave it out")
    for key, value in above.items():
        if key not in below or key in HEADER_KEYS:
            continue
        under, spot = below[key], (*path, key)
        if isinstance(value, dict) and isinstance(under, dict):
            yield from _check_overlay(value, under, spot, source)
        elif type(value) is type(under) and value == under:
            yield warning(
                spot,
                "same-as-base",
                f"'{dotted(spot)}' equals the value of {source}",
                hint=f"leave it out, so that a change of {source} reaches this environment too",
            )


def _check_meaning(
    document: Document, shaped: Shaped, views: Sequence[EnvironmentView]
) -> Iterator[Diagnostic]:
    """What is wrong in each environment; what is wrong in all of them is reported once."""
    check = load_check(document.kind.name)
    found: dict[Diagnostic, dict[str, None]] = {}
    missing = {problem.path for problem in shaped.problems if problem.code == "missing"}
    checked = 0
    for view in views:
        environment = view.environment
        settings = shaped.settings.get(environment)
        doubtful = () if settings is not None else shaped.doubtful.get(environment, ())
        variants = shaped.partly.get(environment, ()) if settings is None else (settings,)
        if not variants:
            continue
        checked += 1
        where = None
        for finding in _found_in_all(variants, document.name, check, view):
            if _is_doubtful(finding, doubtful, missing):
                continue
            where = where or written_where(document, environment)
            placed = replace(finding, where=where(finding.path))
            found.setdefault(placed, {})[environment] = None
    for finding, environments in found.items():
        only = f" (in {' and '.join(environments)})" if len(environments) < checked else ""
        yield replace(finding, message=f"{finding.message}{only}")


def _found_in_all(
    variants: Sequence[Any], name: str, check: Check, view: EnvironmentView
) -> list[Diagnostic]:
    """What is found in each of several settings: nothing then follows from how they differ."""
    first, *others = variants
    found = [*check_references(first, view), *check(first, name, view)]
    for other in others:
        if not found:
            break
        again = {*check_references(other, view), *check(other, name, view)}
        found = [finding for finding in found if finding in again]
    return found


def _is_doubtful(
    finding: Diagnostic, doubtful: Iterable[KeyPath], missing: Collection[KeyPath]
) -> bool:
    """Whether a finding may only follow from values that had to be left out, or filled in.

    What is found of a group that lacks something is found with any value in its place.
    """
    blamed = finding.path
    return any(
        f"'{dotted(path)}'" in finding.message
        or blamed[: len(path)] == path
        or (blamed and path not in missing and path[: len(blamed)] == blamed)
        for path in doubtful
    )


def _secrets_in(text: str, file: str) -> Iterator[Diagnostic]:
    """One finding for each secret in the text of a file, for the first hundred of them."""
    encrypted = encrypted_spans(text)
    secrets = [
        secret for secret in find_secrets(text) if not _is_reference(secret, text, encrypted)
    ]
    for secret in secrets[:_MOST_SECRETS]:
        line = text.count("\n", 0, secret.start) + 1
        column = secret.start - text.rfind("\n", 0, secret.start)
        yield Diagnostic(
            where=f"{file}:{line}:{column}",
            code="inline-secret",
            message=f"this looks like a secret ({secret.kind}), and everyone who can read the "
            "file could use it",
            hint="write `env:NAME` or `file:PATH` here, and replace the secret where it came "
            "from: it is in the history",
        )


def _given_secrets(document: Document) -> Iterator[Diagnostic]:
    """One finding for each setting of the command line in which a secret stands."""
    given = document.given
    if given is not None:
        for finding in _secrets_in(given.source.text, GIVEN):
            _, line, _ = finding.place
            yield replace(
                finding,
                message=f"{finding.message.partition(',')[0]}, and would be kept with the revision",
                hint="write `env:NAME` or `file:PATH` here",
                where=given.where_of_line(line),
            )


def _is_reference(secret: InlineSecret, text: str, encrypted: Sequence[tuple[int, int]]) -> bool:
    """Whether what looks like a secret is another program's reference to one, or encrypted."""
    if any(first <= secret.start < last for first, last in encrypted):
        return True
    value = text[secret.start : secret.end]
    return secret.is_value and wanted_secret(value) is not None and mask_tokens(value) == value


def _secret_uses(document: Document, configs: ConfigSet) -> Iterator[SecretPlace]:
    """Each reference to a secret or an endpoint, and where it stands."""
    shaped = configs.shaped(document)
    if shaped.doubtful:
        for reference, where in _written_secrets(document.source.value, (), document):
            yield SecretPlace(reference, where, is_endpoint=False)
        return
    for environment, settings in shaped.settings.items():
        for found in secret_references(settings):
            where = written_where(document, environment)(found.path)
            yield SecretPlace(found.target, where, is_endpoint=found.to == "endpoints")


def _look_up(project: Project, reference: str, is_endpoint: bool) -> SecretUse:
    """Whether a reference leads to something here and now, and to which endpoint."""
    use = SecretUse(reference=reference, where="", available=False)
    if not is_endpoint:
        return replace(use, available=_is_available(project, reference))
    try:
        return replace(use, available=True, value=endpoint_url(reference))
    except NoUsableEndpoint as error:
        is_set = bool(os.environ.get(reference.partition(":")[2], "").strip())
        return replace(use, problem=error.message if is_set else None)


def _check_endpoint_here(use: SecretUse, has_key: bool) -> Iterator[Diagnostic]:
    """What is wrong with the URL that a variable holds here and now: no matter of the file alone,
    so a warning."""
    if use.problem is not None:
        yield Diagnostic(
            message=f"{use.reference}: {use.problem}",
            where=use.where,
            hint="set it to a URL such as https://api.example.com/v1",
            code="wrong-form",
            level="warning",
        )
    for found in check_endpoint(use.value, "a key" if has_key else None, ("endpoint",)):
        message = f"{found.message} ({use.reference} is {use.value} here)"
        yield replace(found, message=message, where=use.where, level="warning", path=())


def _written_secrets(value: Any, path: KeyPath, document: Document) -> Iterator[tuple[str, str]]:
    """What looks like a reference to a secret in a document that is not valid."""
    if isinstance(value, str):
        if value.startswith(("env:", "file:")) and _SECRET_REFERENCE.fullmatch(value):
            yield value, document.source.where(path)
    elif isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _written_secrets(item, (*path, key), document)


def _is_available(project: Project, reference: str) -> bool:
    """Whether the secret that a reference names is there. It is never read."""
    scheme, _, name = reference.partition(":")
    if scheme == "env":
        return bool(os.environ.get(name))
    try:
        return project.written_path(name).is_file()
    except (OSError, RuntimeError, ValueError):
        return False
