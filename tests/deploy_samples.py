"""A small project with configs to deploy: three language models, two domains, two profiles."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from modelyard.core.layout import Project
from modelyard.deployments.deploy import Deployment, deployment_request, perform, switch_request
from modelyard.deployments.drift import find_drift
from modelyard.deployments.plan import Request
from modelyard.deployments.revisions import REVISIONS, find_live, list_revisions

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


def write_deploy_project(root: Path) -> Project:
    """A project with these configs."""
    project = Project(root)
    project.models.mkdir(parents=True)
    for place, text in CONFIGS.items():
        path = project.configs / f"{place}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    handbook = root / "docs" / "handbook.md"
    handbook.parent.mkdir()
    handbook.write_text("# The handbook\n\nAsk Ann.\n")
    return project


def edit(project: Project, place: str, before: str, after: str) -> None:
    """Change one thing in a config file."""
    path = project.configs / f"{place}.yaml"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def live_number(project: Project, environment: str = "test") -> int:
    """The revision that readers take for live; 0 for none."""
    live = find_live(project, environment)
    return live.number if live else 0


def require_agreement(project: Project, environment: str = "test") -> None:
    """Readers, link, files and history say the same, before anybody tidied up."""
    number = live_number(project, environment)
    numbers = [revision.number for revision in list_revisions(project, environment)]
    assert numbers == list(range(1, number + 1))
    if number:
        assert REVISIONS.leads_to(project, environment, number)
        assert find_drift(project, environment).files == ()
    else:
        assert not os.path.lexists(project.deployed(environment))


def left_over(project: Project, environment: str = "test") -> list[str]:
    """What lies under .models/deployed/ beside the link and its folder."""
    return sorted(set(_places(project)) - {environment, _folder(project, environment)})


def _places(project: Project) -> Iterator[str]:
    deployed = project.deployed("test").parent
    for folder in (deployed, deployed / ".revisions"):
        for place in folder.iterdir():
            if place.name != ".revisions":
                yield place.name


def _folder(project: Project, environment: str) -> str:
    return f"{environment}-{live_number(project, environment)}"


def deploy_config(
    project: Project,
    words: Sequence[str] = (),
    *,
    environment: str,
    every_config: bool = False,
    reason: str | None = None,
    dry_run: bool = False,
    wait_s: float = 0.0,
) -> Deployment:
    """Make configs live, with all that they name; `every_config` makes it all that configs/ says.

    `words` are paths, KIND/NAME, or names. Raises ProblemsFound when a config is not valid.
    """
    request = deployment_request(project, words, every_config=every_config)
    return perform(project, request, environment, reason=reason, dry_run=dry_run, wait_s=wait_s)


def rollback(
    project: Project,
    *,
    environment: str,
    to: int | None = None,
    reason: str | None = None,
    dry_run: bool = False,
    wait_s: float = 0.0,
) -> Deployment:
    """Make an older revision a new one: `to`, or the one that was live before.

    Raises NotDeployed when nothing is live, InvalidInput when there is no such revision.
    """
    request = Request(action="rollback", to=to)
    return perform(project, request, environment, reason=reason, dry_run=dry_run, wait_s=wait_s)


def switch_config(
    project: Project,
    *,
    profile: str,
    environment: str,
    domain: str | None = None,
    reason: str | None = None,
    dry_run: bool = False,
    wait_s: float = 0.0,
) -> Deployment:
    """Let a domain use a profile (without `domain`: every one), deploying what that needs.

    Raises InvalidInput when there is no such profile or domain.
    """
    request = switch_request(profile, domain)
    return perform(project, request, environment, reason=reason, dry_run=dry_run, wait_s=wait_s)


def undo_switch(
    project: Project,
    *,
    environment: str,
    reason: str | None = None,
    dry_run: bool = False,
    wait_s: float = 0.0,
) -> Deployment:
    """Give the domains of the last switch the profiles that they had before it.

    What was deployed since stays. A second undo takes back the switch before that.
    """
    request = Request(action="undo")
    return perform(project, request, environment, reason=reason, dry_run=dry_run, wait_s=wait_s)
