"""The environments that a project declares: their names, what they inherit, which are protected."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from modelyard.configs.kinds import DEFAULT_ENVIRONMENT, STANDARD_ENVIRONMENTS
from modelyard.configs.kinds.environments import Environment, ProjectEnvironments
from modelyard.core.errors import Diagnostic, InvalidInput, ProblemsFound, nearest

ENVIRONMENTS_FILE = "configs/environments.yaml"

_PROTECTED = "production"
_LAYER_NAMES = ("default", "base")


def did_you_mean_environment(word: str, names: Sequence[str]) -> str:
    """` (did you mean 'x'?)` for the nearest name, also when the word is its beginning: `prod`."""
    near = nearest(word, names)
    if near is None and word:
        near = next((name for name in names if name.startswith(word)), None)
    return f" (did you mean '{near}'?)" if near else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredEnvironments:
    """The environments of a project, in the order in which they are declared."""

    declared: Mapping[str, Environment]
    """Each by its name."""
    problems: tuple[Diagnostic, ...] = ()
    """What is wrong with their declaration; what is declared is then only what could be read."""

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each."""
        return tuple(self.declared)

    def require(self, name: str) -> str:
        """Return `name` if it is declared.

        Raises InvalidInput when it is not, ProblemsFound when the declaration is not valid.
        """
        self.refuse_problems()
        if name in self.declared:
            return name
        raise InvalidInput(
            f"there is no environment {name!r}{did_you_mean_environment(name, self.names)}",
            hint=f"there are {', '.join(self.names)}; declare another in {ENVIRONMENTS_FILE}",
        )

    def refuse_problems(self) -> None:
        """Raises ProblemsFound when there are any."""
        if self.problems:
            raise ProblemsFound(f"{ENVIRONMENTS_FILE} is not valid", self.problems)

    def lineage(self, name: str) -> tuple[str, ...]:
        """The environments whose overlays are applied in one, the lowest first, itself last."""
        found = [name]
        while (entry := self.declared.get(found[-1])) and entry.inherits not in (None, *found):
            found.append(str(entry.inherits))
        return tuple(reversed(found))

    def is_protected(self, name: str) -> bool:
        """Whether a change in an environment asks first; where it is unknown, it does."""
        if name == DEFAULT_ENVIRONMENT:
            return False
        entry = self.declared.get(name)
        if self.problems or entry is None:
            return True
        return name == _PROTECTED if entry.protected is None else entry.protected


STANDARD = DeclaredEnvironments(declared={name: Environment() for name in STANDARD_ENVIRONMENTS})
"""The environments of a project that declares none."""


def find_mistakes(settings: ProjectEnvironments) -> Iterator[Diagnostic]:
    """What is wrong with a declaration whose shape is right, at key paths instead of lines."""
    declared = {name: entry or Environment() for name, entry in settings.environments.items()}
    if DEFAULT_ENVIRONMENT not in declared:
        yield Diagnostic(
            path=("environments",),
            code="development",
            message=f"'environments' does not declare {DEFAULT_ENVIRONMENT}, where commands run "
            "when no environment is named",
            hint=f"add `{DEFAULT_ENVIRONMENT}: {{}}`",
        )
    elif declared[DEFAULT_ENVIRONMENT].protected:
        yield Diagnostic(
            path=("environments", DEFAULT_ENVIRONMENT, "protected"),
            code="development",
            message=f"{DEFAULT_ENVIRONMENT} cannot be protected: it reads the drafts in configs/, "
            "so a change there is live as soon as it is saved",
            hint="leave it out, and protect the environments that are deployed to",
        )
    for name, entry in declared.items():
        if name in _LAYER_NAMES:
            yield Diagnostic(
                path=("environments", name),
                code="wrong-form",
                message=f"'{name}' cannot be the name of an environment: it is what `models config "
                "explain` calls a layer of every config",
                hint="give it another name",
            )
        if entry.inherits is not None and entry.inherits not in declared:
            near = did_you_mean_environment(entry.inherits, tuple(declared))
            yield Diagnostic(
                path=("environments", name, "inherits"),
                code="unknown-reference",
                message=f"there is no environment '{entry.inherits}'{near}",
                hint="declare it in this file, or leave `inherits` out",
            )
    yield from _cycles(declared)


def find_undeclared(declared: Collection[str], live: Iterable[str]) -> Iterator[Diagnostic]:
    """The environments in which something is live, and that are not declared."""
    for name in live:
        if name != DEFAULT_ENVIRONMENT and name not in declared:
            yield Diagnostic(
                path=("environments",),
                code="live-environment",
                message=f"'environments' does not declare {name}, where configs are live",
                hint=f"add `{name}: {{}}`, or take out what is live: `models config remove --all "
                f"--env {name}`",
            )


def _cycles(declared: Mapping[str, Environment]) -> Iterator[Diagnostic]:
    """Each cycle once, at the environment in it that is declared first."""
    reported: set[str] = set()
    for first in declared:
        chain: list[str] = [first]
        while (entry := declared.get(chain[-1])) and entry.inherits and entry.inherits not in chain:
            chain.append(entry.inherits)
        closes = entry is not None and entry.inherits == first
        if closes and first not in reported:
            reported.update(chain)
            yield Diagnostic(
                path=("environments", first, "inherits"),
                code="inherits-cycle",
                message="these environments inherit from each other in a circle: "
                f"{' -> '.join((*chain, first))}",
                hint="leave one `inherits` out",
            )
