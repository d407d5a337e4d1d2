"""Placeholders: what other programs fill in before they read a file, and nothing fills in here.

What is deployed is what runs, so a value is written out; what differs between environments stands
in their overlays. Only a secret and an endpoint may be named instead, `env:NAME`.
"""

from __future__ import annotations

import re

_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"
# In what Python and ECMA 262 have in common: the JSON Schemas have it too.
PLACEHOLDER = (
    rf"\$\{{[^}}\n]*\}}|\$\({_VARIABLE}\)|\$[A-Z_][A-Z0-9_]*|\{{\{{[^\n]*\}}\}}"  # shell, Jinja
    rf"|%{_VARIABLE}%|<[A-Za-z][A-Za-z0-9_ .-]*>|os\.environ|process\.env|env\.[A-Z_]+"
    r"|YOUR[-_][A-Z0-9_-]+|your-[a-z0-9-]+-here|CHANGE_?ME|changeme"
)
"""Regular expression of a placeholder somewhere in a text."""
NO_PLACEHOLDER = rf"(?!env:)(?![^\n]*(?:{PLACEHOLDER}))"
"""What the pattern of a value that must be written out begins with."""

_NAME = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")
_NAMED = re.compile(
    rf"\$\{{\s*(?:env[.:])?({_VARIABLE})[^}}]*\}}|\$\(?({_VARIABLE})\)?"
    rf"|\{{\{{\s*(?:(?:\w+\.)*|(?:\w+\s+)?['\"]?)({_VARIABLE})[^}}]*\}}\}}"
    rf"|(?:os\.environ|process\.env)[/.\[]['\"]?({_VARIABLE})['\"]?\]?"
    rf"|(?i:env)[.:/]\s*({_VARIABLE})|%({_VARIABLE})%|<({_VARIABLE})>"
)
_ENCRYPTED = re.compile(r"ENC\[[A-Z][^\]\n]*\]?")  # by SOPS
_ELSEWHERE = re.compile(
    rf"{_ENCRYPTED.pattern}|(?:op|vault|bws|akeyless|secretsmanager|awssm|ssm|gcpsm|azurekv|keyring|keychain|sops)"
    r"(?:\+\w+)?:[^\s\"']+"
    r"|arn:aws[\w-]*:(?:secretsmanager|ssm):[^\s\"']+|projects/[^/\s]+/secrets/[^\s\"']+"
    r"|!vault\b.*"
)


def find_placeholder(text: str) -> str | None:
    """The first placeholder in a text, a reference `env:NAME` included; None without one."""
    if text.startswith("env:"):
        return text
    found = re.search(PLACEHOLDER, text)
    return found[0] if found else None


def wanted_secret(text: str) -> str | None:
    """`env:NAME` for what another program would take for a reference to a secret; else None.

    NAME is that of the variable where the text has one.
    """
    if _NAME.fullmatch(text):
        return f"env:{text}"
    if named := _NAMED.fullmatch(text):
        return f"env:{next(filter(None, named.groups()))}"
    if text.startswith("<") or is_kept_elsewhere(text):
        return "env:MY_KEY"
    return None


def is_kept_elsewhere(text: str) -> bool:
    """Whether a text is a reference into another store of secrets, or was encrypted by SOPS."""
    return _ELSEWHERE.fullmatch(text) is not None


def encrypted_spans(text: str) -> list[tuple[int, int]]:
    """Where a text has what SOPS has encrypted."""
    return [found.span() for found in _ENCRYPTED.finditer(text)]
