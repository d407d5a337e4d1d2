"""Which answers are monitored: those of an environment, and of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.core.layout import Project
from modelyard.records.modelref import ModelRef

if TYPE_CHECKING:
    from modelyard.modelrefs.resolving import ResolvedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A condition on samples and roll-ups."""

    condition: str
    """SQL, with `?` for each value."""
    values: tuple[str, ...]
    """The values."""
    model: str | None
    """The model that was named, with its kind; None for all."""


def choose_answers(project: Project, environment: str, model: str | None) -> Chosen:
    """The answers of an environment; of a model as `ModelRef.parse` reads it, or of all.

    Answers that belong to no environment are those of `models generate` with a base or an adapter:
    they count in development. An adapter without a version is all of its versions, and a domain
    is what was asked for it, whoever answered.
    Raises what `resolve_model` raises.
    """
    condition = "environment = ?"
    if environment == DEFAULT_ENVIRONMENT:
        condition = f"({condition} OR environment IS NULL)"
    if model is None:
        return Chosen(condition=condition, values=(environment,), model=None)
    from modelyard.modelrefs.resolving import resolve_model

    resolved = resolve_model(project, model, environment=environment)
    of_all_versions = ModelRef.parse(model).version is None
    of_model, value = _condition(resolved, of_all_versions=of_all_versions)
    ref = resolved.ref
    if ref.kind == "adapter" and of_all_versions:
        ref = ModelRef("adapter", ref.name)
    return Chosen(
        condition=f"{condition} AND {of_model}", values=(environment, value), model=str(ref)
    )


def _condition(resolved: ResolvedModel, *, of_all_versions: bool) -> tuple[str, str]:
    ref = resolved.ref
    if ref.kind == "domain":
        return "domain = ?", ref.name
    if ref.kind == "model":
        return "language_model = ?", ref.name
    if ref.kind == "adapter" and of_all_versions:
        return "substr(model, 1, instr(model, '@')) = ?", f"{ref.name}@"
    return "model = ?", str(ref)
