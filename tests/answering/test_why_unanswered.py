"""What an error's class says of a request without an answer, and what a request sets itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from answer_samples import make_effective, make_request
from modelyard.adapters.import_ import import_adapter, plan_import
from modelyard.adapters.versions import load_version
from modelyard.answering.answer import Answerer
from modelyard.answering.prompt import build_messages
from modelyard.answering.request import BrokenModel, ContextTooLong, NotTaken, Request
from modelyard.chatdata.conversation import Message
from modelyard.configs.kinds.language_models import LanguageModel
from modelyard.configs.kinds.parts import Generation
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.layout import Project
from modelyard.core.progress import Silent
from modelyard.deployments.effective_settings import Effective, EffectiveModel
from modelyard.monitoring.samples import read_samples
from modelyard.weights.pull import require_base


@pytest.fixture
def answerer(project: Project) -> Iterator[Answerer]:
    require_base(project, "tiny", progress=Silent())
    with Answerer(project) as opened:
        yield opened


def local(adapter: str | None = None) -> Effective:
    settings = LanguageModel(
        description="Here",
        provider="local",
        model="tiny",
        adapter=adapter,
        context_tokens=512,
        max_output_tokens=300,
        generation=Generation(temperature=0.0, max_output_tokens=100),
    )
    model = EffectiveModel(name="here", settings=settings)
    return make_effective(model=model, fallback=(), instructions="")


def test_a_prompt_that_is_longer_than_the_context_says_by_how_much(answerer: Answerer) -> None:
    with pytest.raises(ContextTooLong, match="more than the 512 of the context") as refused:
        answerer.answer(local(), make_request("word " * 700))
    error = refused.value
    assert (error.room, error.exit_code) == (512, 1)
    assert error.tokens > 700
    assert f"has {error.tokens:,} tokens, {error.tokens - 512:,} more" in error.message
    longest = Generation(max_output_tokens=300)
    almost = answerer.answer(local(), make_request("word " * 110, generation=longest))
    assert almost.usage is not None
    assert almost.finish == "length"
    assert almost.usage.input_tokens + almost.usage.output_tokens == 512


def test_a_damaged_adapter_is_named_and_others_go_on(
    answerer: Answerer, project: Project, save_adapter: Callable[..., Path]
) -> None:
    base = require_base(project, "tiny", progress=Silent())
    for name, rank in (("sound", 4), ("damaged", 8)):
        import_adapter(project, name, plan_import(save_adapter(r=rank), base), org=name)
    weights = load_version(project, "damaged", 1).path / "adapter_model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-4] + b"\x00\x00\xc0\x7f")  # NaN
    begun = threading.Event()
    answers = []

    def ask() -> None:
        answers.append(
            answerer.answer(local("sound@1"), make_request("Hi"), on_text=lambda piece: begun.set())
        )

    asking = threading.Thread(target=ask)
    asking.start()
    assert begun.wait(60)
    with pytest.raises(BrokenModel, match=r"^damaged@1 cannot be used") as refused:
        answerer.answer(local("damaged@1"), make_request("Hi"))
    assert refused.value.name == "damaged@1"
    assert str(project.root) not in refused.value.message
    asking.join()
    assert answers[0].finish == "length"


def test_what_a_template_refuses_is_not_tried_elsewhere(answerer: Answerer) -> None:
    broken = {"name": "find", "arguments": '{"id": '}
    odd = Request(
        messages=(Message("assistant", "", {"tool_calls": [{"id": "1", "function": broken}]}),)
    )
    with pytest.raises(NotTaken, match="here does not take the request"):
        answerer.answer(local(), odd)


def test_what_the_sender_does_wrong_is_no_failure_of_the_models(
    answerer: Answerer, project: Project
) -> None:
    unknown = {"type": "object", "properties": {"a": {"not": {"type": "string"}}}}
    for effective, request in (
        (local(), make_request("word " * 700)),
        (local(), make_request("Hi", json_schema=unknown)),
        (local(adapter="nobody@1"), make_request("Hi")),
    ):
        with pytest.raises(ModelyardError):
            answerer.answer(effective, request)
    answerer.close()
    answers = [each for each in read_samples(project) if each.kind == "answer"]
    assert [each.outcome for each in answers] == ["not_taken", "not_taken", "failed"]


def test_a_request_sets_how_it_is_answered(answerer: Answerer) -> None:
    bound = answerer.answer(local(), make_request("Hi"))
    cut = answerer.answer(local(), make_request("Hi", generation=Generation(max_output_tokens=7)))
    assert bound.usage is not None
    assert cut.usage is not None
    assert (bound.usage.output_tokens, cut.usage.output_tokens) == (100, 7)
    assert bound.text.startswith(cut.text)
    one = answerer.answer(
        local(), make_request("Hi", generation=Generation(temperature=2.0, top_k=1, seed=1))
    )
    assert one.text == bound.text  # of one token, that is drawn
    with pytest.raises(InvalidInput, match="301 tokens is more than here gives: 300 at most"):
        answerer.answer(local(), make_request("Hi", generation=Generation(max_output_tokens=301)))


def test_instructions_at_the_beginning_are_one_turn_and_the_last_question_gets_the_files() -> None:
    turns = (
        Message("system", "Be brief."),
        Message("system", "Be kind."),
        Message("user", "Look it up."),
        Message("assistant", "", {"tool_calls": [{"id": "1", "function": {"name": "find"}}]}),
        Message("tool", "Ada", {"tool_call_id": "1"}),
    )
    request = Request(messages=turns, system="You are here.")
    effective = replace(local(), instructions="You help.")
    first, question, *rest = build_messages(effective, request, ())
    assert first == Message("system", "You help.\n\nYou are here.\n\nBe brief.\n\nBe kind.")
    assert (question, tuple(rest)) == (turns[2], turns[3:])
    assert request.question == "Look it up."


def test_any_json_object_is_asked_for_in_words() -> None:
    messages = build_messages(local(), make_request("Three fruits", json_mode=True), ())
    assert messages[0].content == "Answer with one JSON object and nothing else."
