"""The translated config as a file: each value with the key that it comes from, nothing replaced."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from modelyard.configs.imports.translate import Translation
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.configs.reading.programs import called
from modelyard.core.errors import InvalidInput, KeyPath
from modelyard.core.files import exclusive_lock, write_atomic
from modelyard.core.layout import Project, check_name
from modelyard.core.wording import visible_line
from modelyard.settings.yaml_files import render_yaml

_KIND = "fine_tuning"


def config_place(project: Project, path: Path, name: str | None) -> Path:
    """The file that a translation of `path` is written to; `name` is how the config is called.

    Raises InvalidInput for what is no name, and when a config has that name already.
    """
    chosen = check_name(name or _name_of(path), "config")
    place = project.configs / _KIND / f"{chosen}.yaml"
    if place.exists() or place.is_symlink():
        taken = [place]
    else:
        taken = ConfigCatalogue(project).paths_named(_KIND, chosen)
    if taken:
        raise InvalidInput(
            f"there is a config {_KIND}/{chosen} already, and it is not replaced",
            where=project.show(taken[0]),
            hint="give another name: --to NAME",
        )
    return place


def write_translation(project: Project, path: Path, name: str | None, text: str) -> Path:
    """Write the config in one rename; returns its path. Raises what `config_place` does."""
    with exclusive_lock(project.lock("configs", _KIND), what="folder of fine-tuning configs"):
        place = config_place(project, path, name)
        write_atomic(place, text)
    return place


def render_translation(found: Translation) -> str:
    """The config as YAML, with comments: where each value comes from, and what is left out."""
    comments: dict[KeyPath, str] = {
        tuple(setting.to.split(".")): ", ".join(map(visible_line, setting.keys))
        or f"the default of {found.program}"
        for setting in found.carried
    }
    notes = [f"{setting.to}: {setting.note}" for setting in found.carried if setting.note]
    left_out = [f"{left.key}: {left.reason}" for left in found.left_out]
    return (
        "# yaml-language-server: $schema=../schemas/fine_tuning.json\n#\n"
        f"# Translated from {visible_line(Path(found.source).name)}, {called(found.program)}.\n"
        "# A value is followed by the key that it comes from; what is left out has its default.\n"
        + _commented("Not quite the same:", notes)
        + _commented("Left out:", left_out)
        + "\n"
        + render_yaml(found.values, comments=comments)
    )


def _commented(title: str, lines: Sequence[str]) -> str:
    """A comment with a line for each; nothing where there are none."""
    if not lines:
        return ""
    return "".join(f"{line}\n" for line in ("#", f"# {title}", *map(_comment, lines)))


def _comment(line: str) -> str:
    return f"#   {visible_line(line)}"


def _name_of(path: Path) -> str:
    stem = re.sub(r"[^a-z0-9_-]+", "-", path.name.partition(".")[0].lower())
    return stem.lstrip("-_").rstrip("-")[:64] or "imported"
