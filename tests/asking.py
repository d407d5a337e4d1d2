"""Questions to an Answerer whose models are servers on loopback, called by the real clients."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from answer_samples import BUILTIN, make_effective, make_request
from modelyard.answering.answer import Answerer
from modelyard.answering.request import Answer
from modelyard.configs.kinds.language_models import LanguageModel, Prices, Retries
from modelyard.configs.kinds.parts import Generation
from modelyard.core.layout import Project
from modelyard.deployments.effective_settings import Effective, EffectiveModel
from modelyard.monitoring.samples import read_samples
from modelyard.records.sample import Sample
from provider_server import ProviderServer

PRICES = Prices(input_per_million_usd=1.0, output_per_million_usd=10.0)
"""A call of 12 tokens of input and 5 of output costs 62 millionths of a dollar."""
COST_USD = 62e-6


@dataclass
class Asking:
    """Two models, `first` and `second`, behind servers, and `basic_nlp` after them."""

    project: Project
    first: ProviderServer
    second: ProviderServer
    answerer: Answerer
    waits: list[float] = field(default_factory=list)
    """The waits between attempts."""
    sleeps: bool = False
    """Whether they take their time."""
    shown: list[str] = field(default_factory=list)
    """What was shown of the answer, piece by piece."""

    def model(self, name: str, **changes: Any) -> EffectiveModel:
        server = self.first if name == "first" else self.second
        settings = LanguageModel(
            **{
                "description": "Behind a server",
                "provider": "openai_compatible",
                "model": f"{name}-1",
                "endpoint": server.url,
                "stays_local": True,
                "context_tokens": 8_000,
                "max_output_tokens": 1_000,
                "generation": Generation(max_output_tokens=100),
                "prices": PRICES,
                "retries": Retries(attempts=0),
                **changes,
            }
        )
        return EffectiveModel(name=name, settings=settings)

    def effective(
        self,
        *,
        first: dict[str, Any] | None = None,
        second: dict[str, Any] | None = None,
        **changes: Any,
    ) -> Effective:
        """The settings of a domain: its models are changed by `first` and `second`."""
        basic = EffectiveModel(name="basic_nlp", settings=BUILTIN)
        fallback = (self.model("second", **(second or {})), basic)
        model = self.model("first", **(first or {}))
        return make_effective(**{"model": model, "fallback": fallback, **changes})

    def ask(
        self, effective: Effective | None = None, question: str = "Who leads sales?", **more: Any
    ) -> Answer:
        """An answer; what is shown of it is collected."""
        self.shown.clear()
        request = make_request(question, **more)
        chosen = effective or self.effective()
        return self.answerer.answer(chosen, request, on_text=self.shown.append)

    def asked(self) -> tuple[int, int]:
        """Requests that reached the two servers."""
        return len(self.first.asked), len(self.second.asked)

    def samples(self, kind: str = "answer") -> list[Sample]:
        """What was recorded, in order."""
        return list(read_samples(self.project, filters={"kind": kind}))

    def pause(self, seconds: float) -> bool:
        self.waits.append(seconds)
        if self.sleeps:
            time.sleep(seconds)
        return False


@contextmanager
def open_asking(folder: Path) -> Iterator[Asking]:
    """Both servers and an Answerer in an empty project."""
    project = Project(folder)
    project.configs.mkdir(parents=True)
    project.models.mkdir()
    with ExitStack() as opened:
        first, second = (opened.enter_context(ProviderServer()) for _ in range(2))
        asking = Asking(project, first, second, answerer=None)  # type: ignore[arg-type]
        asking.answerer = opened.enter_context(Answerer(project, pause=asking.pause))
        yield asking


def tried(answer: Answer) -> list[str]:
    """Each call of an answer, such as `first busy`."""
    return [f"{attempt.model} {attempt.outcome}" for attempt in answer.attempts]


def left(answer: Answer) -> list[str]:
    """Each model that was not called, such as `first breaker`."""
    return [f"{each.model} {each.why}" for each in answer.left_out]


def only(effective: Effective) -> Effective:
    """The same without a fallback."""
    return replace(effective, fallback=())
