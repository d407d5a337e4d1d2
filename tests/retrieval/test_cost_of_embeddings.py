"""What an update costs through an encoder with a price: said before, counted, and refused."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from embedding_server import EmbeddingServer
from index_projects import page
from modelyard.answering.money.budget_report import report_budgets
from modelyard.answering.money.embedding_charge import embedding_charge
from modelyard.answering.request import OverLimit
from modelyard.configs.kinds.integration import Budgets
from modelyard.core.layout import Project
from modelyard.core.progress import Progress
from modelyard.encoders import Encoders, EncoderUnavailable
from modelyard.retrieval.indexes import load_indexes
from modelyard.retrieval.update import update_index
from modelyard.retrieval.updating.job import IndexUpdate

PRICE = 20_000.0
"""Dollars for a million tokens: two cents for one."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddingServer]:
    monkeypatch.setenv("no_proxy", "*")
    server = EmbeddingServer()
    server.usage = lambda texts: {"total_tokens": 7 * len(texts)}
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


class Said(Progress):
    """What an update said before it began."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def stage(self, text: str) -> None:
        self.stages.append(text)


def write_project(
    root: Path, server: EmbeddingServer, *, per_day: str | None, **more: Any
) -> Project:
    encoder = {
        **{"source": "endpoint", "model": "acme-embed", "dimensions": 3, "max_tokens": 64},
        **{"endpoint": server.endpoint, "price_per_million": f"${PRICE:.0f}", "batch_size": 2},
    }
    docs = {"description": "Prose", "sources": ["docs/*.md"], "chunk_tokens": 40}
    group = {"description": "Texts", "encoder": encoder | more, "domains": {"docs": docs}}
    joint: dict[str, Any] = {"primary_models": {"language": "basic_nlp"}}
    if per_day:
        joint["budgets"] = {"per_day": per_day}
    for place, text in {
        "configs/embedding_models/texts.yaml": yaml.safe_dump(group),
        "configs/integration.yaml": yaml.safe_dump({"model_integration": joint}),
        "docs/one.md": page("river", 3),
        "docs/two.md": page("mountain", 2),
    }.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(text)
    (root / "models").mkdir()
    return Project(root)


def update(project: Project, said: Progress | None = None, *, dry_run: bool = False) -> IndexUpdate:
    progress = said or Said()
    encoders = Encoders(
        project=project, progress=progress, charge=embedding_charge(project, "development")
    )
    (index,) = load_indexes(project).values()
    return update_index(project, index, encoders, dry_run=dry_run, progress=progress)


def spent(project: Project) -> tuple[float, float]:
    """Dollars spent and reserved today."""
    now_s = time.time()
    report = report_budgets(project, "development", Budgets(), organisation=None, now_s=now_s)
    day = report.budgets[0]
    return day.spent_usd, day.reserved_usd


def test_it_is_said_before_and_counted_as_the_service_charges(
    tmp_path: Path, server: EmbeddingServer
) -> None:
    project = write_project(tmp_path, server, per_day="$1,000")
    planned = update(project, dry_run=True)
    assert planned.embedded == 5
    assert planned.charged_tokens and planned.cost_usd
    assert planned.cost_usd == pytest.approx(planned.charged_tokens * PRICE / 1e6)
    assert server.asked == []
    assert spent(project) == (0, 0)
    said = Said()
    done = update(project, said)
    assert [text for text in said.stages if "a million" in text] == [
        f"embed: acme-embed gets about {planned.charged_tokens} tokens, "
        f"${planned.cost_usd:.2f} at $20,000.00 a million"
    ]
    assert (done.embedded, done.charged_tokens) == (5, 35)
    assert done.cost_usd == pytest.approx(0.70)
    assert spent(project) == (pytest.approx(0.70), 0)
    again = update(project)
    assert (again.charged_tokens, again.cost_usd) == (None, None)
    assert spent(project) == (pytest.approx(0.70), 0)


def test_where_the_service_does_not_say_the_estimate_counts(
    tmp_path: Path, server: EmbeddingServer
) -> None:
    server.usage = None
    project = write_project(tmp_path, server, per_day=None)
    planned = update(project, dry_run=True)
    done = update(project)
    assert done.charged_tokens == planned.charged_tokens
    assert spent(project)[0] == pytest.approx(done.cost_usd)


def test_a_budget_that_leaves_no_room_refuses_before_anything_is_sent(
    tmp_path: Path, server: EmbeddingServer
) -> None:
    project = write_project(tmp_path, server, per_day="$0.10")
    with pytest.raises(OverLimit, match="the next texts are not sent to the encoder") as refused:
        update(project)
    assert "what was embedded is kept" in str(refused.value.hint)
    assert server.asked == []
    assert spent(project) == (0, 0)


def test_what_was_charged_counts_though_the_update_failed(
    tmp_path: Path, server: EmbeddingServer
) -> None:
    server.spoil = lambda rows: rows[:1]
    project = write_project(tmp_path, server, per_day="$1,000")
    with pytest.raises(EncoderUnavailable, match="gave 1 vector for 2 texts"):
        update(project)
    cost_usd, reserved_usd = spent(project)
    assert cost_usd >= 0.07 * len(server.asked) > 0
    assert reserved_usd == 0


def test_a_free_one_leaves_no_trace_and_one_that_runs_here_has_no_cost(
    tmp_path: Path, server: EmbeddingServer
) -> None:
    project = write_project(tmp_path, server, per_day="$0.10", price_per_million="$0")
    done = update(project)
    assert (done.charged_tokens, done.cost_usd) == (35, 0)
    assert spent(project) == (0, 0)


def test_the_command_prints_it_and_ends_with_4_when_refused(
    tmp_path: Path,
    server: EmbeddingServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    models_here: Callable[..., int],
) -> None:
    root = write_project(tmp_path / "project", server, per_day="$1,000").root
    monkeypatch.chdir(root)
    assert models_here("update-embeddings") == 0
    shown = capsys.readouterr()
    assert "embedded 5, 35 tokens for $0.70 (" in shown.out
    assert "at $20,000.00 a million" in shown.err
    (root / "docs" / "one.md").write_text(page("lake", 3))
    integration = root / "configs" / "integration.yaml"
    integration.write_text(integration.read_text().replace("$1,000", "$0.71"))
    assert models_here("update-embeddings") == 4
    assert "per_day" in capsys.readouterr().err
    assert models_here("update-embeddings", "--dry-run", "--json") == 0
    (planned,) = json.loads(capsys.readouterr().out)["domains"]
    assert planned["cost_usd"] > 0
