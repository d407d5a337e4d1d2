"""The shell of a page that stands by itself: style, script, head, headline, figures.

A page is one file: it needs no network and no other file, and all of it can be read without
JavaScript. It reads on a screen, a phone, in dark mode and on paper. Whoever has a page to make
owns a template of its sections, which extends `shell.html`. Does not know what is shown.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import jinja2
from markupsafe import Markup

from modelyard import __version__
from modelyard.core.wording import visible_text

_SHOWN_CHARACTERS = 4000

Tone = Literal["better", "worse", "unclear"]
"""Good news, bad news or none, as the colour of a claim."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One sentence in two parts: `claim: grounds.`"""

    tone: Tone
    """Whether the claim is good news."""
    claim: str
    """The statement."""
    grounds: str
    """The figures that support it."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that is known about what the page shows."""

    name: str
    """What it is, such as `Machine`."""
    value: str
    """The value as a person reads it."""
    long: bool = False
    """Whether it takes the width of two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What every page begins with: the verdict first."""

    kind: str
    """What kind of page it is, such as `Fine-tune report`."""
    subject: str
    """What it is about."""
    verdict: Verdict
    """The headline."""
    sections: Sequence[tuple[str, str]]
    """The id and the heading of each section."""
    notes: Sequence[str] = ()
    """Sentences that bound the verdict, without the full stop."""
    figures: Iterable[tuple[str, str, str]] = ()
    """The large numbers: name, value, remark."""
    facts: Sequence[Fact] = ()
    """The circumstances."""


def render_page(package: str, template: str, head: Head, **shown: Any) -> str:
    """The page that `template` of `package` makes of `shown`; all of it is escaped.

    Beside NAME.html in the folder `template` of the package may lie NAME.css, which is added to the
    style of the shell. In templates, `clip` makes a text of unknown length and content bearable.
    """
    shell = files("modelyard.charts") / "template"
    style, script = ((shell / name).read_text("utf-8") for name in ("shell.css", "shell.js"))
    own_style = files(package) / "template" / f"{template}.css"
    if own_style.is_file():
        style += own_style.read_text("utf-8")
    return (
        _templates(package)
        .get_template(f"{template}.html")
        .render(
            **shown,
            head=head,
            made_by=f"modelyard {__version__}",
            style=Markup(style),
            script=Markup(script),
            style_hash=_content_hash(style),
            script_hash=_content_hash(script),
        )
    )


def clip(text: object, most: int = _SHOWN_CHARACTERS) -> str:
    """Text of bearable length, without characters that hide or turn what stands beside them."""
    whole = "–" if text is None else visible_text(str(text))
    whole = whole.encode("utf-8", "backslashreplace").decode("utf-8")  # half a surrogate pair
    if len(whole) <= most:
        return whole
    return f"{whole[:most]} … and {len(whole) - most:,} more characters"


@cache
def _templates(package: str) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader(name, "template") for name in (package, "modelyard.charts")]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["clip"] = clip
    return environment


def _content_hash(text: str) -> str:
    """By this hash the page's policy admits its own style and script, and no others."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
