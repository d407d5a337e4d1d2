"""What a request may be: its length and its languages, checked before any call."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from modelyard.answering.prompt import CountTokens, count_input, estimate_tokens
from modelyard.answering.request import InputTooLong, Request
from modelyard.answering.request_tools import offered_tools
from modelyard.chatdata.conversation import Message
from modelyard.core.errors import InvalidInput, did_you_mean
from modelyard.core.wording import visible_line
from modelyard.deployments.effective_settings import Effective

_CODE_NAMES = {
    "bash": ("sh", "shell", "zsh"),
    "c": (),
    "cpp": ("c++", "cc", "cxx"),
    "csharp": ("cs", "c#"),
    "css": (),
    "dockerfile": ("docker",),
    "go": ("golang",),
    "haskell": ("hs",),
    "html": (),
    "java": (),
    "javascript": ("js", "jsx", "node"),
    "json": (),
    "kotlin": ("kt",),
    "lua": (),
    "perl": ("pl",),
    "php": (),
    "powershell": ("ps1", "pwsh"),
    "python": ("py", "python3", "pycon"),
    "r": (),
    "ruby": ("rb",),
    "rust": ("rs",),
    "scala": (),
    "sql": ("postgresql", "mysql", "sqlite"),
    "swift": (),
    "terraform": ("hcl", "tf"),
    "toml": (),
    "typescript": ("ts", "tsx"),
    "xml": (),
    "yaml": ("yml",),
}
"""Programming languages, each with other names that code blocks give them."""
_CANONICAL = {other: name for name, others in _CODE_NAMES.items() for other in others}
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})[ \t]*([^\s`{]*)[^`]*$")


def check_input(
    effective: Effective,
    request: Request,
    messages: Sequence[Message],
    *,
    count: CountTokens = estimate_tokens,
) -> None:
    """Raise InvalidInput for a request that the domain does not take.

    messages: what a model would be sent; their tokens are the input, sources not counted where
    they are not in them yet.  count: the model's own tokenizer where it runs here.
    """
    rules = effective.input
    domain = effective.domain or "these requests"
    if rules.max_tokens is not None:
        tokens = count_input(messages, tools=offered_tools(request), count=count)
        if tokens > rules.max_tokens:
            raise InputTooLong(
                f"the request has about {tokens:,} tokens, and {domain} takes at most "
                f"{rules.max_tokens:,}: {tokens - rules.max_tokens:,} too many",
                hint="ask something shorter, or raise `input.max_tokens` of the domain",
            )
    for language in _languages(request, rules.languages):
        if not _is_taken(language, rules.languages):
            raise InvalidInput(
                f"{domain} takes no {visible_line(language)}"
                f"{did_you_mean(language, rules.languages)}",
                hint=f"it takes {', '.join(rules.languages)}",
            )


def _languages(request: Request, taken: Sequence[str]) -> Iterator[str]:
    """The languages that a request names, where only some are taken."""
    if not taken:
        return
    if request.language:
        yield request.language
    if any(_name(language) in _CODE_NAMES for language in taken):
        yield from code_languages(request.question)


def code_languages(text: str) -> Iterator[str]:
    """The programming languages that fenced code blocks of a text name (CommonMark 0.31, 4.5).

    A word that names none that is known here, such as `console` or `text`, is left out.
    """
    fence = None
    for line in text.splitlines():
        found = _FENCE.match(line)
        if fence is not None:
            closing = line.strip()
            if closing.startswith(fence) and not closing.strip(fence[0]):
                fence = None
        elif found:
            fence = found[1]
            if _name(found[2]) in _CODE_NAMES:
                yield found[2]


def _is_taken(language: str, taken: Sequence[str]) -> bool:
    """Whether it is one of them, by any of its names; `de-AT` is `de`."""
    names = {_name(other) for other in taken}
    return _name(language) in names or re.split("[-_]", language.lower())[0] in names


def _name(language: str) -> str:
    name = language.lower()
    return _CANONICAL.get(name, name)
