"""What is served: a project with an adapter of each of eight organisations, and questions."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.engine.workload import PROMPT_TOKENS, Prompts, write_adapters
from modelyard.access.keys import check_key, create_key
from modelyard.adapters.import_ import import_adapter, plan_import
from modelyard.adapters.promote import promote_version
from modelyard.chatdata.dataset import load_dataset
from modelyard.chatdata.template import ChatTokenizer
from modelyard.core.layout import Project
from modelyard.weights.local import LocalBase

ORGANISATIONS = 8
_SPREAD = 0.12
"""Of the weights of adapters: so large that no answer comes to an end of its own."""


def adapter_name(number: int) -> str:
    """The adapter of an organisation; the organisation is called the same."""
    return f"house-{number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchProject:
    """A project whose adapters have two versions each, of which the first is active."""

    project: Project
    """Its folder."""
    folders: Sequence[Path]
    """The first version of each adapter, as files that other engines read."""
    keys: Sequence[str]
    """A key of each organisation, without limits."""


def write_project(root: Path, base: LocalBase, repository: Project) -> BenchProject:
    """Make such a project in a new folder; the adapters are small random ones."""
    project = Project(root)
    project.configs.mkdir(parents=True)
    shutil.copytree(repository.base_card(base.name).parent, project.base_card(base.name).parent)
    folders = write_adapters(base.path, root / "made", 2 * ORGANISATIONS, spread=_SPREAD)
    keys = []
    for number in range(ORGANISATIONS):
        name = adapter_name(number)
        versions = [
            import_adapter(project, name, plan_import(folders[place], base), org=name)
            for place in (number, number + ORGANISATIONS)
        ]
        promote_version(project, versions[0])
        keys.append(create_key(project, check_key(name)).token)
    return BenchProject(project=project, folders=folders[:ORGANISATIONS], keys=keys)


def load_questions(
    project: Project, base: LocalBase
) -> tuple[Prompts, Mapping[Sequence[int], str]]:
    """Prompts of about 50 tokens from the techcorp dataset, and the question behind each.

    Of one turn each, so that a request over HTTP gives the same prompt.
    """
    tokenizer = ChatTokenizer.load(base.path)
    texts: dict[Sequence[int], str] = {}
    for row in load_dataset(project, "techcorp").train:
        if len(row.prompt) == 1:
            ids = tuple(tokenizer.bound_to(row).encode_prompt(row.prompt))
            if len(ids) in PROMPT_TOKENS:
                texts.setdefault(ids, row.prompt[0].content)
    return Prompts(tuple(texts)), texts
