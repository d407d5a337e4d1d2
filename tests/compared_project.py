"""A project with two models behind servers on loopback, and a suite of short questions."""

from __future__ import annotations

from pathlib import Path

from modelyard.core.layout import Project
from provider_server import ProviderServer

_MODEL = """\
description: Behind a server
provider: openai_compatible
endpoint: {url}
stays_local: true
model: {name}-1
context_tokens: 8k
max_output_tokens: 200
retries: {{attempts: 0}}
prices: {{input_per_million: $1, output_per_million: $10}}
"""
_BUILTIN = """\
description: No model at all
provider: builtin
model: basic_nlp
context_tokens: 4k
max_output_tokens: 500
"""
_INTEGRATION = """\
model_integration:
  primary_models:
    language: first
  fallback_strategy:
    enabled: false
"""


def write_compared_project(
    root: Path, first: ProviderServer, second: ProviderServer, *, cases: int = 6
) -> Project:
    """The models `first` and `second`, and the suite `short`, whose right answers hold `yes`."""
    project = Project(root)
    project.models.mkdir(parents=True)
    questions = "".join(f"      - question: Is {n} a number?\n" for n in range(cases))
    suite = "description: Short\nchecks:\n  - name: yes_or_no\n    scorer: regex\n"
    suite += f"    pattern: (?i)yes\n    timeout: 5 seconds\n    cases:\n{questions}"
    texts = {
        "language_models/first": _MODEL.format(url=first.url, name="first"),
        "language_models/second": _MODEL.format(url=second.url, name="second"),
        "language_models/basic_nlp": _BUILTIN,
        "integration": _INTEGRATION,
        "test_suites/short": suite,
    }
    for place, text in texts.items():
        path = project.configs / f"{place}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return project
