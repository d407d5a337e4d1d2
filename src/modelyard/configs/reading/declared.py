"""What configs/environments.yaml declares, as far as it is right."""

from __future__ import annotations

from dataclasses import replace

from modelyard.configs.environments import STANDARD, DeclaredEnvironments, find_mistakes
from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.configs.kinds.environments import Environment, ProjectEnvironments
from modelyard.configs.reading.document import Document
from modelyard.configs.reading.shape import check_shape


def read_declared(document: Document) -> DeclaredEnvironments:
    """The environments that a document of that kind declares.

    When something is wrong with it, `problems` says so, and the standard environments are among
    those declared: the other configs can still be checked for them.
    """
    shaped = check_shape(document, (DEFAULT_ENVIRONMENT,))
    whole: ProjectEnvironments | None = shaped.settings.get(DEFAULT_ENVIRONMENT)
    settings = whole or next(iter(shaped.partly.get(DEFAULT_ENVIRONMENT, ())), None)
    declared = {}
    if settings is not None:
        declared = {name: entry or Environment() for name, entry in settings.environments.items()}
    problems = (*document.problems, *shaped.problems)
    if whole is not None:
        problems += tuple(
            replace(mistake, where=document.source.where(mistake.path))
            for mistake in find_mistakes(whole)
        )
    if problems:
        declared = {**STANDARD.declared, **declared}
    return DeclaredEnvironments(declared=declared, problems=problems)
