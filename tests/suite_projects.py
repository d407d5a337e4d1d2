"""A project whose language model is a server on loopback, and suites to test it with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from modelyard.answering.answer import Answerer
from modelyard.core.layout import Project
from modelyard.performance.cases import load_suite
from modelyard.performance.results import TestRun
from modelyard.performance.run import OnCase, run_suite
from modelyard.performance.targets import find_target
from provider_server import ProviderServer, chat

MODEL = """\
description: A server on this machine
provider: openai_compatible
endpoint: {endpoint}
stays_local: true
model: house-1
context_tokens: 8k
max_output_tokens: 100
prices:
  input_per_million: $1
  output_per_million: $10
retries: {{attempts: 0}}
"""
CONFIGS = {
    "language_models/basic_nlp": """\
description: No model at all
provider: builtin
model: basic_nlp
context_tokens: 4k
max_output_tokens: 500
""",
    "performance_profiles/balanced": "description: In between\ntimeout: 20 seconds\n",
    "performance_profiles/warm": """\
description: Drawn answers
timeout: 20 seconds
generation: {temperature: 1.0, seed: 7}
""",
    "specialized_models/support": """\
description: Questions of customers
model: house
instructions: You answer customers.
""",
    "integration": "model_integration: {primary_models: {language: house}}\n",
}
WHO = "description: Who is who\nchecks:\n- name: people\n  cases:\n"
"""The beginning of a suite with one check; `cases` makes the rest."""


@dataclass
class SuiteProject:
    """A project, and the server that its language model `house` is behind."""

    project: Project
    server: ProviderServer

    def write(self, place: str, text: str) -> Path:
        """A config."""
        path = self.project.configs / f"{place}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def suite(self, text: str, name: str = "quick") -> None:
        """Write a suite."""
        self.write(f"test_suites/{name}", text)

    def dataset(self, name: str, rows: Sequence[Mapping[str, object]], card: str = "") -> None:
        """Write a dataset whose rows are all for evaluation: `question` and `answer`, and more."""
        folder = self.project.dataset(name)
        folder.mkdir(parents=True)
        lines = []
        for row in rows:
            turns = [("user", row["question"]), ("assistant", row.get("answer", "Yes."))]
            messages = [{"role": role, "content": text} for role, text in turns]
            more = {key: row[key] for key in row.keys() - {"question", "answer"}}
            lines.append(json.dumps({"messages": messages, **more}))
        (folder / "train.jsonl").write_text(lines[0] + "\n")
        (folder / "eval.jsonl").write_text("\n".join(lines) + "\n")
        if card:
            (folder / "DATASET.md").write_text(f"---\n{card}\n---\n")

    def answer(self, *texts: str) -> None:
        """Answer the next requests so; with one text, all of them."""
        self.server.answer(*map(chat, texts))

    def run(
        self,
        suite: str = "quick",
        *,
        environment: str = "development",
        repeats: int | None = None,
        concurrency: int | None = None,
        on_case: OnCase = lambda _: None,
        **target: object,
    ) -> TestRun:
        """Run a suite; `target` is what `find_target` takes."""
        loaded = load_suite(self.project, suite, environment)
        found = find_target(self.project, environment, **target)  # type: ignore[arg-type]
        with Answerer(self.project) as answerer:
            return run_suite(
                self.project,
                answerer,
                loaded,
                found,
                environment=environment,
                repeats=repeats,
                concurrency=concurrency,
                on_case=on_case,
            )


def cases(*pairs: tuple[str, str]) -> str:
    """A suite of questions, each with a fact that is right."""
    rows = "".join(
        f"  - question: {json.dumps(question)}\n    expect: [[{json.dumps(fact)}]]\n"
        for question, fact in pairs
    )
    return WHO + rows


def many(number: int, fact: str = "Ann") -> str:
    """A suite of so many questions with one right answer."""
    return cases(*((f"Who leads team {place}?", fact) for place in range(number)))


@contextmanager
def open_suite_project(folder: Path) -> Iterator[SuiteProject]:
    """The project and its server, which answers `Ann leads it.` to everything."""
    project = Project(folder)
    project.configs.mkdir(parents=True)
    project.models.mkdir()
    with ProviderServer() as server:
        opened = SuiteProject(project, server)
        for place, text in CONFIGS.items():
            opened.write(place, text)
        opened.write("language_models/house", MODEL.format(endpoint=server.url))
        opened.answer("Ann leads it.")
        yield opened
