"""A project with a base that answers, a domain for one of two organisations, and a service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from answering_base import write_answering
from modelyard.core.layout import Project
from modelyard.core.progress import Silent
from modelyard.weights.pull import require_base
from served import Running, serving

CONFIGS = {
    "language_models/house.yaml": """
description: The house's own model
provider: local
model: talking
context_tokens: 512
max_output_tokens: 64
""",
    "language_models/basic_nlp.yaml": """
description: What is left when nothing else answers
provider: builtin
model: basic
context_tokens: 4k
max_output_tokens: 1k
""",
    "specialized_models/staff.yaml": """
description: Questions of the staff of Acme
model: house
instructions: Be brief.
profile: plain
""",
    "performance_profiles/plain.yaml": """
description: As the models have it
""",
    "integration.yaml": """
model_integration:
  primary_models: {language: house}
  fallback_strategy: {order: [basic_nlp]}
  service:
    everyone: {bases: [talking]}
    organisations:
      acme: {domains: [staff]}
""",
}


@pytest.fixture
def talking(project: Project, tiny_base_folder: Path, answer: str) -> Project:
    """A project whose base `talking` gives one answer to everything."""
    write_answering(project, tiny_base_folder, answer, endless=False)
    require_base(project, "talking", progress=Silent())
    for name, text in CONFIGS.items():
        path = project.configs / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return project


@pytest.fixture
def answer() -> str:
    """What it says."""
    return "abcdefgh"


@pytest.fixture
def running(talking: Project) -> Iterator[Running]:
    """A service of that project."""
    with serving(talking) as service:
        yield service
