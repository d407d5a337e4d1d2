"""The official clients work against the service as they do against their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from served import Running
from served_project import ANSWER, CONTEXT

QUESTION: Any = [{"role": "user", "content": "Hi"}]
SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["bug", "wish"]}},
    "required": ["kind"],
    "additionalProperties": False,
}
FIND: Any = {"name": "find", "parameters": SCHEMA}
TOOL: Any = {"type": "function", "function": FIND}
LONG = "word " * 2000


@pytest.fixture(scope="module")
def openai_client(shared: Running) -> Iterator[openai.OpenAI]:
    key = shared.key("acme")
    with openai.OpenAI(base_url=f"{shared.url}/v1", api_key=key, max_retries=0) as client:
        yield client


@pytest.fixture
def client(openai_client: openai.OpenAI, running: Running) -> openai.OpenAI:
    return openai_client


@pytest.fixture(scope="module")
def anthropic_client(shared: Running) -> Iterator[anthropic.Anthropic]:
    key = shared.key("acme")
    with anthropic.Anthropic(base_url=shared.url, api_key=key, max_retries=0) as client:
        yield client


@pytest.fixture
def claude(anthropic_client: anthropic.Anthropic, running: Running) -> anthropic.Anthropic:
    return anthropic_client


def test_chat_completions_at_once_and_streamed(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="talking", messages=QUESTION)
    assert whole.choices[0].message.content == ANSWER
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage and whole.usage.completion_tokens == 7
    chunks = list(
        client.chat.completions.create(
            model="staff", messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
    )
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == ANSWER
    assert chunks[-1].usage and chunks[-1].usage.completion_tokens == 7
    chunks = list(client.chat.completions.create(model="talking", messages=QUESTION, stream=True))
    assert [chunk.usage for chunk in chunks if chunk.usage] == []


def test_an_organisations_own_adapter_answers_and_no_other(client: openai.OpenAI) -> None:
    def say(model: str) -> str | None:
        made = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=8)
        assert made.choices[0].finish_reason == ("stop" if model == "talking" else "length")
        return made.choices[0].message.content

    own = say("acme-talk")
    assert own == say("acme-talk@1") == say("adapter:acme-talk") != say("talking")
    for name in ("zeta-talk", "zeta-talk@1", "acme-talk@2", "acme-tal", "аcme-talk", "../x"):
        with pytest.raises(openai.NotFoundError, match="there is no model"):
            say(name)


def test_what_a_request_sets_decides_the_answer(client: openai.OpenAI) -> None:
    def draw(seed: int) -> str | None:
        made = client.chat.completions.create(
            model="acme-talk",
            messages=QUESTION,
            temperature=2,
            top_p=0.99,
            seed=seed,
            max_completion_tokens=12,
            extra_body={"top_k": 300},
        )
        return made.choices[0].message.content

    assert draw(1) == draw(1) != draw(2)
    greedy = client.chat.completions.create(
        model="talking", messages=QUESTION, temperature=2, extra_body={"top_k": 1}
    )
    assert greedy.choices[0].message.content == ANSWER
    stopped = client.chat.completions.create(model="talking", messages=QUESTION, stop=["de"])
    assert (stopped.choices[0].message.content, stopped.choices[0].finish_reason) == ("abc", "stop")


def test_completions_go_on_where_the_text_ends(client: openai.OpenAI) -> None:
    made = client.completions.create(model="talking", prompt="ab")
    assert made.choices[0].text == ANSWER.removeprefix("ab")
    assert made.usage and made.usage.prompt_tokens == 2  # and no template
    chunks = list(
        client.completions.create(
            model="talking", prompt="ab", stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(each.choices[0].text for each in chunks if each.choices) == "cdefgh"
    assert chunks[-1].usage and chunks[-1].usage.prompt_tokens == 2
    endless = client.completions.create(model="endless", prompt="ab")
    assert endless.usage and endless.usage.completion_tokens == 16
    with pytest.raises(openai.BadRequestError, match="answers conversations"):
        client.completions.create(model="staff", prompt="ab")


def test_an_answer_is_held_to_a_schema(client: openai.OpenAI) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "ticket", "schema": SCHEMA}}
    made = client.chat.completions.create(model="talking", messages=QUESTION, response_format=form)
    assert json.loads(made.choices[0].message.content or "")["kind"] in ("bug", "wish")
    made = client.chat.completions.create(
        model="talking", messages=QUESTION, response_format={"type": "json_object"}, max_tokens=9
    )
    assert (made.choices[0].message.content or "").startswith("{")
    text: Any = {"format": {"type": "json_schema", "name": "ticket", "schema": SCHEMA}}
    response = client.responses.create(model="talking", input="Hi", text=text)
    assert json.loads(response.output_text)["kind"] in ("bug", "wish")
    form["json_schema"]["schema"] = {"type": "nothing"}
    with pytest.raises(openai.BadRequestError, match="JSON Schema"):
        client.chat.completions.create(model="talking", messages=QUESTION, response_format=form)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": FIND}])
def test_tools_are_called_and_their_results_read(client: openai.OpenAI, choice: Any) -> None:
    if isinstance(choice, dict):
        choice = {"type": "function", "function": {"name": "find"}}
    made = client.chat.completions.create(
        model="talking", messages=QUESTION, tools=[TOOL], tool_choice=choice
    )
    [call] = made.choices[0].message.tool_calls or []
    assert made.choices[0].finish_reason == "tool_calls"
    assert call.type == "function" and call.function.name == "find"
    assert json.loads(call.function.arguments)["kind"] in ("bug", "wish")
    after: Any = [
        *QUESTION,
        made.choices[0].message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "found"},
    ]
    last = client.chat.completions.create(model="talking", messages=after, tools=[TOOL])
    assert last.choices[0].message.content == ANSWER
    with client.chat.completions.stream(
        model="talking", messages=QUESTION, tools=[TOOL], tool_choice=choice
    ) as events:
        [streamed] = events.get_final_completion().choices[0].message.tool_calls or []
    assert json.loads(streamed.function.arguments)["kind"] in ("bug", "wish")


def test_responses_at_once_and_streamed(client: openai.OpenAI) -> None:
    assert client.responses.create(model="talking", input="Hi").output_text == ANSWER
    with client.responses.stream(model="talking", input="Hi") as events:
        text = "".join(
            event.delta for event in events if event.type == "response.output_text.delta"
        )
        assert (text, events.get_final_response().output_text) == (ANSWER, ANSWER)
    tool: Any = {"type": "function", **FIND}
    [call] = client.responses.create(
        model="talking", input="Hi", tools=[tool], tool_choice="required"
    ).output
    assert call.type == "function_call"
    turns: Any = [
        {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {"type": "function_call", "call_id": "1", "name": "find", "arguments": call.arguments},
        {"type": "function_call_output", "call_id": "1", "output": "found"},
    ]
    assert client.responses.create(model="talking", input=turns).output_text == ANSWER
    cut = client.responses.create(model="endless", input="Hi", max_output_tokens=3)
    assert (cut.status, cut.incomplete_details and cut.incomplete_details.reason) == (
        "incomplete",
        "max_output_tokens",
    )


def test_messages_at_once_and_streamed(claude: anthropic.Anthropic) -> None:
    whole = claude.messages.create(
        model="talking", max_tokens=20, messages=QUESTION, system="Be brief."
    )
    assert whole.content[0].type == "text" and whole.content[0].text == ANSWER
    assert whole.stop_reason == "end_turn"
    with claude.messages.stream(model="talking", max_tokens=20, messages=QUESTION) as stream:
        assert "".join(stream.text_stream) == ANSWER
        assert stream.get_final_message().usage.output_tokens == 7
    cut = claude.messages.create(model="talking", max_tokens=3, messages=QUESTION)
    assert cut.content[0].type == "text" and ANSWER.startswith(cut.content[0].text)
    assert cut.stop_reason == "max_tokens"


def test_messages_say_which_sequence_ended_them(claude: anthropic.Anthropic) -> None:
    sequences = ["xy", "ef"]
    whole = claude.messages.create(
        model="talking", max_tokens=20, messages=QUESTION, stop_sequences=sequences
    )
    with claude.messages.stream(
        model="talking", max_tokens=20, messages=QUESTION, stop_sequences=sequences
    ) as stream:
        streamed = stream.get_final_message()
    for message in (whole, streamed):
        assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "ef")
        assert message.content[0].type == "text" and message.content[0].text == "abcd"


def test_messages_call_tools_and_read_their_results(claude: anthropic.Anthropic) -> None:
    tool: Any = {"name": "find", "input_schema": SCHEMA}
    asked: Any = {"model": "talking", "max_tokens": 90, "tools": [tool]}
    made = claude.messages.create(messages=QUESTION, tool_choice={"type": "any"}, **asked)
    assert made.stop_reason == "tool_use"
    [block] = made.content
    assert block.type == "tool_use" and block.input["kind"] in ("bug", "wish")
    with claude.messages.stream(
        messages=QUESTION, tool_choice={"type": "tool", "name": "find"}, **asked
    ) as stream:
        assert stream.get_final_message().stop_reason == "tool_use"
    result = {"type": "tool_result", "tool_use_id": block.id, "content": "found"}
    turns: Any = [
        *QUESTION,
        {
            "role": "assistant",
            "content": [block.model_dump(include={"type", "id", "name", "input"})],
        },
        {"role": "user", "content": [result]},
    ]
    last = claude.messages.create(messages=turns, **asked)
    assert last.content[0].type == "text" and last.content[0].text == ANSWER


def test_embeddings_as_numbers_and_as_bytes(client: openai.OpenAI) -> None:
    made = client.embeddings.create(model="texts", input=["roll back", "error"])  # as bytes
    numbers = client.embeddings.create(
        model="texts", input=["roll back", "error"], encoding_format="float", dimensions=32
    )
    for one, other in zip(made.data, numbers.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding)
        assert sum(value**2 for value in one.embedding) == pytest.approx(1, abs=1e-3)
    assert made.usage.prompt_tokens == numbers.usage.prompt_tokens > 2
    with pytest.raises(openai.BadRequestError, match="32 dimensions"):
        client.embeddings.create(model="texts", input="roll", dimensions=16)
    for group in ("zetas", "nothing"):
        with pytest.raises(openai.NotFoundError, match=f"no embedding model '{group}'"):
            client.embeddings.create(model=group, input="roll")


def test_models_are_those_of_the_key(client: openai.OpenAI, running: Running) -> None:
    assert [model.id for model in client.models.list()] == [
        *("acme-talk", "endless", "staff", "talking")
    ]
    assert client.models.retrieve("acme-talk").id == "acme-talk"
    other = client.with_options(api_key=running.key("acme2"))
    assert [model.id for model in other.models.list()] == ["endless", "talking"]
    said = {}
    for name in ("staff", "stuff", "acme-talk", "acme-talks"):
        with pytest.raises(openai.NotFoundError) as asked:
            other.chat.completions.create(model=name, messages=QUESTION)
        with pytest.raises(openai.NotFoundError) as shown:
            other.models.retrieve(name)
        said[name] = str(asked.value).replace(name, ""), str(shown.value).replace(name, "")
    assert len(set(said.values())) == 1


def test_a_prompt_that_is_too_long_is_told_by_how_much(
    client: openai.OpenAI, claude: anthropic.Anthropic
) -> None:
    tokens = 2000 * 4 + 17
    words = f"{tokens:,} tokens, and the context of the model {CONTEXT}: {tokens - CONTEXT:,} too"
    long: Any = [{"role": "user", "content": LONG}]
    with pytest.raises(openai.BadRequestError, match=words) as error:
        client.chat.completions.create(model="talking", messages=long)
    assert error.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError, match=words):
        client.responses.create(model="talking", input=LONG, stream=True)
    with pytest.raises(anthropic.BadRequestError, match=words):
        claude.messages.create(model="talking", max_tokens=9, messages=long)
    with pytest.raises(openai.BadRequestError, match="too many"):  # and no words of the fallback
        client.chat.completions.create(model="staff", messages=long)


def test_what_changes_nothing_is_taken_and_all_else_is_refused(
    client: openai.OpenAI, claude: anthropic.Anthropic
) -> None:
    client.chat.completions.create(
        model="talking",
        messages=QUESTION,
        user="ann",
        metadata={"a": "b"},
        store=False,
        service_tier="auto",
        parallel_tool_calls=True,
        logprobs=False,
        frequency_penalty=0,
        n=1,
    )
    wrong: dict[str, Any] = {"logit_bias": {"1": 2}, "n": 2, "store": True, "presence_penalty": 1}
    for name, value in {**wrong, "extra_body": {"best": 1}}.items():
        with pytest.raises(openai.BadRequestError, match="best" if name == "extra_body" else name):
            client.chat.completions.create(model="talking", messages=QUESTION, **{name: value})
    with pytest.raises(openai.BadRequestError, match="previous_response_id"):
        client.responses.create(model="talking", input="Hi", previous_response_id="resp_1")
    with pytest.raises(anthropic.BadRequestError, match="thinking"):
        claude.messages.create(
            model="talking",
            max_tokens=9,
            messages=QUESTION,
            thinking={"type": "enabled", "budget_tokens": 1024},
        )


def test_a_wrong_key_is_said_as_the_clients_expect(
    client: openai.OpenAI, claude: anthropic.Anthropic
) -> None:
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="sk-nothing").models.list()
    with pytest.raises(anthropic.AuthenticationError):
        claude.with_options(api_key="sk-nothing").messages.create(
            model="talking", max_tokens=20, messages=QUESTION
        )
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.create(model="nothing", max_tokens=20, messages=QUESTION)
