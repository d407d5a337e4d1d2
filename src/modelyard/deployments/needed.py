"""What of an environment still needs configs that are to be taken out of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from modelyard.configs.reading.references import references
from modelyard.core.errors import Diagnostic, InvalidInput, ProblemsFound, did_you_mean, dotted
from modelyard.deployments.live_domains import live_domains
from modelyard.deployments.snapshot import Snapshot, names_missing_config, split_label

_MOST_NAMED = 6
"""Configs that a hint names together."""


def require_unneeded(gone: Collection[str], before: Snapshot, environment: str) -> None:
    """Return if nothing that stays needs the configs that go. Raises ProblemsFound with what does.

    gone: the labels of those that go. before: what is live with them.
    """
    needs = _needs(gone, before)
    if not needs:
        return
    together = {*gone}
    while more := {need.label for need in _needs(together, before)}:
        together |= more
    ways = []
    if all(need.names_it for need in needs):
        ways.append("deploy each of these without it first")
    if len(together) <= _MOST_NAMED:
        words = " ".join(sorted(together))
        command = f"`models config remove {words} --env {environment}`"
        ways.append(f"take out together what needs it: {command}")
    everything = f"`models config remove --all --env {environment}` takes out all that is live"
    raise ProblemsFound(
        f"{environment} still needs {' and '.join(sorted(gone))}",
        [Diagnostic(message=need.message, code="still-needed") for need in needs],
        hint=", or ".join(ways) or everything,
    )


@dataclass(frozen=True, slots=True)
class _Need:
    """A config that stays and needs one that goes, and why."""

    label: str
    message: str
    names_it: bool = False
    """Whether the config names what goes, which it can be deployed without."""


def _needs(gone: Collection[str], before: Snapshot) -> list[_Need]:
    """Everything that would stay and needs one of these, once for each."""
    after = without_configs(before, gone)
    return [*_naming(before, after), *_switched(gone, after), *_governed(gone, after)]


def _naming(before: Snapshot, after: Snapshot) -> Iterator[_Need]:
    """The configs that name what is live before and not after."""
    for label in sorted(after.configs):
        keys: dict[str, list[str]] = {}
        for reference in references(after.settings(label)):
            missing = names_missing_config(reference, after)
            if missing and not names_missing_config(reference, before):
                keys.setdefault(reference.target, []).append(dotted(reference.path))
        for target, named in keys.items():
            yield _Need(label, f"{label} names {target}: {', '.join(named)}", names_it=True)


def _switched(gone: Collection[str], after: Snapshot) -> Iterator[_Need]:
    """The domains that were switched to a profile which goes."""
    domains = live_domains(after)
    for domain, profile in sorted(after.profiles.items()):
        if f"performance_profiles/{profile}" in gone:
            message = f"{domain} was switched to {profile}: `models switch-config` takes another"
            yield _Need(f"specialized_models/{domains[domain]}", message)


def _governed(gone: Collection[str], after: Snapshot) -> Iterator[_Need]:
    """The specialised models, whose budgets, limits and fallback an integration config has."""
    for name in after.names("specialized_models") if "integration" in gone else ():
        label = f"specialized_models/{name}"
        yield _Need(label, f"{label} answers with its budgets, limits and fallback")


def without_configs(live: Snapshot, gone: Collection[str]) -> Snapshot:
    """What stays live without these configs: profiles that were chosen for the domains that stay.

    Raises ProblemsFound when a config that stays is not valid for this version of modelyard.
    """
    configs = {label: live.configs[label] for label in live.configs if label not in gone}
    domains = live_domains(Snapshot(configs=configs))
    profiles = {domain: live.profiles[domain] for domain in live.profiles if domain in domains}
    return Snapshot(configs=configs, profiles=profiles)


def label_among(word: str, known: Collection[str]) -> str:
    """The label that a person means by KIND/NAME, KIND/NAME.yaml or a name, of configs that were
    live and may have no draft any more.

    Raises InvalidInput when there is none, or when a name fits several.
    """
    bare = word.removesuffix(".yaml").removesuffix(".yml").removeprefix("configs/")
    bare = bare.removesuffix("_config") if "/" in bare else bare
    fitting = [label for label in known if bare == label or bare == split_label(label)[1]]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise InvalidInput(f"{word!r} could be {' and '.join(fitting)}", hint="say which")
    names = sorted({*known, *(split_label(label)[1] for label in known)})
    raise InvalidInput(
        f"there is no config {word!r}{did_you_mean(word, names)}",
        hint="`models config diff` and `models deployments` show what is live",
    )
