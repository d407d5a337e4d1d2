"""A small yard with configs to deploy: three language models, two domains, two profiles."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from modelyard.configs.live.drift import find_drift
from modelyard.configs.live.revisions import find_live, link_leads_to, list_revisions
from modelyard.core.layout import Yard

CONFIGS = {
    "language_models/gpt4_config": """\
description: The best answers
provider: openai
model: gpt-4o
api_key: env:OPENAI_API_KEY
context_tokens: 128k
max_output_tokens: 16k
generation:
  temperature: 0.7
prices:
  input_per_million: $2.50
  output_per_million: $10
timeout: 60 seconds
environments:
  production:
    timeout: 30 seconds
""",
    "language_models/claude_config": """\
description: Long texts
provider: anthropic
model: claude-sonnet-4-5
api_key: file:/run/secrets/anthropic
context_tokens: 200k
max_output_tokens: 8k
prices:
  input_per_million: $3
  output_per_million: $15
""",
    "language_models/fallback_config": """\
name: basic_nlp
description: No model at all
provider: builtin
model: basic_nlp
context_tokens: 4k
max_output_tokens: 500
""",
    "specialized_models/code_analysis": """\
description: Questions on code
model: gpt4
instructions: |
  You answer questions on code.
  Say so when you do not know.
generation:
  temperature: 0.2
  max_output_tokens: 2k
retrieval:
  domains: [docs/handbook]
  top: 5
""",
    "specialized_models/summarization": """\
description: Long texts made short
model: claude
instructions: You make long texts short.
""",
    "performance_profiles/balanced": """\
description: What every domain begins with
timeout: 30 seconds
""",
    "performance_profiles/high_accuracy": """\
description: Several answers, and patience
samples: 3
timeout: 2 minutes
attempts: 4
generation:
  temperature: 0.4
retrieval:
  top: 12
  rerank: true
""",
    "embedding_models/docs": """\
description: What is written down
encoder:
  source: wheel
  model: all-minilm-l6-v2
  dimensions: 384
  max_tokens: 256
domains:
  handbook:
    description: The handbook
    sources: ["docs/**/*.md"]
""",
    "integration": """\
model_integration:
  primary_models:
    language: gpt4
    tasks:
      summaries: summarization
  fallback_strategy:
    order: [claude, basic_nlp]
  budgets:
    per_day: $10
""",
}


def write_deploy_yard(root: Path) -> Yard:
    """A yard with these configs."""
    yard = Yard(root)
    yard.models.mkdir(parents=True)
    for place, text in CONFIGS.items():
        path = yard.configs / f"{place}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    handbook = root / "docs" / "handbook.md"
    handbook.parent.mkdir()
    handbook.write_text("# The handbook\n\nAsk Ann.\n")
    return yard


def edit(yard: Yard, place: str, before: str, after: str) -> None:
    """Change one thing in a config file."""
    path = yard.configs / f"{place}.yaml"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def live_number(yard: Yard, environment: str = "development") -> int:
    """The revision that readers take for live; 0 for none."""
    live = find_live(yard, environment)
    return live.number if live else 0


def require_agreement(yard: Yard, environment: str = "development") -> None:
    """Readers, link, files and history say the same, before anybody tidied up."""
    number = live_number(yard, environment)
    numbers = [one.number for one in list_revisions(yard, environment)]
    assert numbers == list(range(1, number + 1))
    if number:
        assert link_leads_to(yard, environment, number)
        assert find_drift(yard, environment).files == ()
    else:
        assert not os.path.lexists(yard.deployed(environment))


def left_over(yard: Yard, environment: str = "development") -> list[str]:
    """What lies under .models/deployed/ beside the link and its folder."""
    return sorted(set(_places(yard)) - {environment, _folder(yard, environment)})


def _places(yard: Yard) -> Iterator[str]:
    deployed = yard.deployed("development").parent
    for folder in (deployed, deployed / ".revisions"):
        for place in folder.iterdir():
            if place.name != ".revisions":
                yield place.name


def _folder(yard: Yard, environment: str) -> str:
    return f"{environment}-{live_number(yard, environment)}"
