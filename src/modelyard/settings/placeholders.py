"""Placeholders: what other programs fill in before they read a file, and nothing fills in here.

What is deployed is what runs, so a value is written out; what differs between environments stands
in their overlays. Only a secret and an endpoint may be named instead, `env:NAME`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"
# In what Python and ECMA 262 have in common: the JSON Schemas have it too.
PLACEHOLDER = (
    rf"\$?\{{\{{[^\n]*\}}\}}|\$\{{[^}}\n]*\}}|\$\({_VARIABLE}\)"
    rf"|\$\[{_VARIABLE}\]|\$[A-Z_][A-Z0-9_]*|\$env:{_VARIABLE}"
    rf"|\{{[A-Za-z_][A-Za-z0-9_.:-]*\}}|<%[^\n]*%>"  # templates
    rf"|\(\({_VARIABLE}\)\)|%{_VARIABLE}%|%\({_VARIABLE}\)s|@[A-Z][A-Z0-9_]*@|__[A-Z][A-Z0-9_]*__|#\{{[^\n]*\}}#?"
    rf"|<[A-Za-z][A-Za-z0-9_ .-]*>|(?:os\.environ|process\.env)(?:[./]{_VARIABLE})?"
    r"|env\.[A-Z_]+|getenv\(|ENV\["
    r"|YOUR[-_ ][A-Z0-9_ -]+|(?<![\w-])your[-_][a-z0-9_-]+|[Cc]hange[-_]?[Mm]e|CHANGE[-_]?ME"
    r"|REPLACE[-_]?ME|replace[-_]?me|INSERT[-_][A-Z0-9_-]+"
    r"|(?<![\w-])[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*[-_]here(?![\w-])"
    rf"|\[\[ *{_VARIABLE} *\]\]|ref\+[a-z0-9]+://|\b(?:TODO|FIXME|TBD|tbd|XXX+|xxx+)\b|\.\.\."
)
"""Regular expression of a placeholder somewhere in a text."""
NO_PLACEHOLDER = rf"(?!env:)(?![^\n]*(?:{PLACEHOLDER}))"
"""What the pattern of a value that must be written out begins with."""

_NAME = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")
_LOWER_NAME = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*_(?:key|token|secret)")
_EXAMPLE_NAME = re.compile(r"YOUR[-_ ].*|CHANGE[-_]?ME|REPLACE[-_]?ME|INSERT[-_].*")
_NAMED = re.compile(
    rf"\$\{{\s*(?:env[.:])?({_VARIABLE})(?:\s*[:?+-][^}}]*|\s*)\}}|\$\(?({_VARIABLE})\)?"
    rf"|\$?\{{\{{[\s-]*(?:env\w*|getenv|lookup\(\s*['\"]?env['\"]?\s*,)[\s(]*['\"]?({_VARIABLE})['\"]?"
    r"\s*\)[^}]*\}\}"
    rf"|\$?\{{\{{\s*(?!\w+\()(?:(?:\w+\.)*|(?:\w+\s+)?['\"]?)({_VARIABLE})[^}}:]*\}}\}}"
    rf"|\{{(?:env[.:])?({_VARIABLE})\}}|\$env:({_VARIABLE})|%({_VARIABLE})%|<({_VARIABLE})>"
    rf"|(?:os\.environ|process\.env|ENV)[/.\[]['\"]?({_VARIABLE})['\"]?\]?"
    rf"|(?:os\.environ\.get|(?:\w+\.)?getenv)\(\s*['\"]?({_VARIABLE})['\"]?[^)]*\)"
    rf"|(?i:env)(?:[.:/]|://)\s*({_VARIABLE})|\(\(({_VARIABLE})\)\)|@({_VARIABLE})@"
)
_STANDS_FOR_NONE = re.compile(
    r"(?i:empty|none|null|dummy|fake|unused|placeholder|test|x+|n/?a"
    r"|not[-_ ]?(?:needed|required|used|set|applicable)|no[-_ ]?(?:key|api[-_ ]?key)"
    r"|sk-(?:x+|\.+|\*+|\d{1,6}|dummy|fake|test|none|no-key-required))"
)
"""What is written where a program wants a key, and the server of the model none."""
_IN_A_FILE = re.compile(r"(?:\$\((?:cat|<)\s*|@)?(/[\w./-]+)\)?|file://(/[\w./-]+)")
_ENCRYPTED = re.compile(r"ENC\[[A-Z][^\]\n]*\]?")  # by SOPS
_STORES = (
    "op|vault|bws|akeyless|secretsmanager|awssm|ssm|gcpsm|azurekv|keyring|keychain|sops"
    "|openbao|bao|doppler|infisical|conjur|chamber|berglas|gopass|keyvault|akv"
)
_ELSEWHERE = re.compile(
    rf"{_ENCRYPTED.pattern}|[$]?[{{]{{0,2}}(?:resolve:)?(?:{_STORES})(?:\+\w+)?:[^\s\"']+"
    r"|(?:ref\+\w+|secret|secrets|sm|aws-sm|gcp-sm|az-kv|1password|bw|bitwarden)://[^\s\"']+"
    r"|arn:aws[\w-]*:(?:secretsmanager|ssm):[^\s\"']+|projects/[^/\s]+/secrets/[^\s\"']+"
    r"|(?:pass|secrets?|cmd|command|exec|shell|envvar|(?:aws|gcp|az|azure|k8s)[a-z-]*):[^/].*"
    r"|@Microsoft\.KeyVault\([^\s\"']*\)|!vault\b.*|\$ANSIBLE_VAULT;.*"
)


def find_placeholder(text: str) -> str | None:
    """The first placeholder in a text, a reference `env:NAME` included; None without one."""
    if text.startswith("env:"):
        return text
    found = re.search(PLACEHOLDER, text)
    return found[0] if found else None


def wanted_secret(text: str) -> str | None:
    """What to write for what another program would take for a reference to a secret, or for none:
    `env:NAME` or `file:PATH`; None for any other text.

    NAME is that of the variable where the text has one.
    """
    if _STANDS_FOR_NONE.fullmatch(text):
        return "env:MY_KEY, or leave it out where the server wants no key"
    if is_kept_elsewhere(text) or _EXAMPLE_NAME.fullmatch(text):
        return "env:MY_KEY"
    if _NAME.fullmatch(text):
        return f"env:{text}"
    if _LOWER_NAME.fullmatch(text):
        return f"env:{text.upper()}"
    if named := _NAMED.fullmatch(text):
        return f"env:{next(filter(None, named.groups()))}"
    if found := _IN_A_FILE.fullmatch(text):
        return f"file:{found[1] or found[2]}"
    return "env:MY_KEY" if text.startswith(("<", "{{", "${", "$(")) else None


def wanted_secret_of(value: Any) -> str | None:
    """The same for any value: other programs write `{env: NAME}` or `{secretKeyRef: {...}}`."""
    if isinstance(value, str):
        return wanted_secret(value)
    if not isinstance(value, Mapping) or not value:
        return None
    for key, named in value.items():
        if isinstance(named, Mapping):
            return wanted_secret_of(named)
        if not isinstance(named, str):
            continue
        if "env" in str(key).lower() and re.fullmatch(_VARIABLE, named):
            return f"env:{named}"
        if key in ("file", "path") and _IN_A_FILE.fullmatch(named):
            return f"file:{named}"
    return "env:MY_KEY"


def is_kept_elsewhere(text: str) -> bool:
    """Whether a text is a reference into another store of secrets, or was encrypted by SOPS."""
    return _ELSEWHERE.fullmatch(text) is not None


def encrypted_spans(text: str) -> list[tuple[int, int]]:
    """Where a text has what SOPS has encrypted."""
    return [found.span() for found in _ENCRYPTED.finditer(text)]
