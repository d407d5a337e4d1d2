"""`models adapters verify`: whether versions are what was registered, and fit their base."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.adapters.versions import (
    AdapterVersion,
    list_adapters,
    list_known_adapters,
    load_version,
    named_adapter,
    require_numbers,
    resolve_number,
    version_numbers,
)
from modelyard.cli.job_progress import showing_progress
from modelyard.cli.options import Json
from modelyard.cli.render import print_json, print_text
from modelyard.core.errors import Diagnostic, InvalidInput, ModelyardError
from modelyard.core.layout import Project, find_project
from modelyard.core.progress import Progress
from modelyard.core.wording import counted
from modelyard.results.json_form import published

if TYPE_CHECKING:
    from modelyard.weights.local import LocalBase


@dataclass(frozen=True, kw_only=True)
class Verified:
    """One version, or the link of an adapter, after its check."""

    version: str
    """NAME@VERSION; the adapter's name where its link is wrong."""
    ok: bool
    """Whether nothing is wrong."""
    problems: tuple[Diagnostic, ...] = field(metadata=published(without=("level", "code", "path")))
    """What is wrong."""
    logit_change: float | None
    """The largest change of a logit of its base, measured with --deep; else, and where one
    is not finite, null."""


def verify(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME[@V]", help="A version of an adapter; without @V, the active one."
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every version of every adapter, or of NAME.")
    ] = False,
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Also load it, and show that it changes what its base says."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Check versions byte by byte, and against their base.

    Every file has the SHA-256 of its manifest, and there are no others; weights are safetensors;
    the base is the one it was trained on; all keys and shapes are the base's; not every B is zero;
    tokenizer and chat template are those it was trained with. Exit code 1 when something is wrong.

    \b
    models adapters verify techcorp-demo
    models adapters verify --all --json

    With --all the links in models/trained/ are checked too; a wrong one stands under its adapter's
    name.
    """

    project = find_project()
    with showing_progress() as progress:
        results = [
            _verify_one(project, adapter, number, deep, progress)
            for adapter, number in _chosen(project, name, every)
        ]
        if every:
            results += _verify_pointers(project, name)
    if as_json:
        print_json(results)
    elif not results:
        print_text("There is no version to check yet.")
    else:
        for result in results:
            _print_result(result)
    if wrong := [result.version for result in results if not result.ok]:
        checked = counted(len(results), "version")
        raise ModelyardError(
            f"{len(wrong)} of {checked} {'is' if len(wrong) == 1 else 'are'} not as "
            f"{'it' if len(wrong) == 1 else 'they'} should be: {', '.join(wrong)}",
            hint="roll back to a whole one, and restore the files from a backup or a registry",
        )


def _chosen(project: Project, name: str | None, every: bool) -> list[tuple[str, int]]:
    if every:
        if name is not None:
            adapter = named_adapter(name)
            is_known = adapter in list_known_adapters(project)
            numbers = (version_numbers if is_known else require_numbers)(project, adapter)
            return [(adapter, number) for number in numbers]
        return [
            (adapter, number)
            for adapter in list_adapters(project)
            for number in version_numbers(project, adapter)
        ]
    if name is None:
        raise InvalidInput("nothing was named to check", hint="name a version, or use --all")
    return [resolve_number(project, name)]


def _verify_pointers(project: Project, name: str | None) -> list[Verified]:
    """A result for each adapter whose link is wrong."""
    from modelyard.adapters.verify import verify_pointer

    return [
        _result(adapter, problems, None)
        for adapter in (list_known_adapters(project) if name is None else [named_adapter(name)])
        if (problems := verify_pointer(project, adapter))
    ]


def _verify_one(
    project: Project, adapter: str, number: int, deep: bool, progress: Progress
) -> Verified:
    from modelyard.adapters.verify import verify_version

    problems: list[Diagnostic] = []
    change = None
    try:
        version = load_version(project, adapter, number)
        base = _locate(project, version, problems, progress)
        problems += verify_version(project, version, base)
        if deep and base is not None and not problems:
            change = _logit_change(version, base, progress)
            if not math.isfinite(change):
                message = "gives logits that are not finite numbers"
                problems.append(
                    Diagnostic(message=message, hint="verify its base too: `models base show`")
                )
            elif not change > 0:
                problems.append(Diagnostic(message="changes nothing: its logits are the base's"))
    except ModelyardError as error:
        problems += error.diagnostics()
    return _result(f"{adapter}@{number}", problems, change)


def _result(name: str, problems: list[Diagnostic], change: float | None) -> Verified:
    return Verified(version=name, ok=not problems, problems=tuple(problems), logit_change=change)


def _locate(
    project: Project, version: AdapterVersion, problems: list[Diagnostic], progress: Progress
) -> LocalBase | None:
    """The version's base; when it is not here or damaged, that is one of the problems."""
    from modelyard.weights.local import locate_base

    name = version.manifest.base.name
    try:
        base = locate_base(project, name, progress=progress)
        message = f"its base {name} is not on this machine, so its fit could not be checked"
        hint: str | None = f"run `models base pull {name}`"
    except ModelyardError as error:
        base, message, hint = None, f"its base cannot be used: {error}", error.hint
    if base is None:
        problems.append(Diagnostic(message=message, hint=hint))
    return base


def _logit_change(version: AdapterVersion, base: LocalBase, progress: Progress) -> float:
    from modelyard.inference.merge import measure_logit_change
    from modelyard.inference.open_model import open_model
    from modelyard.modelrefs.local_model import LocalModel

    progress.stage(f"load: {base.name} with {version.name}")
    return measure_logit_change(open_model(LocalModel(base=base, version=version)))


def _print_result(result: Verified) -> None:
    if result.ok:
        change = result.logit_change
        moved = "" if change is None else f", and it moves logits of its base by up to {change:.2f}"
        print_text(f"{result.version}  complete, and fits its base{moved}")
        return
    print_text(f"{result.version}  {counted(len(result.problems), 'problem')}")
    for problem in result.problems:
        print_text(f"  {problem}")
        if problem.hint:
            print_text(f"    {problem.hint}")
