"""The official clients work against the service as they do against their own."""

from __future__ import annotations

from collections.abc import Iterator

import anthropic
import openai
import pytest

from served import Running

QUESTION = [{"role": "user", "content": "Hi"}]


def openai_client(running: Running, organisation: str) -> openai.OpenAI:
    key = running.key(organisation)
    return openai.OpenAI(base_url=f"{running.url}/v1", api_key=key, max_retries=0)


@pytest.fixture
def client(running: Running) -> Iterator[openai.OpenAI]:
    with openai_client(running, "acme") as opened:
        yield opened


@pytest.fixture
def claude(running: Running) -> Iterator[anthropic.Anthropic]:
    key = running.key("acme")
    with anthropic.Anthropic(base_url=running.url, api_key=key, max_retries=0) as opened:
        yield opened


@pytest.fixture
def others(running: Running) -> Iterator[openai.OpenAI]:
    with openai_client(running, "acme2") as opened:
        yield opened


def test_chat_completions_at_once_and_streamed(client: openai.OpenAI, answer: str) -> None:
    whole = client.chat.completions.create(model="talking", messages=QUESTION)
    assert whole.choices[0].message.content == answer
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage and whole.usage.completion_tokens == 7
    chunks = list(
        client.chat.completions.create(
            model="staff", messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
    )
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == answer
    assert chunks[-1].usage and chunks[-1].usage.completion_tokens == 7


def test_responses_at_once_and_streamed(client: openai.OpenAI, answer: str) -> None:
    assert client.responses.create(model="talking", input="Hi").output_text == answer
    with client.responses.stream(model="talking", input="Hi") as events:
        text = "".join(
            event.delta for event in events if event.type == "response.output_text.delta"
        )
        assert (text, events.get_final_response().output_text) == (answer, answer)


def test_messages_at_once_and_streamed(claude: anthropic.Anthropic, answer: str) -> None:
    whole = claude.messages.create(model="talking", max_tokens=20, messages=QUESTION)
    assert (whole.content[0].text, whole.stop_reason) == (answer, "end_turn")
    with claude.messages.stream(model="talking", max_tokens=20, messages=QUESTION) as stream:
        assert "".join(stream.text_stream) == answer
        assert stream.get_final_message().usage.output_tokens == 7
    cut = claude.messages.create(model="talking", max_tokens=3, messages=QUESTION)
    assert answer.startswith(cut.content[0].text)
    assert cut.stop_reason == "max_tokens"


def test_models_are_those_of_the_key(client: openai.OpenAI, others: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["staff", "talking"]
    assert [model.id for model in others.models.list()] == ["talking"]
    with pytest.raises(openai.NotFoundError) as theirs:
        others.chat.completions.create(model="staff", messages=QUESTION)
    with pytest.raises(openai.NotFoundError) as nobodys:
        others.chat.completions.create(model="stuff", messages=QUESTION)
    assert str(theirs.value).replace("staff", "") == str(nobodys.value).replace("stuff", "")


def test_a_wrong_key_and_a_wrong_field_are_said_as_the_clients_expect(
    client: openai.OpenAI, claude: anthropic.Anthropic
) -> None:
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="sk-nothing").models.list()
    with pytest.raises(openai.BadRequestError, match="logit_bias"):
        client.chat.completions.create(model="talking", messages=QUESTION, logit_bias={"1": 2})
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.create(model="nothing", max_tokens=20, messages=QUESTION)
