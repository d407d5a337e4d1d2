"""Text as XML 1.0 can hold it."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape, quoteattr

from modelyard.core.wording import visible_text

# What XML 1.0 cannot hold, not even as a reference: https://www.w3.org/TR/xml/#charsets
_NO_XML = re.compile("[\ud800-\udfff\ufffe\uffff]")


def xml_text(text: str) -> str:
    """The text between tags, with what XML cannot hold written out, such as `\\x1b`."""
    return escape(_holdable(text))


def xml_attribute(text: str) -> str:
    """The same as the value of an attribute, with its quotation marks."""
    return quoteattr(_holdable(text))


def _holdable(text: str) -> str:
    return _NO_XML.sub(lambda found: f"\\u{ord(found[0]):04x}", visible_text(text))
