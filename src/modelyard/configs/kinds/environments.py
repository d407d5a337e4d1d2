"""The environments of a project: what can be deployed to, and whose overlays each inherits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from modelyard.settings.marks import Pattern

ENVIRONMENT_PATTERN = r"(?!.*\.\.)[a-z0-9][a-z0-9._-]{0,63}"
"""Such a name is safe as a file name: two dots in a row would not be."""

EnvironmentName = Annotated[
    str, Pattern("the name of an environment", ENVIRONMENT_PATTERN, ("staging", "eu-production"))
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """One environment: it has overlays in the config files, and its own deployments."""

    inherits: EnvironmentName | None = None
    """The environment whose overlays are applied below its own; its deployment is not inherited."""
    protected: bool | None = None
    """Whether a change asks first, and needs `--yes` without a terminal; default: in production."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectEnvironments:
    """Every environment of the project; without this file: development, test and production."""

    environments: Mapping[EnvironmentName, Environment | None]
    """Each environment by its name; `development`, which reads the drafts, must be among them."""
