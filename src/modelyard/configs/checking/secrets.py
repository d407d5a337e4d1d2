"""Secrets in configs: none may stand in one, and each reference to one is listed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from modelyard.configs.checking.finding import Finding, SecretUse
from modelyard.core.layout import Project
from modelyard.secrets.detection import find_secrets

_MOST_FINDINGS = 100


def secret_findings(text: str, file: str) -> Iterator[Finding]:
    """One finding for each secret in the text of a file, for the first hundred of them."""
    for secret in find_secrets(text)[:_MOST_FINDINGS]:
        line = text.count("\n", 0, secret.start) + 1
        column = secret.start - text.rfind("\n", 0, secret.start)
        yield Finding(
            file=file,
            line=line,
            column=column,
            level="error",
            rule="inline-secret",
            message=f"this looks like a secret ({secret.kind}), and everyone who can read the "
            "file could use it",
            hint="write `env:NAME` or `file:PATH` here, and replace the secret where it came "
            "from: it is in the history",
        )


def find_secret_use(project: Project, reference: str, where: str) -> SecretUse:
    """Whether what a reference names is there. It is never read."""
    return SecretUse(
        reference=reference, where=where, available=_is_available(project, reference, os.environ)
    )


def _is_available(project: Project, reference: str, environment: Mapping[str, str]) -> bool:
    scheme, _, name = reference.partition(":")
    if scheme == "env":
        return bool(environment.get(name))
    try:
        return project.written_path(name).is_file()
    except (OSError, RuntimeError, ValueError):
        return False
