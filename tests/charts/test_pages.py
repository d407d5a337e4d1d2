"""The shell of pages: its colours, and texts that would do harm."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from modelyard.charts.pages import clip


def test_a_text_cannot_hide_or_turn_what_stands_beside_it() -> None:
    assert clip("a\u202eb\x1b[2J\ud800") == "a\\u202eb\\x1b[2J\\ud800"


def test_a_long_text_is_cut_and_says_so() -> None:
    assert clip("x" * 5000).endswith("x … and 1,000 more characters")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_colour_can_be_read_on_its_background(scheme: str) -> None:
    css = (files("modelyard.charts") / "template" / "shell.css").read_text("utf-8")
    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", blocks[scheme == "dark"]))

    def contrast(one: str, other: str) -> float:
        light, dark = sorted((luminance(colours[one]), luminance(colours[other])), reverse=True)
        return (light + 0.05) / (dark + 0.05)

    for ink in ("text", "muted", "tuned", "better", "worse", "unclear"):
        assert contrast(ink, "page") >= 4.5, ink
    for ink in ("text", "muted"):
        assert contrast(ink, "panel") >= 4.5, ink
        assert contrast(ink, "tuned-pale") >= 4.5, ink
    for shape in ("base", "eval"):
        assert contrast(shape, "page") >= 3, shape


def luminance(colour: str) -> float:
    """Relative luminance. Source: WCAG 2.2, https://www.w3.org/TR/WCAG22/#dfn-relative-luminance"""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4
        for channel in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
