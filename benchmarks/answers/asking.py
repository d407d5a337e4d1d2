"""A project whose one model is the provider on loopback, and processes that ask it."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.answers.loopback import Answers, Loopback
from modelyard.answering.answer import Answerer
from modelyard.answering.request import Request
from modelyard.chatdata.conversation import Message
from modelyard.core.layout import Project
from modelyard.deployments.effective import load_effective
from modelyard.deployments.effective_settings import Effective

REQUEST = Request(messages=(Message("user", "Who leads sales?"),))
LONGEST_ANSWER = 100
"""Tokens; the most that an answer can have."""
COST_SHARE = 0.4
"""What an answer costs, of the most that it can."""

_MODEL = """\
description: The provider on loopback
provider: openai_compatible
endpoint: {url}
model: bench
context_tokens: 100k
max_output_tokens: {longest}
prices: {{input_per_million: $0, output_per_million: ${price}}}
limits: {{requests_per_minute: {requests}, concurrent_requests: 1024}}
timeout: 60 seconds
retries: {{attempts: 0}}
"""
_INTEGRATION = """\
model_integration:
  primary_models: {{language: bench}}
  fallback_strategy: {{enabled: false, failure_threshold: 3, cool_down: 1 second}}
  budgets: {{per_day: {budget}}}
"""


@contextmanager
def asked_project(
    *,
    worst_usd: float,
    budget: str = "$1000",
    requests_per_minute: int = 1_000_000,
    delay_s: float = 0.0,
    status: int = 200,
) -> Iterator[tuple[Project, Effective, Loopback]]:
    """A project, how it answers, and its provider.

    worst_usd: the most that a request can cost; it does cost 40% of that.
    """
    tokens = int(LONGEST_ANSWER * COST_SHARE)
    with (
        TemporaryDirectory(prefix="modelyard-answers-") as folder,
        Loopback(Path(folder) / "arrivals", Answers(tokens, delay_s, status)) as provider,
    ):
        project = Project(Path(folder) / "project")
        (project.configs / "language_models").mkdir(parents=True)
        project.models.mkdir()
        model = _MODEL.format(
            url=provider.url,
            longest=LONGEST_ANSWER,
            price=f"{worst_usd / LONGEST_ANSWER * 1e6:.6f}",
            requests=requests_per_minute,
        )
        (project.configs / "language_models" / "bench.yaml").write_text(model)
        joint = _INTEGRATION.format(budget=budget)
        (project.configs / "integration.yaml").write_text(joint)
        yield project, load_effective("development", None, project=project), provider


def start(work: Callable[[], None]) -> int:
    """Do the work in a forked process; returns its id. It exits with 0, or 1 after an exception."""
    child = os.fork()
    if child:
        return child
    try:
        work()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def ask_together(
    project: Project, ask: Callable[[Answerer], None], *, processes: int, threads: int
) -> float:
    """Let threads of processes ask, each once `ask`; returns the seconds that it took."""

    def work() -> None:
        with Answerer(project) as answerer:
            asking = [threading.Thread(target=ask, args=(answerer,)) for _ in range(threads)]
            for thread in asking:
                thread.start()
            for thread in asking:
                thread.join()

    began_s = time.perf_counter()
    wait_for([start(work) for _ in range(processes)])
    return time.perf_counter() - began_s


def wait_for(children: Sequence[int]) -> None:
    """Wait until all have ended well."""
    for child in children:
        status = os.waitpid(child, 0)[1]
        assert status == 0, f"a process that asks ended with {status}"


def kill_after(child: int, seconds: float) -> None:
    """SIGKILL a process after that long."""
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
