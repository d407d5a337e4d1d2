"""A project whose language model `gpt4` is tuned by a server on loopback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hosted_runs import review_rows
from pytest_httpserver import HTTPServer
from tuning_server import KEY, TuningServer

from deploy_samples import write_deploy_project
from modelyard.core.layout import Project

GPT4 = """\
description: The best answers
provider: openai
model: gpt-4o
aliases: [gpt-4]
endpoint: {url}
api_key: env:OPENAI_API_KEY
context_tokens: 128k
max_output_tokens: 16k
timeout: 60 seconds
prices:
  input_per_million: $2.50
  output_per_million: $10
fine_tuning:
  model: gpt-4o-2024-08-06
  price_per_million_training_tokens: $25
  prices:
    input_per_million: $3.75
    output_per_million: $15
environments:
  production:
    timeout: 30 seconds
"""


@pytest.fixture
def tuning(httpserver: HTTPServer) -> TuningServer:
    return TuningServer(httpserver)


@pytest.fixture
def models(reviews: Project, models_here: Callable[..., int]) -> Callable[..., int]:
    """Run `models` with these words in the project; returns the exit code."""
    return models_here


@pytest.fixture
def reviews(
    tmp_path: Path,
    tuning: TuningServer,
    write_jsonl: Callable[[Path, list[Any]], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> Project:
    """The project, with 12 training rows and 4 evaluation rows, and the key in the environment."""
    project = write_deploy_project(tmp_path / "project")
    config = project.configs / "language_models" / "gpt4_config.yaml"
    config.write_text(GPT4.format(url=tuning.url))
    write_jsonl(project.root / "datasets/reviews/train.jsonl", review_rows(12))
    write_jsonl(project.root / "datasets/reviews/eval.jsonl", review_rows(4, start=100))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.chdir(project.root)
    return project
