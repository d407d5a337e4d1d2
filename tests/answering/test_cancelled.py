"""An answer that nobody wants any more ends, wherever it is: waiting, being computed, far away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import pytest

from answer_samples import make_effective, make_request
from asking import Asking, open_asking
from modelyard.answering.answer import Answerer
from modelyard.answering.request import Answer, AnswerCancelled, EngineBusy
from modelyard.configs.kinds.language_models import LanguageModel, RateLimits
from modelyard.configs.kinds.parts import Generation
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project
from modelyard.core.progress import Silent
from modelyard.deployments.effective_settings import Effective, EffectiveModel
from modelyard.inference.engine_limits import EngineLimits
from modelyard.monitoring.samples import read_samples
from modelyard.weights.pull import require_base
from provider_server import chat, chat_event, chunk, endless, head


class Asked(threading.Thread):
    """A question in a thread of its own, and what came of it."""

    def __init__(self, ask: Callable[..., Answer]) -> None:
        super().__init__(daemon=True)
        self.cancelled = threading.Event()
        self.shown: list[str] = []
        self.result: Answer | ModelyardError | None = None
        self._ask = ask
        self.start()

    def run(self) -> None:
        try:
            self.result = self._ask(cancelled=self.cancelled, on_text=self.shown.append)
        except ModelyardError as error:
            self.result = error

    def cancel(self) -> Answer | ModelyardError | None:
        self.cancelled.set()
        self.join(30)
        return self.result


def until(holds: Callable[[], bool]) -> None:
    limit = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < limit
        time.sleep(0.005)


@pytest.fixture
def asking(tmp_path: Path) -> Iterator[Asking]:
    with open_asking(tmp_path / "project") as opened:
        opened.second.answer(chat("Bob."))
        yield opened


@pytest.mark.parametrize("begun", [False, True], ids=["silent", "begun"])
def test_a_call_of_a_provider_is_ended_and_no_other_model_is_asked(
    asking: Asking, begun: bool
) -> None:
    pings = endless(chunk(b": ping\n\n"), every_s=0.05)
    begins = [head(), chunk(chat_event({"content": "Ann lea"}))]
    asking.first.answer(chain(begins, pings) if begun else [head(), 25.0])

    def ask(cancelled: threading.Event, on_text: Callable[[str], None]) -> Answer:
        request = make_request("Who?", cancelled=cancelled)
        return asking.answerer.answer(asking.effective(), request, on_text=on_text)

    asked = Asked(ask)
    until(lambda: bool(asked.shown) if begun else bool(asking.first.asked))
    error = asked.cancel()
    assert isinstance(error, AnswerCancelled)
    assert [each.outcome for each in error.attempts] == ["cancelled"]
    assert asking.asked() == (1, 0)
    if begun:
        until(lambda: not asking.first._open)  # its connection is closed
    (sample,) = asking.samples()
    assert sample.outcome == "interrupted"
    assert [call.failure for call in asking.samples("call")] == ["cancelled"]


def test_one_that_waits_for_its_turn_ends_without_a_call(asking: Asking) -> None:
    limited = asking.effective(first={"limits": RateLimits(requests_per_minute=1)})
    asking.first.answer(chat("Ann."))
    asking.ask(limited)
    asked = Asked(
        lambda cancelled, on_text: asking.answerer.answer(
            limited, make_request("And?", cancelled=cancelled)
        )
    )
    time.sleep(0.1)
    assert isinstance(asked.cancel(), AnswerCancelled)
    assert asking.asked() == (1, 0)


@pytest.fixture
def answerer(project: Project) -> Iterator[Answerer]:
    """With one row in its engine, and one place in the line before it."""
    require_base(project, "tiny", progress=Silent())
    with Answerer(project, engine=EngineLimits(max_batch=1, waiting=1)) as opened:
        yield opened


def talking_on() -> Effective:
    settings = LanguageModel(
        description="Here",
        provider="local",
        model="tiny",
        context_tokens=512,
        max_output_tokens=400,
        generation=Generation(temperature=0.0, max_output_tokens=400),
    )
    return make_effective(model=EffectiveModel(name="here", settings=settings), fallback=())


def test_a_local_answer_ends_while_it_waits_and_while_it_is_computed(
    answerer: Answerer, project: Project
) -> None:
    def ask(cancelled: threading.Event, on_text: Callable[[str], None]) -> Answer:
        request = make_request("Hi", cancelled=cancelled)
        return answerer.answer(talking_on(), request, on_text=on_text)

    def slow(piece: str) -> None:
        time.sleep(0.01)

    running = Asked(lambda cancelled, on_text: ask(cancelled, lambda p: (on_text(p), slow(p))))
    until(lambda: bool(running.shown))
    waiting = Asked(ask)
    until(lambda: answerer.figures().waiting == 1)
    with pytest.raises(EngineBusy, match="too many requests wait"):
        answerer.answer(talking_on(), make_request("Hi"))
    assert isinstance(waiting.cancel(), AnswerCancelled)
    assert not waiting.shown
    assert isinstance(running.cancel(), AnswerCancelled)
    until(lambda: answerer.figures().running == 0)
    after = answerer.answer(talking_on(), make_request("Hi"))
    assert after.finish == "length"
    failures = [sample.failure for sample in read_samples(project, filters={"kind": "call"})]
    assert sorted(map(str, failures)) == ["None", "busy", "cancelled", "cancelled"]
